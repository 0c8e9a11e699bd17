//! Headers of an output, and which of them a filter may set.

use bytestring::ByteString;

use crate::{
    event::{Headers, identity},
    filter::Filter,
    registry::Key,
};

/// A header's name and its new value, `None` to remove it.
pub(super) type SetHeader = (ByteString, Option<ByteString>);

/// Returns the event's headers, with those of the same name replaced by those that the key's filter
/// sets, and without those that it removes, as far as it may.
pub(super) fn merged(event: &Headers, set: &[SetHeader], key: &Key) -> Headers {
    replaced(event, set, |name| may_set(key, name))
}

fn replaced(event: &Headers, set: &[SetHeader], may_set: impl Fn(&str) -> bool) -> Headers {
    let set: Vec<_> = set.iter().filter(|(name, _)| may_set(name)).collect();
    let is_set = |name: &str| set.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let kept = event.iter().filter(|(name, _)| !is_set(name)).cloned();
    let added = set.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    kept.chain(added).collect()
}

/// Merges the headers of an event and those that a filter sets.
#[cfg(fuzzing)]
pub fn merged_for(event: &Headers, set: &[SetHeader], sets_identity: bool) -> Headers {
    replaced(event, set, |name| refusal(name, sets_identity).is_none())
}

/// Returns whether a key's filter may set a header. One that it may not set is left out and logged.
fn may_set(key: &Key, name: &str) -> bool {
    let why = refusal(name, key.sets_identity);
    if let Some(why) = why {
        let filter = key.filter.as_ref().map_or("", Filter::name);
        tracing::debug!(key = %key.name, filter, header = name, why, "a filter may not set this header");
    }
    why.is_none()
}

/// Returns the reason why a filter may not set a header of this name.
fn refusal(name: &str, sets_identity: bool) -> Option<&'static str> {
    let starts = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some("it is not a valid header name");
    }
    if starts("nats-") || starts("kv-") {
        return Some("it is an order to the server");
    }
    (identity::is_identity(name) && !sets_identity)
        .then_some("it says for whom or as part of what the event happened, which takes the grant `identity`")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However spelled, headers set by a filter neither replace the host's nor give orders to
        /// the server.
        #[test]
        fn a_filter_sets_its_own_headers_alone(
            name in "(?i)(tenant|actor_id|run_id|node_id|graph_id|instance_id|traceparent|tracestate\
                |nats-[a-z]{0,5}|kv-[a-z]{0,5})",
            other in "[\u{0}-\u{20}:a-zé]{0,3}",
        ) {
            prop_assert!(refusal(&name, false).is_some());
            prop_assert_eq!(refusal(&name, true).is_none(), identity::is_identity(&name));
            let is_name = !other.is_empty() && other.bytes().all(|byte| byte.is_ascii_lowercase());
            prop_assert_eq!(refusal(&other, true).is_none(), is_name);
            let near = format!("{name}x");
            prop_assert_eq!(refusal(&near, false).is_none(), identity::is_identity(&name));
        }
    }

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        pairs.iter().map(|(name, value)| (ByteString::from(*name), ByteString::from(*value))).collect()
    }

    #[test]
    fn what_is_refused_leaves_the_event_as_it_was() {
        let event = headers(&[("tenant", "mine"), ("Color", "red"), ("color", "blue")]);
        let set: Vec<_> = [("Tenant", "theirs"), ("", "x"), ("COLOR", "green"), ("KV-Operation", "PURGE")]
            .map(|(name, value)| (ByteString::from(name), Some(ByteString::from(value))))
            .into();
        let merged = |granted| replaced(&event, &set, |name| refusal(name, granted).is_none());
        assert_eq!(merged(false), headers(&[("tenant", "mine"), ("COLOR", "green")]));
        assert_eq!(merged(true), headers(&[("Tenant", "theirs"), ("COLOR", "green")]));
    }

    #[test]
    fn headers_are_removed_under_all_their_spellings() {
        let event = headers(&[("Authorization", "secret"), ("tenant", "mine"), ("AUTHORIZATION", "more")]);
        let set = ["authorization", "tenant", "absent"].map(|name| (ByteString::from(name), None));
        let left = replaced(&event, &set, |name| refusal(name, false).is_none());
        assert_eq!(left, headers(&[("tenant", "mine")]));
    }
}

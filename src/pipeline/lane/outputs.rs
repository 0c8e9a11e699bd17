//! From what a route lets out to its sinks' queues.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use super::work::{At, Tries};
use crate::{
    event::{Event, Headers, identity},
    filter::{Emission, Filter, Verdict},
    registry::{Key, Target},
    sink::{
        Output,
        dead_letter::{self, Place},
        outlet::Queue,
    },
};

/// Hands outputs to queues as long as they have places, and keeps the rest in order.
#[derive(Default)]
pub(super) struct Unsent {
    outputs: Vec<(Queue, Output)>,
    /// The queue that must have a place before anything more is made for it.
    full: Option<Queue>,
}

impl Unsent {
    /// Nothing, until `queue` has a place: outputs that nobody takes are not made.
    pub(super) fn until_taken(queue: &Queue) -> Self {
        Self { outputs: Vec::new(), full: Some(queue.clone()) }
    }

    pub(super) fn send(&mut self, queue: &Queue, output: Output) {
        let unsent = if self.outputs.is_empty() { queue.try_send(output) } else { Some(output) };
        if let Some(output) = unsent {
            self.outputs.push((queue.clone(), output));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.full.is_none()
    }

    /// The queue that was full first.
    pub(super) fn full(&self) -> Option<&Arc<str>> {
        let first = self.outputs.first().map(|(queue, _)| queue);
        first.or(self.full.as_ref()).map(Queue::name)
    }

    /// Waits for a place for each. Those that are left when it is dropped give their event back.
    pub(super) async fn flush(self) {
        if let Some(full) = self.full {
            full.has_room().await;
        }
        for (queue, output) in self.outputs {
            queue.send(output).await;
        }
    }

    /// A dead letter about the event as a whole.
    pub(super) fn dead_letter(
        &mut self,
        at: At<'_>,
        queue: &Queue,
        (reason, detail): (&'static str, &str),
        tries: Tries,
    ) {
        let At { key, route, ticket, event } = at;
        tracing::warn!(key = %key.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail, "event becomes a dead letter");
        let place = Place {
            key: &key.name,
            route: &route.name,
            filter: key.filter.as_ref().map_or("", Filter::name),
            filter_digest: key.filter.as_ref().map_or("", Filter::digest),
            sink: "",
            tries,
        };
        self.send(queue, dead_letter::of_event(ticket.share(), place, reason, detail));
    }

    /// What a route lets out, to each of its sinks. Looked at whole before the first is sent: a dead letter beside half of
    /// the outputs would double them later.
    ///
    /// # Errors
    /// Reason and detail of why nothing of it can be sent.
    pub(super) fn hand_over(&mut self, at: At<'_>, verdict: Verdict) -> Result<bool, (&'static str, String)> {
        if let Some(detail) = mismatch(at.key, at.event, &verdict) {
            return Err(("schema_mismatch", detail));
        }
        let encoded = encoded(at, &verdict).map_err(|detail| ("avro_unencodable", detail))?;
        Ok(self.outputs(at, verdict, encoded))
    }

    /// Says whether there was anything.
    fn outputs(&mut self, at: At<'_>, verdict: Verdict, mut encoded: impl Iterator<Item = Bytes>) -> bool {
        let At { key, route, event, .. } = at;
        // In the order in which they were encoded.
        let mut payload_for = |sink: &Target, json: &Bytes| match &sink.encoder {
            Some(_) => encoded.next().unwrap_or_default(),
            None => json.clone(),
        };
        let emissions = match verdict {
            Verdict::Drop => {
                at.show_dropped("`process` dropped it");
                return false;
            }
            Verdict::Emit(emissions) => emissions,
            Verdict::Keep | Verdict::Replace(_) => {
                let payload = if let Verdict::Replace(payload) = verdict { payload } else { event.payload.clone() };
                for sink in &route.sinks {
                    key.metrics.outputs.inc();
                    self.send(&sink.queue, output(at, 0, payload_for(sink, &payload)));
                }
                return true;
            }
        };
        for (index, Emission { payload, subject, headers }) in (0..).zip(emissions) {
            let headers = (!headers.is_empty()).then(|| merge(&event.headers, &headers, |name| may_set(key, name)));
            for sink in &route.sinks {
                key.metrics.outputs.inc();
                let (subject, headers) = (subject.clone(), headers.clone());
                let output = Output { subject, headers, ..output(at, index, payload_for(sink, &payload)) };
                self.send(&sink.queue, output);
            }
        }
        true
    }
}

/// The first thing about what a route lets out that does not fit the key's schema.
fn mismatch(key: &Key, event: &Event, verdict: &Verdict) -> Option<String> {
    let validation = key.validation.as_ref().filter(|validation| validation.concerns(event))?;
    let check = |(index, output): (usize, &Bytes)| {
        let mismatch = validation.check(output).err()?;
        Some(format!("output {index} {mismatch}"))
    };
    match verdict {
        Verdict::Drop => None,
        Verdict::Keep => check((0, &event.payload)),
        Verdict::Replace(payload) => check((0, payload)),
        Verdict::Emit(emissions) => emissions.iter().map(|emission| &emission.payload).enumerate().find_map(check),
    }
}

/// What a route lets out, encoded for those of its sinks that want it so, output by output.
fn encoded(At { route, event, .. }: At<'_>, verdict: &Verdict) -> Result<std::vec::IntoIter<Bytes>, String> {
    let mut encoded = Vec::new();
    let mut encode = |(index, output): (usize, &Bytes)| -> Result<(), String> {
        for encoder in route.sinks.iter().filter_map(|sink| sink.encoder.as_ref()) {
            let output = encoder.encode(output).map_err(|error| format!("output {index}: {error}"))?;
            encoded.push(output.into());
        }
        Ok(())
    };
    match verdict {
        _ if route.sinks.iter().all(|sink| sink.encoder.is_none()) => Ok(()),
        Verdict::Drop => Ok(()),
        Verdict::Keep => encode((0, &event.payload)),
        Verdict::Replace(payload) => encode((0, payload)),
        Verdict::Emit(emissions) => emissions.iter().map(|emission| &emission.payload).enumerate().try_for_each(encode),
    }?;
    Ok(encoded.into_iter())
}

fn output(At { key, route, ticket, .. }: At<'_>, index: u32, payload: Bytes) -> Output {
    Output {
        ticket: ticket.share(),
        key: Arc::clone(&key.name),
        route: Arc::clone(&route.name),
        index,
        payload,
        subject: None,
        headers: None,
        order: key.ordering.order(&key.name, ticket.event()),
        dead_letter: None,
        share: None,
    }
}

/// The event's headers, with those of the same name replaced by what the filter may set.
fn merge(event: &Headers, set: &[(ByteString, ByteString)], may_set: impl Fn(&str) -> bool) -> Headers {
    let set: Vec<_> = set.iter().filter(|(name, _)| may_set(name)).collect();
    let is_set = |name: &str| set.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    event.iter().filter(|(name, _)| !is_set(name)).chain(set.iter().copied()).cloned().collect()
}

/// Whether a key's filter may set a header. What it may not is left out, which its author can see in the log.
fn may_set(key: &Key, name: &str) -> bool {
    let why = refusal(name, key.sets_identity);
    if let Some(why) = why {
        let filter = key.filter.as_ref().map_or("", Filter::name);
        tracing::debug!(key = %key.name, filter, header = name, why, "a filter may not set this header");
    }
    why.is_none()
}

/// Why a filter may not set a header of this name.
fn refusal(name: &str, sets_identity: bool) -> Option<&'static str> {
    let starts = |with: &str| name.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some("it is no name of a header");
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
        /// Whatever a filter writes, and however: it says nothing for the host, and nothing to the server.
        #[test]
        fn a_filter_sets_its_own_headers_alone(
            name in r"(?i)(tenant|actor_id|run_id|node_id|graph_id|instance_id|traceparent|tracestate|nats-[a-z]{0,5}|kv-[a-z]{0,5})",
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
            .map(|(name, value)| (ByteString::from(name), ByteString::from(value)))
            .into();
        let merged = |granted| merge(&event, &set, |name| refusal(name, granted).is_none());
        assert_eq!(merged(false), headers(&[("tenant", "mine"), ("COLOR", "green")]));
        assert_eq!(merged(true), headers(&[("Tenant", "theirs"), ("COLOR", "green")]));
    }
}

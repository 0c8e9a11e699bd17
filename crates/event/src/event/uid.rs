//! Unique ids of events.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

use super::{Event, Origin};

/// The unique id of an event: the same for every delivery of one message, different for any two
/// messages, whatever their producers call them. The dedup window, the ids of outputs and every
/// later stage that drops repeats use it. [`Event::id`] is the readable one.
///
/// A position alone is not unique, since streams are recreated and restored, files replaced and
/// programs run again. So the id consists of the message's origin, its position there and what
/// tells it from others at that position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Uid {
    scope: u64,
    position: u64,
    incarnation: u64,
}

impl Uid {
    /// Creates the id of the message at this position of its origin. `incarnation` tells it from
    /// another that had or will have the same position: the time at which a stream stored it, a
    /// number of this run, or a digest of the text up to it.
    pub fn at(origin: &Origin, position: u64, incarnation: u64) -> Self {
        Self { scope: scope(origin), position, incarnation }
    }

    /// Creates the id from the one its producer gave: unique within one source, one tenant and, for
    /// CloudEvents, one `source`.
    pub fn named(event: &Event) -> Self {
        let producer = event.headers.get("ce-source").map_or("", |source| source);
        Self::digest(event, &[event.tenant().unwrap_or_default(), producer, &event.id])
    }

    /// Creates the id from a value: unique within one source.
    pub fn valued(event: &Event, value: &str) -> Self {
        Self::digest(event, &[value])
    }

    /// Returns a number that is spread evenly over all ids, the same for every delivery.
    pub(super) fn spread(&self) -> u64 {
        let mixed = (self.position ^ self.incarnation.rotate_left(32) ^ self.scope).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 32)
    }

    fn digest(event: &Event, parts: &[&str]) -> Self {
        let mut digest = Sha256::new();
        for part in [&*event.origin.source].iter().chain(parts) {
            // Prefixed with their lengths, so that no two lists of parts read the same.
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let digest = digest.finalize();
        let word = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| digest[at + index]));
        Self { scope: word(0), position: word(8), incarnation: word(16) }
    }
}

/// Hashes the names of an origin, which the configuration chooses, with FNV-1a: short, and the same
/// in every version and replica.
fn scope(origin: &Origin) -> u64 {
    let bytes = origin.source.bytes().chain([0]).chain(origin.stream.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}{:016x}", self.scope, self.position, self.incarnation)
    }
}

/// Error for a text that is not a [`Uid`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a unique id has 48 hexadecimal digits")]
pub struct NoUid;

impl FromStr for Uid {
    type Err = NoUid;

    fn from_str(text: &str) -> Result<Self, NoUid> {
        if text.len() != 48 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoUid);
        }
        let word = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).map_err(|_| NoUid);
        Ok(Self { scope: word(0)?, position: word(16)?, incarnation: word(32)? })
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Arc};

    use proptest::prelude::*;

    use super::*;
    use crate::event::Headers;

    fn origin(source: &str, stream: &str) -> Origin {
        Origin { source: source.to_owned(), stream: stream.to_owned() }
    }

    fn event(id: &str, tenant: &str, producer: &str) -> Event {
        let mut headers = Headers::default();
        headers.push("tenant", tenant);
        headers.push("ce-source", producer);
        Event {
            id: id.into(),
            uid: Uid::default(),
            event_type: "t".into(),
            subject: "s".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers,
            payload: Default::default(),
            origin: Arc::new(origin("a", "A")),
            sequence: 1,
        }
    }

    #[test]
    fn whatever_differs_makes_another() {
        let all = [
            Uid::at(&origin("a", "A"), 1, 1),
            Uid::at(&origin("a", "A"), 2, 1),
            Uid::at(&origin("a", "A"), 1, 2),
            Uid::at(&origin("a", "B"), 1, 1),
            Uid::at(&origin("b", "A"), 1, 1),
            Uid::at(&origin("aA", ""), 1, 1),
            Uid::named(&event("1", "x", "/p")),
            Uid::named(&event("1", "y", "/p")),
            Uid::named(&event("1", "x", "/q")),
            Uid::named(&event("2", "x", "/p")),
            Uid::named(&event("", "x1", "/p")),
            Uid::valued(&event("1", "x", "/p"), "1"),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert_eq!(Uid::named(&event("1", "x", "/p")), Uid::named(&event("1", "x", "/p")));
    }

    /// Other versions and replicas make the same ids, or repeats would not be recognised after an
    /// upgrade.
    #[test]
    fn it_does_not_change_with_the_program() {
        let uid = Uid::at(&origin("orders", "ORDERS"), 7, 1_767_323_045_000_000_000);
        assert_eq!(uid.to_string(), "88b469e5156466bd00000000000000071886caf21c963200");
        assert_eq!(Uid::named(&event("1", "x", "/p")).to_string(), "e6423316998a54c46a7f6a75d92eaf6c8fb1f58d5c9bd232");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(scope: u64, position: u64, incarnation: u64) {
            let uid = Uid { scope, position, incarnation };
            prop_assert_eq!(uid.to_string().parse(), Ok(uid));
        }

        #[test]
        fn nothing_else_is(text in ".{0,60}") {
            let uid = text.parse::<Uid>();
            prop_assert_eq!(uid.is_ok(), text.len() == 48 && text.chars().all(|c| c.is_ascii_hexdigit()));
        }
    }
}

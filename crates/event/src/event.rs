//! The event: one immutable message inside the router, and the rules for subjects and patterns.

use std::{fmt, str::FromStr, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

mod given;
pub mod identity;
mod tick;
mod token;
mod trace;
mod type_pattern;
mod uid;

pub use given::{GIVEN_AT, GivenEvent};
pub use tick::{TICKS, TickMark};
pub use token::{subject_of, token};
pub use trace::{TraceParent, traceparent};
pub use type_pattern::{TypePattern, TypePatternError};
pub use uid::{NoUid, Uid};

/// Longest subject or pattern, in bytes (F06, F07).
pub const MAX_SUBJECT: usize = 1024;

/// Longest id of an event, in bytes. A longer one is replaced by its digest.
pub const MAX_ID: usize = 256;

/// One in this many events that come without a hop count begins one.
const COUNTED: u64 = 8;

/// Memory that a header takes beside its name and value, in bytes.
const HEADER: usize = size_of::<(ByteString, ByteString)>();

/// One immutable message inside the router.
///
/// Strings share the buffer that they came in: cloning an event allocates nothing but its header
/// list.
#[derive(Clone, Debug)]
pub struct Event {
    /// Readable id: as its producer gave it, or made from the stream and the sequence. Never empty,
    /// at most [`MAX_ID`] long, not necessarily unique.
    pub id: ByteString,
    /// Unique id.
    pub uid: Uid,
    pub event_type: ByteString,
    pub subject: ByteString,
    /// Time of the event, as its producer wrote it. Empty if the producer gave none (X3).
    pub source_time: Option<ByteString>,
    /// Time at which the router saw the event, in Unix nanoseconds.
    pub observed_at: u64,
    /// Delivery attempt; 1 on the first delivery.
    pub attempt: u32,
    pub headers: Headers,
    pub payload: Bytes,
    pub origin: Arc<Origin>,
    /// Position in the origin: stream sequence or line number, from 1.
    pub sequence: u64,
}

/// Origin of an event, shared by all events of a source.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Name of the source in the configuration.
    pub source: String,
    /// Stream or file behind the source.
    pub stream: String,
}

impl Event {
    /// Returns the bytes that the event holds in memory: payload, headers and names.
    pub fn size(&self) -> u64 {
        let names = self.id.len() + self.event_type.len() + self.subject.len();
        (self.payload.len() + self.headers.size() + names) as u64
    }

    /// Returns the trace and the span that the event was sent in, if known.
    pub fn trace(&self) -> Option<TraceParent<'_>> {
        TraceParent::parse(self.headers.get(identity::TRACEPARENT)?)
    }

    /// Returns the trace's id, for logs.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace().map(|parent| parent.trace_id)
    }

    /// Returns the number of routers that the event has gone through before this one.
    pub fn hops(&self) -> u32 {
        // A value that is not a number was not written by a router.
        self.headers.get(identity::HOPS).and_then(|hops| hops.parse().ok()).unwrap_or_default()
    }

    /// Returns the hop count for the event's outputs: its own and one more. Of the events without a
    /// count one in eight begins one: a loop soon meets such an event, and all others are
    /// spared a header.
    pub fn hops_of_outputs(&self) -> Option<u32> {
        match self.hops() {
            0 => self.uid.spread().is_multiple_of(COUNTED).then_some(1),
            hops => Some(hops.saturating_add(1)),
        }
    }

    /// Returns the tenant, for logs.
    pub fn tenant(&self) -> Option<&str> {
        self.headers.get(identity::TENANT).map(|tenant| &**tenant)
    }
}

/// Headers of an event, in the order and the multiplicity in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(ByteString, ByteString)>);

impl Headers {
    /// Returns the first value under `name`, whatever its case.
    pub fn get(&self, name: &str) -> Option<&ByteString> {
        self.0.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn push(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        self.0.push((name.into(), value.into()));
    }

    /// Replaces all values under `name`, whatever its case, by `value`.
    pub fn set(&mut self, name: impl Into<ByteString>, value: impl Into<ByteString>) {
        let name = name.into();
        self.0.retain(|(key, _)| !key.eq_ignore_ascii_case(&name));
        self.0.push((name, value.into()));
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(ByteString, ByteString)> {
        self.0.iter()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the bytes that the headers hold in memory.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len() + HEADER).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(ByteString, ByteString)> for Headers {
    fn from_iter<I: IntoIterator<Item = (ByteString, ByteString)>>(headers: I) -> Self {
        Self(headers.into_iter().collect())
    }
}

/// Error for a subject or a pattern that was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    #[error("it is empty")]
    Empty,
    #[error("it has {0} bytes, more than {MAX_SUBJECT}")]
    TooLong(usize),
    #[error("it has an empty token: dots separate tokens, one at a time, never first or last")]
    EmptyToken,
    #[error("`*` and `>` belong in patterns, not in subjects")]
    Wildcard,
    #[error("a wildcard must be a whole token, as in `a.*.c`")]
    PartialWildcard,
    #[error("`>` stands for the rest and must come last")]
    TailNotLast,
}

/// Checks a concrete subject (F06): 1 to 1024 bytes, no empty token, no wildcard.
pub fn check_subject(subject: &str) -> Result<(), SubjectError> {
    check_tokens(subject)?;
    if subject.bytes().any(|byte| matches!(byte, b'*' | b'>')) {
        return Err(SubjectError::Wildcard);
    }
    Ok(())
}

fn check_tokens(text: &str) -> Result<(), SubjectError> {
    if text.is_empty() {
        return Err(SubjectError::Empty);
    }
    if text.len() > MAX_SUBJECT {
        return Err(SubjectError::TooLong(text.len()));
    }
    if text.as_bytes().split(|byte| *byte == b'.').any(<[u8]>::is_empty) {
        return Err(SubjectError::EmptyToken);
    }
    Ok(())
}

/// A subject pattern (F07): `*` matches one token, a last `>` one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern(String);

impl Pattern {
    /// Returns the pattern that fits every subject.
    pub fn all() -> Self {
        Self(">".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| matches!(byte, b'*' | b'>'))
    }

    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split('.')
    }

    /// Returns the pattern of the subjects that fit both, if there are any.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (mut ours, mut theirs) = (self.tokens(), other.tokens());
        let mut tokens = Vec::new();
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return Some(Self(tokens.join("."))),
                (Some(">"), Some(token)) => {
                    tokens.extend([token].into_iter().chain(theirs));
                    return Some(Self(tokens.join(".")));
                }
                (Some(token), Some(">")) => {
                    tokens.extend([token].into_iter().chain(ours));
                    return Some(Self(tokens.join(".")));
                }
                (Some("*"), Some(token)) | (Some(token), Some("*")) => tokens.push(token),
                (Some(ours), Some(theirs)) if ours == theirs => tokens.push(ours),
                _ => return None,
            }
        }
    }

    /// Returns whether every subject that fits `other` fits this pattern too.
    pub fn covers(&self, other: &Self) -> bool {
        self.intersection(other).as_ref() == Some(other)
    }

    /// Returns whether `subject` fits the pattern (F08). Case matters.
    pub fn matches(&self, subject: &str) -> bool {
        if subject.is_empty() {
            return false;
        }
        let mut subject = subject.split('.');
        for token in self.tokens() {
            match (token, subject.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (literal, Some(found)) if literal == found => {}
                _ => return false,
            }
        }
        subject.next().is_none()
    }
}

impl FromStr for Pattern {
    type Err = SubjectError;

    fn from_str(text: &str) -> Result<Self, SubjectError> {
        check_tokens(text)?;
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token == ">" && tokens.peek().is_some() {
                return Err(SubjectError::TailNotLast);
            }
            if token.len() > 1 && token.contains(['*', '>']) {
                return Err(SubjectError::PartialWildcard);
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, subject: &str) -> bool {
        pattern.parse::<Pattern>().unwrap().matches(subject)
    }

    /// F08 and F09, with the vectors of the reference.
    #[test]
    fn patterns_match_as_in_the_reference() {
        for (pattern, subject, expected) in [
            ("a.b.>", "a.b", false),
            ("a.b.>", "a.b.c", true),
            ("a.b.>", "a.b.c.d", true),
            ("a.b.*", "a.b", false),
            ("a.*.c", "a.x.c", true),
            ("a.*.c", "a.x.y.c", false),
            (">", "a", true),
            (">", "a.b.c", true),
            (">", "", false),
            ("*.run.*.node.>", "graph.run.r1.node.n1.start", true),
            ("a.B.c", "a.b.c", false),
            ("a.b", "a.b.c", false),
            ("a.b.c", "a.b", false),
        ] {
            assert_eq!(matches(pattern, subject), expected, "{pattern} on {subject}");
        }
    }

    #[test]
    fn what_fits_two_patterns_is_a_pattern() {
        for (one, other, both) in [
            ("a.b", "a.b", Some("a.b")),
            ("a.b", "a.c", None),
            ("a.*.c", "a.b.*", Some("a.b.c")),
            (">", "a.*", Some("a.*")),
            ("a.>", "a", None),
            ("a.>", "*.b.>", Some("a.b.>")),
            ("a.>", "a.*", Some("a.*")),
            ("a.*", "a.b.c", None),
            ("*.>", ">", Some("*.>")),
        ] {
            let [first, second]: [Pattern; 2] = [one, other].map(|pattern| pattern.parse().unwrap());
            for found in [first.intersection(&second), second.intersection(&first)] {
                assert_eq!(found.as_ref().map(Pattern::as_str), both, "{one} and {other}");
            }
        }
    }

    #[test]
    fn patterns_are_refused_with_the_reason() {
        for (pattern, reason) in [
            ("", SubjectError::Empty),
            (".a", SubjectError::EmptyToken),
            ("a.", SubjectError::EmptyToken),
            ("a..b", SubjectError::EmptyToken),
            ("a.>.b", SubjectError::TailNotLast),
            ("a.b*", SubjectError::PartialWildcard),
            ("a.>b", SubjectError::PartialWildcard),
        ] {
            assert_eq!(pattern.parse::<Pattern>(), Err(reason), "{pattern}");
        }
        let long = "a".repeat(MAX_SUBJECT + 1);
        assert_eq!(long.parse::<Pattern>(), Err(SubjectError::TooLong(MAX_SUBJECT + 1)));
    }

    #[test]
    fn subjects_hold_no_wildcards() {
        assert_eq!(check_subject("orders.*"), Err(SubjectError::Wildcard));
        assert_eq!(check_subject("orders.a>b"), Err(SubjectError::Wildcard));
        assert_eq!(check_subject(&"a".repeat(MAX_SUBJECT)), Ok(()));
    }

    /// A loop of routers soon meets a count, which then grows with each of them.
    #[test]
    fn one_event_in_eight_begins_to_count_and_none_stops() {
        let origin = Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() });
        let event = |sequence, hops: Option<&str>| Event {
            id: "e".into(),
            uid: Uid::at(&origin, sequence, 1_700_000_000_000_000_000 + sequence * 977),
            event_type: "t".into(),
            subject: "s".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers: hops.iter().map(|hops| ("trommel-hops".into(), (*hops).into())).collect(),
            payload: Bytes::new(),
            origin: Arc::clone(&origin),
            sequence,
        };
        let count = (0..8_000).filter(|sequence| event(*sequence, None).hops_of_outputs() == Some(1)).count();
        assert!((800..1_200).contains(&count), "{count}");
        for sequence in 0..8 {
            assert_eq!(event(sequence, Some("1")).hops_of_outputs(), Some(2));
            assert_eq!(event(sequence, Some("31")).hops_of_outputs(), Some(32));
        }
    }

    #[test]
    fn headers_ignore_case_and_keep_every_value() {
        let mut headers = Headers::default();
        headers.push("Trace", "1");
        headers.push("trace", "2");
        assert_eq!(headers.get("TRACE").map(|value| &**value), Some("1"));
        assert_eq!(headers.len(), 2);
        headers.set("TRACE", "3");
        assert_eq!((headers.get("trace").map(|value| &**value), headers.len()), (Some("3"), 1));
    }
}

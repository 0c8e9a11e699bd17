//! Ranges of a stream. Requested by commands, never declared in a file.

use jiff::Timestamp;

/// A range of a stream as a source: replayed in order, without acks.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySource {
    pub range: StreamRange,
    /// Highest rate, in events per second.
    pub rate: Option<u64>,
}

/// A selection of a stream's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRange {
    pub stream: String,
    /// Subject patterns; none means all.
    pub subjects: Vec<String>,
    pub begin: RangeBegin,
    /// Time before which the last one was stored.
    pub until: Option<Timestamp>,
    /// Sequence of the last one.
    pub to: Option<u64>,
    /// Largest number of messages.
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeBegin {
    First,
    Sequence(u64),
    /// The first message stored at this time or later.
    Time(Timestamp),
    /// The last messages of the range, this many, among those stored at this time or later.
    Newest(u64, Option<Timestamp>),
}

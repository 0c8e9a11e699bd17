//! A stretch of a stream: nothing that stands in a file, but what commands are asked for.

use jiff::Timestamp;

/// A stretch of a stream as a source: replayed in order, and nothing acknowledged.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplaySource {
    pub range: Range,
    /// Events a second at most.
    pub rate: Option<u64>,
}

/// Which messages of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub stream: String,
    /// Patterns; none means all.
    pub subjects: Vec<String>,
    pub begin: Begin,
    /// The last one was stored before this.
    pub until: Option<Timestamp>,
    /// The last one's sequence.
    pub to: Option<u64>,
    /// At most this many.
    pub limit: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    First,
    Sequence(u64),
    /// The first one that was stored then or later.
    Time(Timestamp),
    /// As many as this before the end of the range, of those that were stored at this time or later.
    Newest(u64, Option<Timestamp>),
}

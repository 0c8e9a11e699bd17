//! Overflow policies of a subscription's buffer.

/// Policy for an envelope that finds a subscription's buffer full.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum OverflowPolicy {
    /// The envelope is dropped (F21).
    #[default]
    DropNewest,
    /// The oldest envelope is dropped, and this one takes its place (F22).
    DropOldest,
    /// The publisher waits until there is room, or until the subscription or the bus ends (F23).
    Block,
    /// Only this share of all envelopes is kept, from 0 to 1, chosen at random; of those, the
    /// newest is dropped if the buffer is full (F24).
    Sample(f64),
}

impl OverflowPolicy {
    /// Name in metrics and in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
            Self::Sample(_) => "sample",
        }
    }
}

/// Reason why an envelope was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The buffer was full.
    BufferFull,
    /// The envelope is not part of the sample.
    Sampled,
    /// The subscription or the bus ended before there was room.
    Closed,
    /// The publish was cancelled before there was room.
    Cancelled,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [Self; 4] = [Self::BufferFull, Self::Sampled, Self::Closed, Self::Cancelled];

    /// Name in metrics (F28).
    pub fn label(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::Sampled => "sampled",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }
}

//! What a subscription does without when its buffer is full.

/// What becomes of an envelope for which a subscription's buffer has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Policy {
    /// It is dropped (F21).
    #[default]
    DropNewest,
    /// It takes the place of the oldest, which is dropped (F22).
    DropOldest,
    /// The publisher waits until there is room, or until the subscription or the bus ends (F23).
    Block,
    /// Of all envelopes this share is kept, from 0 to 1, chosen by chance; of those, the newest is dropped (F24).
    Sample(f64),
}

impl Policy {
    /// What it is called in metrics and in the configuration.
    pub fn label(self) -> &'static str {
        match self {
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
            Self::Block => "block",
            Self::Sample(_) => "sample",
        }
    }
}

/// Why an envelope was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no room.
    BufferFull,
    /// It is not part of the sample.
    Sampled,
    /// The subscription or the bus ended before there was room.
    Closed,
    /// The publish was called off before there was room.
    Cancelled,
}

impl Reason {
    pub const ALL: [Self; 4] = [Self::BufferFull, Self::Sampled, Self::Closed, Self::Cancelled];

    /// What it is called in metrics (F28).
    pub fn label(self) -> &'static str {
        match self {
            Self::BufferFull => "buffer_full",
            Self::Sampled => "sampled",
            Self::Closed => "closed",
            Self::Cancelled => "cancelled",
        }
    }
}

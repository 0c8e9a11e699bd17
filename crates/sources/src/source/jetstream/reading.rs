//! Messages to read from the stream instead of having them delivered.

/// Range of sequences, with its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) next: u64,
    /// First sequence behind the range.
    pub(super) end: u64,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Deliveries up to this one did not arrive: later ones would overtake them, and with `ack =
    /// "all"` settle them.
    Hole { delivery: u64 },
    /// The event has to be tried again, and only the stream can bring it.
    Retry { attempt: u32 },
    /// Deliveries that did not arrive may include messages over which the client gives up the
    /// connection or ends. `all` takes all of them; else only those are taken, and the others are
    /// redelivered anyway.
    Unreadable { all: bool },
    /// The server has them open, though they were settled here: it has forgotten their acks, and
    /// the client can't take the deliveries that would show it.
    Forgotten,
}

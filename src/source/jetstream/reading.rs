//! What is to be read from the stream instead of being delivered.

/// A range of sequences, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) next: u64,
    /// The first sequence that does not belong to it.
    pub(super) end: u64,
    pub(super) purpose: Purpose,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// With `ack = "all"`: deliveries up to this one did not arrive, and an ack behind them would lose them.
    Hole { delivery: u64 },
    /// With `ack = "all"`: the event has to be tried again, and only the stream has it.
    Retry { attempt: u32 },
    /// Among what was delivered and did not arrive there may be messages over which the client gives up the connection.
    /// Only those are taken; the others come again by themselves.
    Unreadable,
}

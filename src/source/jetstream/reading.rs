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
    /// Deliveries up to this one did not arrive: what follows would overtake them, and with `ack = "all"` settle them.
    Hole { delivery: u64 },
    /// The event has to be tried again, and only the stream can bring it.
    Retry { attempt: u32 },
    /// Among what was delivered and did not arrive there may be messages over which the client gives up the connection
    /// or ends. `all` takes everything; else only those, and the others come again by themselves.
    Unreadable { all: bool },
}

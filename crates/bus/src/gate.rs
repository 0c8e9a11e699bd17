//! Count of running publishes, so that closing the bus can wait for them.

use super::sync::{AtomicUsize, Ordering};

/// Gate that admits publishers until it is shut. The last to leave after that is told.
#[derive(Default)]
pub(super) struct PublishGate(AtomicUsize);

/// Flag that the gate is shut; the other bits count the publishers inside.
const SHUT: usize = 1 << (usize::BITS - 1);

impl PublishGate {
    /// Enters the gate; false if it is shut.
    pub(super) fn enter(&self) -> bool {
        self.0.try_update(Ordering::AcqRel, Ordering::Acquire, |state| (state & SHUT == 0).then_some(state + 1)).is_ok()
    }

    /// Leaves the gate; true for the last to leave once it is shut.
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == SHUT + 1
    }

    /// Shuts the gate; true if it is empty: there will be no last to leave.
    pub(super) fn shut(&self) -> bool {
        self.0.fetch_or(SHUT, Ordering::AcqRel) & !SHUT == 0
    }
}

//! Who is publishing, so that an end can wait for them.

use super::sync::{AtomicUsize, Ordering};

/// Lets in until it is shut. Whoever leaves last after that hears so.
#[derive(Default)]
pub(super) struct Gate(AtomicUsize);

/// Beside the number of those inside.
const SHUT: usize = 1 << (usize::BITS - 1);

impl Gate {
    /// Whether the gate is open, and one more is inside.
    pub(super) fn enter(&self) -> bool {
        self.0.try_update(Ordering::AcqRel, Ordering::Acquire, |state| (state & SHUT == 0).then_some(state + 1)).is_ok()
    }

    /// Whether nobody is inside any more, for good.
    pub(super) fn leave(&self) -> bool {
        self.0.fetch_sub(1, Ordering::AcqRel) == SHUT + 1
    }

    /// Whether nobody is inside any more, for good.
    pub(super) fn shut(&self) -> bool {
        self.0.fetch_or(SHUT, Ordering::AcqRel) & !SHUT == 0
    }
}

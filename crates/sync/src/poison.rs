//! Locks after a panic.

use std::sync::{LockResult, PoisonError};

/// Takes a lock's guard, whether or not a thread has panicked while it held the lock.
///
/// A mutex is poisoned so that data which a panic has left half changed is not read. What the locks
/// of this crate guard is whole at every step: tables and counters that each operation changes at
/// once. The panic itself is reported where it happens, and gives its event back to the source.
/// Were its lock refused from then on, one failed event would stop every other one.
pub fn ignore_poison<G>(locked: LockResult<G>) -> G {
    locked.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{panic, sync::Mutex};

    use super::*;

    #[test]
    fn a_panic_leaves_the_data_to_others() {
        let count = Mutex::new(0);
        let panicked = panic::catch_unwind(|| {
            *ignore_poison(count.lock()) += 1;
            let _guard = count.lock();
            panic!("with the lock held");
        });
        assert!(panicked.is_err() && count.is_poisoned());
        assert_eq!(*ignore_poison(count.lock()), 1);
    }
}

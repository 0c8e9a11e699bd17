//! Whether calls of `process` need a fiber, which costs a tenth of a microsecond or two a call.
//!
//! A guest that only computes has nothing to wait for. On a fiber it can still let other tasks run
//! while it uses up its time, which matters once it takes long.

use std::sync::atomic::{AtomicU32, Ordering};

/// Ticks of one call from which it is slow. One tick may end within any call.
const SLOW_TICKS: u64 = 2;
/// Calls on fibers for every tick of a slow one. They take ten times as long as a tick, so that a
/// guest can keep a thread from others for no more than a tenth of its time.
const CALLS_FOR_A_TICK: u64 = 4096;

/// Pace of a filter's calls, shared by its instances.
#[derive(Debug, Default)]
pub(super) struct CallPace {
    /// Calls that are still to be made on fibers.
    fiber_calls: AtomicU32,
}

impl CallPace {
    /// Returns whether the next call may hold its thread.
    pub(super) fn is_quick(&self) -> bool {
        self.fiber_calls.load(Ordering::Relaxed) == 0
    }

    /// Notes the ticks that a call took. Counts that instances lose to each other do not matter.
    pub(super) fn note(&self, ticks: u64) {
        let left = self.fiber_calls.load(Ordering::Relaxed);
        if ticks >= SLOW_TICKS {
            let calls = u32::try_from(ticks.saturating_mul(CALLS_FOR_A_TICK)).unwrap_or(u32::MAX);
            self.fiber_calls.store(left.saturating_add(calls), Ordering::Relaxed);
        } else if left > 0 {
            self.fiber_calls.store(left - 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_call_puts_those_behind_it_on_fibers_for_a_while() {
        let pace = CallPace::default();
        pace.note(SLOW_TICKS - 1);
        assert!(pace.is_quick(), "a tick may end within any call");
        pace.note(SLOW_TICKS);
        for _ in 0..SLOW_TICKS * CALLS_FOR_A_TICK {
            assert!(!pace.is_quick());
            pace.note(0);
        }
        assert!(pace.is_quick());
    }

    #[test]
    fn slow_calls_add_up() {
        let pace = CallPace::default();
        (0..3).for_each(|_| pace.note(100));
        assert_eq!(u64::from(pace.fiber_calls.load(Ordering::Relaxed)), 300 * CALLS_FOR_A_TICK);
        pace.note(u64::MAX);
        assert!(!pace.is_quick());
    }
}

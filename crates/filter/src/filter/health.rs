//! Health of a filter: one that wastes too much of the time of others is quarantined.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::poison::ignore_poison;

/// Length of the window, and the total of charges within it at which a filter is quarantined.
const WINDOW: Duration = Duration::from_secs(30);
/// Charge for an event that the filter broke on, in addition to the time of its calls: the fifth
/// within the window is one too many.
const BREAK: Duration = WINDOW.checked_div(5).unwrap();

#[derive(Debug, Default)]
pub(super) struct FilterHealth {
    quarantined: AtomicBool,
    /// Time and amount of each charge.
    charges: Mutex<VecDeque<(Instant, Duration)>>,
}

impl FilterHealth {
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Counts an event that the filter broke on. Returns true if this one quarantines the filter.
    pub(super) fn record_break(&self) -> bool {
        self.charge(BREAK)
    }

    /// Counts the time of a call without a result: five calls that never end come less close
    /// together than five that trap, and harm more. Returns true if this one quarantines the
    /// filter.
    pub(super) fn waste(&self, time: Duration) -> bool {
        !time.is_zero() && self.charge(time)
    }

    fn charge(&self, cost: Duration) -> bool {
        let now = Instant::now();
        let mut charges = ignore_poison(self.charges.lock());
        while charges.front().is_some_and(|&(first, _)| now.duration_since(first) >= WINDOW) {
            charges.pop_front();
        }
        charges.push_back((now, cost));
        charges.iter().map(|(_, cost)| *cost).sum::<Duration>() >= WINDOW && self.quarantine()
    }

    /// Quarantines the filter. Returns true if it was not in quarantine before.
    pub(super) fn quarantine(&self) -> bool {
        !self.quarantined.swap(true, Ordering::Relaxed)
    }

    pub(super) fn lift(&self) {
        ignore_poison(self.charges.lock()).clear();
        self.quarantined.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_breaks_close_together_count() {
        let health = FilterHealth::default();
        for _ in 0..20 {
            assert!(!health.record_break());
            tokio::time::advance(WINDOW / 4).await;
        }
        assert!(!health.is_quarantined());
        for _ in 0..3 {
            health.record_break();
        }
        assert!(health.is_quarantined());
    }

    #[tokio::test(start_paused = true)]
    async fn the_break_that_quarantines_is_told_once() {
        let health = FilterHealth::default();
        let told: Vec<bool> = (0..7).map(|_| health.record_break()).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        health.lift();
        assert!(!health.is_quarantined());
        assert!(!health.record_break());
        assert!(health.quarantine());
    }

    /// Two calls of five seconds for each event, one event after the other, as with the default
    /// limits.
    #[tokio::test(start_paused = true)]
    async fn calls_that_never_end_count_by_the_time_that_they_take() {
        let health = FilterHealth::default();
        let mut events = 0;
        while !health.is_quarantined() {
            for _ in 0..2 {
                tokio::time::advance(Duration::from_secs(5)).await;
                health.waste(Duration::from_secs(5));
            }
            health.record_break();
            events += 1;
        }
        assert_eq!(events, 2);
    }

    /// Every other call hangs and the retry succeeds: no event breaks, and time is lost all the
    /// same.
    #[tokio::test(start_paused = true)]
    async fn wasted_time_alone_is_enough() {
        let health = FilterHealth::default();
        let told: Vec<bool> = (0..6).map(|_| health.waste(Duration::from_secs(5))).collect();
        assert_eq!(told, [false, false, false, false, false, true]);
        assert!(!FilterHealth::default().waste(Duration::ZERO));
    }
}

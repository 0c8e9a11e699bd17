//! Whether a filter may go on: one that keeps breaking is quarantined.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// Breaks within [`WINDOW`] after which a filter is quarantined.
const BREAKS: usize = 5;
const WINDOW: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct Health {
    quarantined: AtomicBool,
    breaks: Mutex<VecDeque<Instant>>,
}

impl Health {
    pub(super) fn is_quarantined(&self) -> bool {
        self.quarantined.load(Ordering::Relaxed)
    }

    /// Counts one break. True when it is the one that puts the filter into quarantine.
    pub(super) fn record_break(&self) -> bool {
        let now = Instant::now();
        let mut breaks = self.breaks.lock().unwrap_or_else(PoisonError::into_inner);
        while breaks.front().is_some_and(|&first| now.duration_since(first) >= WINDOW) {
            breaks.pop_front();
        }
        breaks.push_back(now);
        breaks.len() >= BREAKS && self.quarantine()
    }

    /// True when the filter was not in quarantine before.
    pub(super) fn quarantine(&self) -> bool {
        !self.quarantined.swap(true, Ordering::Relaxed)
    }

    pub(super) fn lift(&self) {
        self.breaks.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.quarantined.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_breaks_close_together_count() {
        let health = Health::default();
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
        let health = Health::default();
        let told: Vec<bool> = (0..BREAKS + 2).map(|_| health.record_break()).collect();
        assert_eq!(told, [false, false, false, false, true, false, false]);
        health.lift();
        assert!(!health.is_quarantined());
        assert!(!health.record_break());
        assert!(health.quarantine());
    }
}

//! Age of the oldest event that is not settled.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Time at which the oldest open event came in. Set by the source's intake, read by others.
#[derive(Debug)]
pub struct OldestEvent {
    made: Instant,
    /// Milliseconds from `made`, plus one; 0 while no event is open.
    since: AtomicU64,
}

impl Default for OldestEvent {
    fn default() -> Self {
        Self { made: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl OldestEvent {
    pub fn set(&self, since: Option<Instant>) {
        let millis = |since: Instant| {
            u64::try_from(since.saturating_duration_since(self.made).as_millis()).unwrap_or(u64::MAX - 1) + 1
        };
        self.since.store(since.map_or(0, millis), Ordering::Relaxed);
    }

    /// Returns how old it is; nothing if no event is open.
    pub fn age(&self) -> Duration {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_millis);
        since.map_or(Duration::ZERO, |since| self.made.elapsed().saturating_sub(since))
    }
}

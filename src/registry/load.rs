//! A key's load: what of its source's budget waits in the lanes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// A key of which nothing has got on for this long stands still.
const STANDSTILL: Duration = Duration::from_secs(1);

/// What waits for a key, in bytes of the budget.
#[derive(Debug)]
pub struct Load {
    bytes: AtomicU64,
    made: Instant,
    /// When something of it got on last, or began to wait for the first: milliseconds since it was made.
    moved: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self { bytes: AtomicU64::new(0), made: Instant::now(), moved: AtomicU64::new(0) }
    }
}

/// A part of a key's load, taken off again on drop.
#[derive(Debug)]
pub struct Held {
    load: Arc<Load>,
    bytes: u64,
}

impl Load {
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.move_on();
        }
        Held { load: Arc::clone(self), bytes }
    }

    /// Whether it is above what is free of a budget. Who takes no more than that leaves as much to others as it has,
    /// however many do so.
    pub fn exceeds(&self, free: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) > free
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    /// Whether something waits and nothing has got on for a while.
    pub fn stands_still(&self) -> bool {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        !self.is_empty() && self.made.elapsed().saturating_sub(moved) >= STANDSTILL
    }

    fn move_on(&self) {
        let since = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved.store(since, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.load.move_on();
    }
}

//! A key's load: what of its source's budget waits in the lanes.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What waits for a key, in bytes of the budget.
#[derive(Debug, Default)]
pub struct Load(AtomicU64);

/// A part of a key's load, taken off again on drop.
#[derive(Debug)]
pub struct Held {
    load: Arc<Load>,
    bytes: u64,
}

impl Load {
    pub fn hold(self: &Arc<Self>, bytes: u64) -> Held {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Held { load: Arc::clone(self), bytes }
    }

    /// Whether it is above what is free of a budget. Who takes no more than that leaves as much to others as it has,
    /// however many do so.
    pub fn exceeds(&self, free: u64) -> bool {
        self.0.load(Ordering::Relaxed) > free
    }

    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.load.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

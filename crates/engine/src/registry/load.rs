//! Load of a key: the part of its source's budget that waits in the lanes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::metrics::KeyMetrics;

/// Time without progress after which a key counts as stalled.
const STANDSTILL: Duration = Duration::from_secs(1);
/// Time that a key's load may take at its recent rate, in milliseconds. Beyond it the key is slow.
const PATIENCE_MS: u64 = 1_000;
/// Least time over which a key's rate is measured, in milliseconds.
const LOOK_MS: u64 = 100;
/// Age at which a measurement is discarded, in milliseconds.
const OUTDATED_MS: u64 = 1_000;

/// Amount waiting for a key, in bytes of the budget.
#[derive(Debug)]
pub struct KeyLoad {
    bytes: AtomicU64,
    made: Instant,
    /// Time of the last progress, or at which the first part began to wait: milliseconds since
    /// `made`.
    moved: AtomicU64,
    /// Bytes done so far.
    passed: AtomicU64,
    measured: ProgressRate,
    /// Where it is shown.
    metrics: Arc<KeyMetrics>,
}

/// Rate at which a key makes progress. Each reading begins the next measurement; two at once only
/// make it less exact.
#[derive(Debug)]
struct ProgressRate {
    /// Time at which the current measurement began, in milliseconds since the load was made.
    began: AtomicU64,
    /// Bytes done by then.
    passed: AtomicU64,
    /// Result of the measurement before: bytes in [`PATIENCE_MS`]; `u64::MAX` while it is not
    /// known.
    rate: AtomicU64,
}

/// A part of a key's load, taken off again on drop.
#[derive(Debug)]
pub struct HeldLoad {
    load: Arc<KeyLoad>,
    bytes: u64,
}

impl Default for KeyLoad {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl KeyLoad {
    pub fn new(metrics: Arc<KeyMetrics>) -> Self {
        let zero = || AtomicU64::new(0);
        let measured = ProgressRate { began: zero(), passed: zero(), rate: AtomicU64::new(u64::MAX) };
        Self { bytes: zero(), made: Instant::now(), moved: zero(), passed: zero(), measured, metrics }
    }

    pub fn hold(self: &Arc<Self>, bytes: u64) -> HeldLoad {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) == 0 {
            self.move_on();
        }
        self.metrics.waiting.inc();
        self.metrics.waiting_bytes.inc_by(signed(bytes));
        HeldLoad { load: Arc::clone(self), bytes }
    }

    /// Returns whether the load is larger than the free part of a budget. A key that takes no more
    /// than that leaves as much to others as it has, however many do so.
    pub fn exceeds(&self, free: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) > free
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) == 0
    }

    /// Returns whether something waits and there has been no progress for a while.
    pub fn stands_still(&self) -> bool {
        let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
        !self.is_empty() && self.made.elapsed().saturating_sub(moved) >= STANDSTILL
    }

    /// Returns whether more waits than is done in a second. A merely busy key, with a long backlog
    /// that goes through quickly, is not slow: its events would lose their order for nothing if
    /// they went back to their source. Ask again and again while it matters: the first answers are
    /// no.
    pub fn is_slow(&self) -> bool {
        let ProgressRate { began, passed, rate } = &self.measured;
        let now = self.now();
        let elapsed = now.saturating_sub(began.load(Ordering::Relaxed));
        if elapsed >= LOOK_MS {
            began.store(now, Ordering::Relaxed);
            let total = self.passed.load(Ordering::Relaxed);
            let since = total.saturating_sub(passed.swap(total, Ordering::Relaxed));
            let is_known = elapsed < OUTDATED_MS;
            rate.store(
                if is_known { since.saturating_mul(PATIENCE_MS) / elapsed } else { u64::MAX },
                Ordering::Relaxed,
            );
        }
        self.bytes.load(Ordering::Relaxed) > rate.load(Ordering::Relaxed)
    }

    fn move_on(&self) {
        self.moved.store(self.now(), Ordering::Relaxed);
    }

    /// Milliseconds since `made`.
    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Drop for HeldLoad {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.load.passed.fetch_add(self.bytes, Ordering::Relaxed);
        self.load.move_on();
        self.load.metrics.waiting.dec();
        self.load.metrics.waiting_bytes.dec_by(signed(self.bytes));
    }
}

/// Bytes as a gauge has them. A budget is far smaller than what that holds.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// Takes a load through `steps` of a tenth of a second each; in each, `goes` of it are done and
    /// as much is added. Returns the steps in which it is slow.
    async fn slow(waiting: u64, goes: impl Fn(usize) -> u64, steps: usize) -> Vec<usize> {
        let load = Arc::new(KeyLoad::default());
        let mut held: Vec<_> = (0..waiting).map(|_| load.hold(1)).collect();
        let mut slow = Vec::new();
        for step in 0..steps {
            for _ in 0..goes(step) {
                drop(held.remove(0));
                held.push(load.hold(1));
            }
            advance(Duration::from_millis(LOOK_MS)).await;
            if load.is_slow() {
                slow.push(step);
            }
        }
        slow
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_that_goes_through_quickly_is_not_slow() {
        assert!(slow(100, |_| 11, 30).await.is_empty());
        assert_eq!(slow(100, |_| 9, 5).await, [0, 1, 2, 3, 4]);
        assert_eq!(slow(100, |_| 0, 3).await, [0, 1, 2]);
        assert_eq!(slow(100, |step| if step < 3 { 20 } else { 1 }, 6).await, [3, 4, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_long_ago_tells_nothing() {
        let load = Arc::new(KeyLoad::default());
        advance(Duration::from_mins(10)).await;
        let held = load.hold(10);
        assert!(!load.is_slow(), "nothing is known yet");
        advance(Duration::from_millis(LOOK_MS)).await;
        assert!(load.is_slow());
        drop(held);
        assert!(!load.is_slow());
    }
}

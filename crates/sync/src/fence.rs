//! Fence of a router: the time until which it may act for the partitions that it owns.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Deadline of a fence that has lapsed.
const LAPSED: u64 = 0;

/// Time since the machine started, with the time that it slept.
pub fn boot_time() -> Duration {
    // Elsewhere the monotonic clock may stand still while the machine sleeps.
    #[cfg(target_os = "linux")]
    let now = clock_gettime(ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or_default(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Permission to act for partitions, which ends by itself when the lease is not renewed. Once it
/// has lapsed it stays so: what began under it must end, and begins anew under another fence.
#[derive(Debug)]
pub struct Fence {
    /// In nanoseconds of [`boot_time`].
    deadline: AtomicU64,
}

impl Fence {
    /// Creates a fence that lapses at this time of [`boot_time`].
    pub fn until(deadline: Duration) -> Self {
        Self { deadline: AtomicU64::new(nanoseconds(deadline)) }
    }

    /// A fence that never lapses, for sources that no other router can take.
    pub fn unlimited() -> Self {
        Self { deadline: AtomicU64::new(u64::MAX) }
    }

    /// Returns whether the router may still pull, acknowledge and publish. Costs an atomic load and
    /// a look at the clock.
    pub fn holds(&self) -> bool {
        self.holds_at(boot_time())
    }

    /// Returns whether it holds at a time of [`boot_time`], which is now.
    pub fn holds_at(&self, now: Duration) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        let now = nanoseconds(now);
        if now < deadline {
            return true;
        }
        // What was once seen to have lapsed must not be renewed behind the reader's back. Fails if
        // it was renewed just now.
        match self.deadline.compare_exchange(deadline, LAPSED, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => false,
            Err(renewed) => now < renewed,
        }
    }

    /// Moves the deadline. Returns false if the fence has lapsed.
    pub fn renew(&self, deadline: Duration, now: Duration) -> bool {
        let change = |old| (old != LAPSED).then_some(nanoseconds(deadline));
        self.holds_at(now) && self.deadline.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }

    /// Has it lapse now.
    pub fn lapse(&self) {
        self.deadline.store(LAPSED, Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_fence_holds_until_its_deadline_and_never_again() {
        let fence = Fence::until(2 * SECOND);
        assert!(fence.holds_at(SECOND));
        assert!(fence.renew(3 * SECOND, SECOND));
        assert!(fence.holds_at(2 * SECOND));
        assert!(!fence.holds_at(3 * SECOND));
        assert!(!fence.renew(9 * SECOND, 3 * SECOND));
        assert!(!fence.holds_at(SECOND), "it has been seen to lapse");
    }

    #[test]
    fn the_clock_of_a_fence_goes_on() {
        let before = boot_time();
        assert!(Fence::until(before + 3600 * SECOND).holds());
        assert!(!Fence::until(before).holds());
    }
}

//! Waits between the tries of something that fails for now.

use std::time::Duration;

/// Waits that grow from `min`, doubled with each, up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    /// Next wait, before jitter.
    next: Duration,
}

impl Backoff {
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max, next: min }
    }

    /// Returns the wait before the next try, with [`jitter`], and doubles the one after it.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.max);
        jitter(wait)
    }

    /// Starts over at the shortest wait, after a success.
    pub fn reset(&mut self) {
        self.next = self.min;
    }

    /// Returns the wait after a failed attempt by its number, from 1 and without jitter: what has
    /// failed together is due together, and so keeps its order.
    pub fn nth(self, attempt: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.min.saturating_mul(doubled).min(self.max)
    }
}

/// Returns a random wait between half of `wait` and all of it.
///
/// Half of the range is enough to spread the tries of a fleet that failed at one moment. The other
/// half stays, so that no try follows at once, doubled waits never shrink from one to the next, and
/// the longest configured wait is never exceeded.
pub fn jitter(wait: Duration) -> Duration {
    let spread = wait / 2;
    wait - spread.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK: u64 = 7 * 24 * 3_600 * 1_000_000_000;

    fn limits() -> impl Strategy<Value = (Duration, Duration)> {
        (0..WEEK, 0..WEEK)
            .prop_map(|(one, other)| (Duration::from_nanos(one.min(other)), Duration::from_nanos(one.max(other))))
    }

    proptest! {
        #[test]
        fn waits_grow_from_the_shortest_to_the_longest((min, max) in limits()) {
            let mut backoff = Backoff::new(min, max);
            let mut last = Duration::ZERO;
            for attempt in 1..100 {
                let (wait, unjittered) = (backoff.next_wait(), backoff.nth(attempt));
                prop_assert!(unjittered / 2 <= wait && wait <= unjittered, "{wait:?} of {unjittered:?}");
                prop_assert!(min <= unjittered && unjittered <= max);
                prop_assert!(last <= wait || unjittered == max, "{wait:?} after {last:?}");
                last = wait;
            }
            backoff.reset();
            prop_assert!(backoff.next_wait() <= min);
        }
    }

    #[test]
    fn waits_double_with_each_attempt() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        for (attempt, milliseconds) in [(0, 100), (1, 100), (2, 200), (9, 25_600), (10, 30_000), (u32::MAX, 30_000)] {
            assert_eq!(backoff.nth(attempt), Duration::from_millis(milliseconds), "{attempt}");
        }
    }

    #[test]
    fn the_longest_wait_there_is_does_not_overflow() {
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..2 {
            assert!(backoff.next_wait() >= Duration::MAX / 2);
        }
    }
}

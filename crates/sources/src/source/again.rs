//! Failed events that the broker will not redeliver, ordered by retry time.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Waits before an event is pushed again. A broker would pause likewise.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));

/// Receipts ordered by the time at which they are due.
pub(super) struct RetryQueue<R>(BTreeMap<(Instant, u64), R>);

impl<R> Default for RetryQueue<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R> RetryQueue<R> {
    /// Keeps a receipt after its `attempt`, for at least `wait`. Of receipts due at the same time
    /// the one with the lower `number` comes first; numbers are unique.
    pub(super) fn insert(&mut self, number: u64, attempt: u32, wait: Duration, receipt: R) {
        self.0.insert((Instant::now() + wait.max(BACKOFF.nth(attempt)), number), receipt);
    }

    pub(super) fn pop_due(&mut self) -> Option<R> {
        self.0.first_entry().filter(|entry| entry.key().0 <= Instant::now()).map(|entry| entry.remove())
    }

    /// Time at which the next receipt is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.keys().next().map(|(at, _)| *at)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timer::sleep_until_due;

    #[tokio::test(start_paused = true)]
    async fn the_pause_grows_and_those_that_are_due_at_once_keep_their_order() {
        let mut again = RetryQueue::default();
        for (number, attempt, wait) in [(3, 1, 0), (2, 1, 0), (4, 2, 0), (1, 1, 150), (5, 60, 0)] {
            again.insert(number, attempt, Duration::from_millis(wait), number);
        }
        let (start, mut seen) = (Instant::now(), Vec::new());
        while let Some(due) = again.due() {
            assert_eq!(again.pop_due(), None);
            sleep_until_due(Some(due)).await;
            while let Some(number) = again.pop_due() {
                seen.push((number, start.elapsed().as_millis()));
            }
        }
        assert_eq!(seen, [(2, 100), (3, 100), (1, 150), (4, 200), (5, 30_000)]);
        assert!(again.is_empty());
    }
}

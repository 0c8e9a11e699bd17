//! How long a sink has taken nothing.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// A sink that takes nothing for this long is away: back-offs and short restarts are not worth a word.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// Set by the sink's outlet; read by those that would feed it.
#[derive(Debug)]
pub struct Refusing {
    made: Instant,
    /// In milliseconds after it was made, and one more; 0 while the sink takes what it is given.
    since: AtomicU64,
}

impl Default for Refusing {
    fn default() -> Self {
        Self { made: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl Refusing {
    /// The sink as a whole has refused something. Counts from the first time on.
    pub fn begin(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        // An error means that it goes on.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The sink has taken something, or there is nothing left to try it with.
    pub fn end(&self) {
        if self.since.load(Ordering::Relaxed) != 0 {
            self.since.store(0, Ordering::Relaxed);
        }
    }

    pub fn lasts(&self) -> Option<Duration> {
        let since = self.since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.made.elapsed().saturating_sub(Duration::from_millis(since)))
    }

    pub fn is_away(&self) -> bool {
        self.lasts().is_some_and(|lasts| lasts >= AWAY_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sink_is_away_when_it_has_taken_nothing_for_a_while() {
        let refusing = Refusing::default();
        assert_eq!((refusing.lasts(), refusing.is_away()), (None, false));
        refusing.begin();
        advance(AWAY_AFTER / 2).await;
        refusing.begin();
        assert!(!refusing.is_away());
        advance(AWAY_AFTER / 2).await;
        assert_eq!((refusing.lasts(), refusing.is_away()), (Some(AWAY_AFTER), true));
        refusing.end();
        assert_eq!((refusing.lasts(), refusing.is_away()), (None, false));
    }
}

//! Duration for which a sink has refused outputs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Time after which a refusing sink counts as away: back-offs and short restarts are not worth a
/// report.
const AWAY_AFTER: Duration = Duration::from_secs(5);

/// Time since a sink began to refuse. Set by the sink's outlet; read by those that would feed it.
#[derive(Debug)]
pub struct RefusalTime {
    made: Instant,
    /// Milliseconds from `made` to the first refusal, plus one; 0 while the sink accepts outputs.
    since: AtomicU64,
}

impl Default for RefusalTime {
    fn default() -> Self {
        Self { made: Instant::now(), since: AtomicU64::new(0) }
    }
}

impl RefusalTime {
    /// Notes that the sink as a whole has refused an output. Only the first refusal sets the time.
    pub fn begin(&self) {
        let now = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        // An error means that it is refusing already.
        let _ = self.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Notes that the sink has accepted an output, or that there is nothing left to try it with.
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
        let refusing = RefusalTime::default();
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

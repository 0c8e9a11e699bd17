//! Pauses of a sink by an operator, as its outlet sees them.

use std::{mem, time::Duration};

use tokio::time::Instant;

use crate::metrics::SinkMetrics;

#[derive(Debug, Default)]
pub(super) struct OperatorPause {
    is_on: bool,
    /// End of the last pause.
    ended: Option<Instant>,
}

impl OperatorPause {
    /// Looks at the sink's switch. Returns whether it is paused. `is_idle` tells that there is
    /// nothing to try the sink with.
    pub(super) fn look(&mut self, metrics: &SinkMetrics, is_idle: bool) -> bool {
        let was_on = mem::replace(&mut self.is_on, metrics.switch.is_on());
        if self.is_on {
            // Sources and other routers see a sink that takes nothing.
            metrics.refusing.begin();
        } else if was_on {
            self.ended = Some(Instant::now());
            metrics.refusing.end();
        } else if is_idle {
            metrics.refusing.end();
        }
        self.is_on
    }

    /// Returns how long an output has been tried. A pause ends what was before it: in its time the
    /// destination was not asked.
    pub(super) fn tried_for(&self, first_try: Option<Instant>) -> Duration {
        first_try.max(first_try.and(self.ended)).map(|began| began.elapsed()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_pause_is_no_time_in_which_the_sink_refused() {
        let (mut pause, metrics) = (OperatorPause::default(), SinkMetrics::default());
        let second = Duration::from_secs(1);
        let first_try = Some(Instant::now());
        metrics.refusing.begin();
        advance(second).await;
        assert!(!pause.look(&metrics, false));
        assert_eq!((pause.tried_for(first_try), metrics.refusing.lasts()), (second, Some(second)));
        metrics.switch.pause();
        assert!(pause.look(&metrics, false));
        advance(60 * second).await;
        assert_eq!(metrics.refusing.lasts(), Some(61 * second), "it looks like one that is away");
        metrics.switch.resume();
        assert!(!pause.look(&metrics, false));
        advance(2 * second).await;
        assert_eq!((pause.tried_for(first_try), metrics.refusing.lasts()), (2 * second, None));
        assert_eq!(pause.tried_for(Some(Instant::now())), Duration::ZERO);
        assert_eq!(pause.tried_for(None), Duration::ZERO, "it was never tried");
    }
}

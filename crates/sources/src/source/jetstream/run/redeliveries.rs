//! Redeliveries of messages that were not given back here: a line in the log for each burst of
//! them.

use std::time::Duration;

use tokio::time::Instant;

/// Time for which a burst is not logged again.
const QUIET: Duration = Duration::from_secs(10);

/// Redeliveries that were not logged yet.
#[derive(Default)]
pub(super) struct UnloggedRedeliveries {
    untold: u64,
    first: u64,
    last: u64,
    told: Option<Instant>,
}

impl UnloggedRedeliveries {
    pub(super) fn note(&mut self, sequence: u64) {
        self.first = if self.untold == 0 { sequence } else { self.first.min(sequence) };
        self.last = if self.untold == 0 { sequence } else { self.last.max(sequence) };
        self.untold += 1;
    }

    pub(super) fn tell(&mut self, source: &str) {
        if self.untold > 0 && self.told.is_none_or(|told| told.elapsed() >= QUIET) {
            let (messages, first, last) = (self.untold, self.first, self.last);
            tracing::info!(source, messages, first, last, "the server has delivered messages again");
            (self.untold, self.told) = (0, Some(Instant::now()));
        }
    }
}

//! Summary: the one line that ends a run.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::{
    event::TICKS,
    metrics::{DEAD_LETTERS, Metrics},
};

/// Totals of the events' fates, over all sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunSummary {
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    pub received: u64,
    pub emitted: u64,
    pub filtered: u64,
    pub duplicates: u64,
    pub skipped: u64,
    pub failed: u64,
    pub dead_lettered: u64,
    /// Outputs that sinks have written, without the dead letters.
    pub outputs: u64,
    /// Outputs that their destination had already.
    pub known: u64,
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl RunSummary {
    pub fn new(metrics: &Metrics, took: Duration) -> Self {
        let mut summary = Self { took, ..Self::default() };
        // Nothing came in with a tick.
        for (_, source) in metrics.sources().iter().filter(|(name, _)| name != TICKS) {
            summary.received += source.received.get();
            summary.emitted += source.emitted.get();
            summary.filtered += source.filtered.get();
            summary.duplicates += source.duplicates.get();
            summary.skipped += source.skipped.get();
            summary.failed += source.failed.get();
            summary.dead_lettered += source.dead_lettered.get();
        }
        for (_, sink) in metrics.sinks().iter().filter(|(name, _)| name != DEAD_LETTERS) {
            summary.outputs += sink.written.get();
            summary.known += sink.known.get();
        }
        summary
    }
}

impl fmt::Display for RunSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.received as f64 / self.took.as_secs_f64().max(f64::EPSILON);
        write!(
            f,
            "{} {} in {:.2} s ({rate:.0}/s): {} emitted",
            self.received,
            if self.received == 1 { "event" } else { "events" },
            self.took.as_secs_f64(),
            self.emitted
        )?;
        let rest = [
            (self.filtered, "filtered"),
            (self.duplicates, "duplicate"),
            (self.skipped, "skipped"),
            (self.dead_lettered, "dead-lettered"),
            (self.failed, "given back"),
        ];
        for (count, what) in rest.into_iter().filter(|(count, _)| *count > 0) {
            write!(f, ", {count} {what}")?;
        }
        write!(f, "; {} {} written", self.outputs, if self.outputs == 1 { "output" } else { "outputs" })?;
        match self.known {
            0 => Ok(()),
            1 => write!(f, ", 1 of them a repeat that the destination dropped"),
            known => write!(f, ", {known} of them repeats that the destination dropped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_letters_are_no_outputs_of_sinks() {
        let metrics = Metrics::default();
        let source = metrics.source("in");
        source.received.inc();
        source.dead_lettered.inc();
        metrics.sink("out");
        metrics.sink(DEAD_LETTERS).written.inc();
        let summary = RunSummary::new(&metrics, Duration::from_secs(1));
        assert_eq!(summary.to_string(), "1 event in 1.00 s (1/s): 0 emitted, 1 dead-lettered; 0 outputs written");
    }

    #[test]
    fn counts_agree_with_their_nouns() {
        for (count, expected) in [
            (
                1,
                "1 event in 1.00 s (1/s): 1 emitted; 1 output written, 1 of them a repeat that the destination dropped",
            ),
            (
                2,
                "2 events in 1.00 s (2/s): 2 emitted; 2 outputs written, 2 of them repeats that the destination dropped",
            ),
        ] {
            let took = Duration::from_secs(1);
            let summary = RunSummary {
                took,
                received: count,
                emitted: count,
                outputs: count,
                known: count,
                ..RunSummary::default()
            };
            assert_eq!(summary.to_string(), expected);
        }
    }
}

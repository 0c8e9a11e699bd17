//! Summary: the one line that ends a run.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer};

use crate::metrics::Metrics;

/// Totals of the events' fates, over all sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub took: Duration,
    pub received: u64,
    pub emitted: u64,
    pub filtered: u64,
    pub duplicates: u64,
    pub skipped: u64,
    pub failed: u64,
    pub dead_lettered: u64,
    pub outputs: u64,
    /// Outputs that their destination had already.
    pub known: u64,
}

fn seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(took.as_secs_f64())
}

impl Summary {
    pub fn new(metrics: &Metrics, took: Duration) -> Self {
        let mut summary = Self { took, ..Self::default() };
        for (_, source) in metrics.sources() {
            summary.received += source.received.get();
            summary.emitted += source.emitted.get();
            summary.filtered += source.filtered.get();
            summary.duplicates += source.duplicates.get();
            summary.skipped += source.skipped.get();
            summary.failed += source.failed.get();
            summary.dead_lettered += source.dead_lettered.get();
        }
        summary.outputs = metrics.sinks().iter().map(|(_, sink)| sink.written.get()).sum();
        summary.known = metrics.sinks().iter().map(|(_, sink)| sink.known.get()).sum();
        summary
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.received as f64 / self.took.as_secs_f64().max(f64::EPSILON);
        write!(
            f,
            "{} events in {:.2} s ({rate:.0}/s): {} emitted",
            self.received,
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
        write!(f, "; {} outputs written", self.outputs)?;
        match self.known {
            0 => Ok(()),
            known => write!(f, ", {known} of them repeats that the destination dropped"),
        }
    }
}

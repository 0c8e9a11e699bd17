//! How long events and outputs took of late.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::metrics::{EventDurations, SourceMetrics};

/// Quantiles of a time, in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct LatencyQuantiles {
    pub p50: u64,
    pub p95: u64,
    pub p99: u64,
}

impl LatencyQuantiles {
    fn of(durations: &EventDurations) -> Option<Self> {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let quantile = |part| durations.quantile(part).map(nanos);
        Some(Self { p50: quantile(0.5)?, p95: quantile(0.95)?, p99: quantile(0.99)? })
    }
}

/// Durations of the last `LOOKS` looks at each part, by its name.
#[derive(Debug, Default)]
pub struct LatencyWindow<const LOOKS: usize>(BTreeMap<String, VecDeque<EventDurations>>);

impl<const LOOKS: usize> LatencyWindow<LOOKS> {
    /// Notes what a part has counted so far. Returns the quantiles of what came in the window; of
    /// all at the first look, and `None` if nothing came.
    pub fn look(&mut self, name: &str, now: EventDurations) -> Option<LatencyQuantiles> {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), VecDeque::with_capacity(LOOKS));
        }
        let looks = self.0.get_mut(name)?;
        let recent = looks.front().map(|oldest| now.since(oldest));
        if looks.len() == LOOKS {
            looks.pop_front();
        }
        let quantiles = LatencyQuantiles::of(recent.as_ref().unwrap_or(&now));
        looks.push_back(now);
        quantiles
    }

    /// Forgets the parts that are gone.
    pub fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| is_there(name));
    }
}

/// Durations of a source's events: from the stream's store to the end, where that is known, else
/// from their receipt.
pub fn event_durations(source: &SourceMetrics) -> EventDurations {
    let latency = source.latency.counts();
    if latency.count() > 0 { latency } else { source.duration.counts() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::EventHistogram;

    #[test]
    fn only_what_came_in_the_window_counts() {
        let (histogram, mut window) = (EventHistogram::default(), LatencyWindow::<2>::default());
        let mut look = |histogram: &EventHistogram| window.look("in", histogram.counts());
        assert_eq!(look(&histogram), None);
        histogram.observe(Duration::from_secs(9));
        assert!(look(&histogram).unwrap().p50 > 5_000_000_000);
        histogram.observe(Duration::from_micros(50));
        assert!(look(&histogram).unwrap().p99 > 5_000_000_000, "it is two looks old");
        assert!(look(&histogram).unwrap().p99 <= 100_000);
        assert_eq!(look(&histogram), None);
    }

    #[test]
    fn a_part_that_is_gone_is_forgotten() {
        let (histogram, mut window) = (EventHistogram::default(), LatencyWindow::<1>::default());
        histogram.observe(Duration::from_secs(1));
        window.look("in", histogram.counts());
        window.retain(|name| name != "in");
        assert!(window.look("in", histogram.counts()).is_some(), "all of it counts as new");
    }
}

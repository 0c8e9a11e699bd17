//! The router's last hour, so that a page that is opened has its plots at once.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{MissedTickBehavior, interval};

use crate::{
    feed::{LatencyQuantiles, LatencyWindow, event_durations},
    metrics::Metrics,
    poison::ignore_poison,
};

/// Time between two points.
const PAUSE: Duration = Duration::from_secs(10);
/// Points that are kept: an hour.
const KEPT: usize = 360;

/// The points of the last hour, the oldest first.
#[derive(Debug, Default)]
pub(in crate::admin) struct HourHistory(Mutex<VecDeque<HistoryPoint>>);

/// Counts of all sources together at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct HistoryPoint {
    /// Milliseconds since 1970.
    time: i64,
    received: u64,
    emitted: u64,
    filtered: u64,
    failed: u64,
    dead_lettered: u64,
    in_flight: i64,
    lag: i64,
    /// Time until events ended since the point before, of the slowest source.
    latency: Option<LatencyQuantiles>,
}

impl HourHistory {
    /// Adds a point every ten seconds.
    pub(in crate::admin) async fn keep(self: Arc<Self>, metrics: Arc<Metrics>) -> Infallible {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut recent = LatencyWindow::default();
        loop {
            ticks.tick().await;
            self.add(HistoryPoint::of(&metrics, &mut recent));
        }
    }

    fn add(&self, point: HistoryPoint) {
        let mut points = ignore_poison(self.0.lock());
        if points.len() == KEPT {
            points.pop_front();
        }
        points.push_back(point);
    }

    pub(super) fn points(&self) -> Vec<HistoryPoint> {
        ignore_poison(self.0.lock()).iter().copied().collect()
    }
}

impl HistoryPoint {
    fn of(metrics: &Metrics, recent: &mut LatencyWindow<1>) -> Self {
        let mut point = Self { time: Timestamp::now().as_millisecond(), ..Self::default() };
        let sources = metrics.sources();
        recent.retain(|name| sources.iter().any(|(source, _)| source == name));
        for (name, source) in sources {
            let latency = recent.look(&name, event_durations(&source));
            point.latency = point.latency.into_iter().chain(latency).max_by_key(|quantiles| quantiles.p99);
            point.received += source.received.get();
            point.emitted += source.emitted.get();
            point.filtered += source.filtered.get();
            point.failed += source.failed.get();
            point.dead_lettered += source.dead_lettered.get();
            point.in_flight += source.in_flight.get();
            point.lag += source.lag.get();
        }
        point
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_hour_is_kept_and_no_more() {
        let (history, metrics) = (Arc::<HourHistory>::default(), Arc::<Metrics>::default());
        let counted = metrics.source("in");
        let keeping = Arc::clone(&history).keep(Arc::clone(&metrics));
        let counting = async {
            // Between two points.
            tokio::time::sleep(PAUSE / 2).await;
            loop {
                counted.received.inc();
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            never = keeping => match never {},
            () = counting => {}
            () = tokio::time::sleep(PAUSE * 500) => {}
        }
        let points = history.points();
        assert_eq!(points.len(), KEPT);
        assert!(points.windows(2).all(|pair| pair[0].received + 1 == pair[1].received));
    }
}

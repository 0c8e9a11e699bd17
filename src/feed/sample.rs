//! What the parts of a router have counted so far.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::latency::{LatencyQuantiles, LatencyWindow, event_durations};
use crate::{
    health::{HealthLevel, PartHealth},
    metrics::{FilterMetrics, Metrics, SinkMetrics, SourceMetrics},
    registry::{Key, Snapshot},
};

/// Counts of all parts at one moment. They only go up, but those of [`KeySample::sent`], which
/// begin anew with each generation.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LiveSample {
    /// Milliseconds since 1970.
    pub time: i64,
    pub generation: u64,
    /// Health of the worst part.
    pub level: HealthLevel,
    /// Parts that are not well.
    pub troubles: Vec<PartHealth>,
    pub sources: Vec<SourceSample>,
    pub keys: Vec<KeySample>,
    pub filters: Vec<FilterSample>,
    pub sinks: Vec<SinkSample>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SourceSample {
    pub name: String,
    pub connected: bool,
    /// True while it takes nothing because no sink does.
    pub paused: bool,
    pub received: u64,
    pub emitted: u64,
    pub filtered: u64,
    pub duplicates: u64,
    pub skipped: u64,
    pub failed: u64,
    pub dead_lettered: u64,
    pub in_flight: i64,
    pub deferred: i64,
    /// Messages that the server has yet to deliver.
    pub lag: i64,
    /// Time until events ended, of the last seconds.
    pub latency: Option<LatencyQuantiles>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct KeySample {
    pub name: String,
    pub matched: u64,
    pub filtered: u64,
    pub outputs: u64,
    pub retried: u64,
    pub dead_lettered: u64,
    /// Bytes of events that wait.
    pub waiting: u64,
    /// Outputs by sink, in this generation.
    pub sent: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FilterSample {
    pub name: String,
    pub matches: u64,
    /// Mean time of a call, in nanoseconds; `None` before the first.
    pub match_ns: Option<u64>,
    pub processes: u64,
    pub process_ns: Option<u64>,
    pub breaks: u64,
    pub reloads: u64,
    pub quarantined: bool,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct SinkSample {
    pub name: String,
    pub queued: u64,
    pub written: u64,
    pub retried: u64,
    pub skipped: u64,
    pub dead_lettered: u64,
    pub returned: u64,
    /// Time from the queue to the confirmation of outputs, of the last seconds.
    pub latency: Option<LatencyQuantiles>,
}

/// Looks over which the times of a sample go: they are a second apart.
const LOOKS: usize = 10;

/// Times of the last seconds, for one reader.
#[derive(Debug, Default)]
pub(super) struct RecentTimes {
    sources: LatencyWindow<LOOKS>,
    sinks: LatencyWindow<LOOKS>,
}

impl LiveSample {
    pub(super) fn of(snapshot: Option<&Snapshot>, metrics: &Metrics, recent: &mut RecentTimes) -> Self {
        let (sources, sinks) = (metrics.sources(), metrics.sinks());
        recent.sources.retain(|name| sources.iter().any(|(source, _)| source == name));
        recent.sinks.retain(|name| sinks.iter().any(|(sink, _)| sink == name));
        let mut troubles = metrics.health();
        troubles.retain(|part| part.level > HealthLevel::Ok);
        Self {
            time: Timestamp::now().as_millisecond(),
            generation: snapshot.map_or(0, |snapshot| snapshot.generation),
            level: troubles.iter().map(|part| part.level).max().unwrap_or_default(),
            troubles,
            sources: sources.into_iter().map(|source| SourceSample::of(source, recent)).collect(),
            keys: snapshot.map_or_else(Vec::new, |snapshot| snapshot.keys().map(|key| KeySample::of(key)).collect()),
            filters: metrics.filters().into_iter().map(FilterSample::of).collect(),
            sinks: sinks.into_iter().map(|sink| SinkSample::of(sink, recent)).collect(),
        }
    }
}

impl SourceSample {
    fn of((name, counts): (String, Arc<SourceMetrics>), recent: &mut RecentTimes) -> Self {
        Self {
            latency: recent.sources.look(&name, event_durations(&counts)),
            name,
            connected: counts.connected.get() != 0,
            paused: counts.paused.get() != 0,
            received: counts.received.get(),
            emitted: counts.emitted.get(),
            filtered: counts.filtered.get(),
            duplicates: counts.duplicates.get(),
            skipped: counts.skipped.get(),
            failed: counts.failed.get(),
            dead_lettered: counts.dead_lettered.get(),
            in_flight: counts.in_flight.get(),
            deferred: counts.deferred.get(),
            lag: counts.lag.get(),
        }
    }

    /// Events that have ended.
    pub fn ended(&self) -> u64 {
        self.emitted + self.filtered + self.duplicates + self.skipped + self.failed + self.dead_lettered
    }
}

impl KeySample {
    fn of(key: &Key) -> Self {
        let mut sent = BTreeMap::<String, u64>::new();
        for sink in key.routes.iter().flat_map(|route| &route.sinks) {
            *sent.entry(sink.queue.name().to_string()).or_default() += sink.sent.load(Ordering::Relaxed);
        }
        Self {
            name: key.name.to_string(),
            matched: key.metrics.matched.get(),
            filtered: key.metrics.filtered.get(),
            outputs: key.metrics.outputs.get(),
            retried: key.metrics.retried.get(),
            dead_lettered: key.metrics.dead_lettered.get(),
            waiting: key.load.bytes(),
            sent,
        }
    }
}

impl FilterSample {
    fn of((name, counts): (String, Arc<FilterMetrics>)) -> Self {
        let nanos = |mean: Option<Duration>| mean.and_then(|mean| u64::try_from(mean.as_nanos()).ok());
        Self {
            name,
            matches: counts.matches.get(),
            match_ns: nanos(counts.match_time.durations().mean()),
            processes: counts.processes.get(),
            process_ns: nanos(counts.process_time.durations().mean()),
            breaks: counts.breaks.get(),
            reloads: counts.reloads.get(),
            quarantined: counts.quarantined.get() != 0,
        }
    }
}

impl SinkSample {
    fn of((name, counts): (String, Arc<SinkMetrics>), recent: &mut RecentTimes) -> Self {
        Self {
            latency: recent.sinks.look(&name, counts.time.durations()),
            name,
            queued: counts.queued.get(),
            written: counts.written.get(),
            retried: counts.retried.get(),
            skipped: counts.skipped.get(),
            dead_lettered: counts.dead_lettered.get(),
            returned: counts.returned.get(),
        }
    }

    /// Outputs that are neither written nor given up.
    pub fn waiting(&self) -> u64 {
        self.queued.saturating_sub(self.written + self.skipped + self.dead_lettered + self.returned)
    }
}

//! Metrics. Their labels are names from the configuration, which bounds their number.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use jiff::Timestamp;
use prometheus_client::metrics::gauge::Gauge;

pub use crate::config::DEAD_LETTERS;
use crate::{
    health::{HealthCell, PartHealth, PartKind},
    pause::{PausedPart, PausedParts},
    poison::ignore_poison,
    recent::{EndedEvent, RecentQuery},
};

mod durations;
mod family;
mod measured;
mod oldest;
mod page;
mod parts;
mod process;
mod reasons;
mod refusing;
mod requests;
mod sampled;

pub use durations::{CallDurations, DurationCounts, DurationHistogram, EventDurations, EventHistogram};
pub use measured::{FilterMeasure, MeasureKind, MeasuredValues};
pub use oldest::OldestEvent;
pub use parts::{FilterMetrics, HeldBytes, KeyMetrics, LaneMetrics, SinkMetrics, SourceMetrics, WebhookMetrics};
pub use reasons::ReasonCounts;
pub use refusing::RefusalTime;
pub use requests::{ConnectionMetrics, RequestMetrics};
pub use sampled::{CallTime, OutputTime};

/// All counters of a router, created on first use. They survive reloads; those of a removed key,
/// filter or webhook are dropped with it.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Generation of the registry in force.
    pub generation: Gauge,
    /// Health of the folder's files, as read last.
    pub configuration: HealthCell,
    loaded: LoadTime,
    /// Trouble of changes that only a start takes into service.
    pub settings: HealthCell,
    pub paused: PausedParts,
    sources: NamedMetrics<SourceMetrics>,
    requests: NamedMetrics<RequestMetrics>,
    lanes: NamedMetrics<LaneMetrics>,
    keys: NamedMetrics<KeyMetrics>,
    filters: NamedMetrics<FilterMetrics>,
    sinks: NamedMetrics<SinkMetrics>,
    webhooks: NamedMetrics<WebhookMetrics>,
}

/// Time at which all of the folder's files came into force last.
#[derive(Debug)]
struct LoadTime(Mutex<Timestamp>);

impl Default for LoadTime {
    fn default() -> Self {
        Self(Mutex::new(Timestamp::now()))
    }
}

#[derive(Debug)]
struct NamedMetrics<T>(Mutex<OrderedEntries<T>>);

/// Entries in the order in which they were first asked for.
#[derive(Debug)]
struct OrderedEntries<T> {
    all: Vec<(String, Arc<T>)>,
    positions: HashMap<String, usize>,
}

impl<T> Default for NamedMetrics<T> {
    fn default() -> Self {
        Self(Mutex::new(OrderedEntries { all: Vec::new(), positions: HashMap::new() }))
    }
}

impl<T: Default> NamedMetrics<T> {
    fn get(&self, name: &str) -> Arc<T> {
        let mut named = self.lock();
        if let Some((_, found)) = named.positions.get(name).and_then(|position| named.all.get(*position)) {
            return Arc::clone(found);
        }
        let new = Arc::<T>::default();
        let position = named.all.len();
        named.all.push((name.to_owned(), Arc::clone(&new)));
        named.positions.insert(name.to_owned(), position);
        new
    }

    fn all(&self) -> Vec<(String, Arc<T>)> {
        self.lock().all.clone()
    }

    fn names(&self) -> Vec<String> {
        self.lock().all.iter().map(|(name, _)| name.clone()).collect()
    }

    fn retain(&self, is_used: impl Fn(&str) -> bool) {
        let mut named = self.lock();
        named.all.retain(|(name, _)| is_used(name));
        named.positions = named.all.iter().zip(0..).map(|((name, _), position)| (name.clone(), position)).collect();
    }

    fn lock(&self) -> MutexGuard<'_, OrderedEntries<T>> {
        ignore_poison(self.0.lock())
    }
}

impl Metrics {
    pub fn source(&self, name: &str) -> Arc<SourceMetrics> {
        self.sources.get(name)
    }

    /// Returns the request counters of a listening source.
    pub fn requests(&self, source: &str) -> Arc<RequestMetrics> {
        self.requests.get(source)
    }

    pub fn lane(&self, number: usize) -> Arc<LaneMetrics> {
        self.lanes.get(&number.to_string())
    }

    pub fn key(&self, name: &str) -> Arc<KeyMetrics> {
        self.keys.get(name)
    }

    pub fn filter(&self, name: &str) -> Arc<FilterMetrics> {
        self.filters.get(name)
    }

    pub fn sink(&self, name: &str) -> Arc<SinkMetrics> {
        self.sinks.get(name)
    }

    pub fn webhook(&self, name: &str) -> Arc<WebhookMetrics> {
        self.webhooks.get(name)
    }

    /// Drops the counters of keys and filters that are no longer in use.
    pub fn retain(&self, is_key: impl Fn(&str) -> bool, is_filter: impl Fn(&str) -> bool) {
        for (_, filter) in self.filters() {
            filter.measured.retain(&is_key);
        }
        self.keys.retain(is_key);
        self.filters.retain(is_filter);
    }

    /// Drops the counters of webhooks that are no longer declared.
    pub fn retain_webhooks(&self, is_declared: impl Fn(&str) -> bool) {
        self.webhooks.retain(is_declared);
    }

    pub fn sources(&self) -> Vec<(String, Arc<SourceMetrics>)> {
        self.sources.all()
    }

    pub fn keys(&self) -> Vec<(String, Arc<KeyMetrics>)> {
        self.keys.all()
    }

    pub fn filters(&self) -> Vec<(String, Arc<FilterMetrics>)> {
        self.filters.all()
    }

    pub fn sinks(&self) -> Vec<(String, Arc<SinkMetrics>)> {
        self.sinks.all()
    }

    /// Notes that all of the folder's files are in force. A start does that, too.
    pub fn reloaded(&self) {
        *ignore_poison(self.loaded.0.lock()) = Timestamp::now();
    }

    /// Returns when all of the folder's files came into force last.
    pub fn loaded_at(&self) -> Timestamp {
        *ignore_poison(self.loaded.0.lock())
    }

    pub fn webhooks(&self) -> Vec<(String, Arc<WebhookMetrics>)> {
        self.webhooks.all()
    }

    /// Returns the health of all parts: the configuration, then sources, filters, sinks, webhooks
    /// and what is paused beside them.
    pub fn health(&self) -> Vec<PartHealth> {
        let mut parts = self.troubles();
        for pause in self.paused.all().iter().map(PausedPart::health) {
            match parts.iter_mut().find(|part| part.kind == pause.kind && part.name == pause.name) {
                Some(part) => *part = part.clone().and(pause),
                None => parts.push(pause),
            }
        }
        parts
    }

    /// Returns the health of all parts but keys, as if none were paused: what an operator has
    /// stopped is no trouble.
    fn troubles(&self) -> Vec<PartHealth> {
        let of = |cells: [&HealthCell; 2], kind, name: &str| cells[0].of(kind, name).and(cells[1].of(kind, name));
        let mut parts = vec![of([&self.configuration, &self.settings], PartKind::Configuration, "")];
        let sources = self.sources();
        parts.extend(sources.iter().map(|(name, m)| of([&m.health, &m.silence], PartKind::Source, name)));
        parts.extend(self.filters().iter().map(|(name, filter)| filter.health.of(PartKind::Filter, name)));
        parts.extend(self.sinks().iter().map(|(name, sink)| sink.health.of(PartKind::Sink, name)));
        parts.extend(self.webhooks().iter().map(|(name, webhook)| webhook.health.of(PartKind::Webhook, name)));
        parts
    }

    /// Returns the events that ended last, of all sources, the newest first.
    pub fn recent(&self, asked: &RecentQuery) -> Vec<EndedEvent> {
        let mut ended = Vec::new();
        for (source, metrics) in self.sources() {
            ended.extend(metrics.recent.ended(&source, &asked.types));
        }
        // Stable: events of one source with the same time keep their order.
        ended.sort_by_key(|ended| Reverse(ended.time));
        ended.truncate(asked.limit());
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_last_as_long_as_their_names() {
        let metrics = Metrics::default();
        for name in ["b", "a", "c"] {
            metrics.key(name).matched.inc();
        }
        metrics.filter("f").breaks.inc();
        metrics.retain(|key| key != "b", |_| true);
        let keys: Vec<_> = metrics.keys().into_iter().map(|(name, key)| (name, key.matched.get())).collect();
        assert_eq!(keys, [("a".to_owned(), 1), ("c".to_owned(), 1)]);
        metrics.key("c").matched.inc();
        metrics.key("b").matched.inc();
        let keys: Vec<_> = metrics.keys().into_iter().map(|(name, key)| (name, key.matched.get())).collect();
        assert_eq!(keys, [("a".to_owned(), 1), ("c".to_owned(), 2), ("b".to_owned(), 1)]);
        metrics.retain(|_| false, |_| false);
        assert!(!metrics.exposition().contains("name=\"a\""), "{}", metrics.exposition());
        assert!(!metrics.exposition().contains("name=\"f\""), "{}", metrics.exposition());
    }
}

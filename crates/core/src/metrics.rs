//! Metrics. Their labels are names from the configuration, which bounds their number.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{
    fate::Fate,
    health::{HealthCell, PartHealth, PartKind},
    poison::ignore_poison,
    recent::{EndedEvent, RecentEvents, RecentQuery},
    tap::Tap,
};

mod measured;
mod refusing;
mod requests;

use measured::MeasuredFamilies;
pub use measured::{FilterMeasure, MeasureKind, MeasuredValues};
pub use refusing::RefusalTime;
pub use requests::RequestMetrics;

mod sampled;

pub use sampled::SampledTime;

/// Name of the sink of dead letters. Those in the configuration have no space in theirs.
pub const DEAD_LETTERS: &str = "dead letters";

/// Counters of one source's events. At rest,
/// `received = emitted + filtered + duplicates + skipped + failed + dead_lettered`; while running
/// the difference is `in_flight`.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    pub received: Counter,
    pub emitted: Counter,
    pub filtered: Counter,
    pub duplicates: Counter,
    pub skipped: Counter,
    pub failed: Counter,
    pub dead_lettered: Counter,
    pub in_flight: Gauge,
    /// 1 while the source is connected to where its events come from.
    pub connected: Gauge,
    /// 1 while the source takes nothing, because no sink of any route accepts outputs.
    pub paused: Gauge,
    /// 1 if the source serves one isolated key.
    pub serves_one_key: Gauge,
    /// 1 while the source shares its messages with other readers: returned events go to them.
    pub shared: Gauge,
    /// Messages that the server has delivered before.
    pub redelivered: Counter,
    /// Messages left open by an earlier reader, which are delivered first.
    pub taken_over: Counter,
    /// Messages that the server has yet to deliver.
    pub lag: Gauge,
    /// Events that are left in the stream until their keys have room for them.
    pub deferred: Gauge,
    /// Deferred events that the stream deleted before there was room.
    pub gone: Counter,
    /// Messages of core NATS that came while there was no room for them. They are lost.
    pub dropped: Counter,
    /// Events that have ended last.
    pub recent: RecentEvents,
    /// Tap for requests to see the next event.
    pub tap: Tap,
    pub health: HealthCell,
}

impl SourceMetrics {
    /// Counts the end of an event that was in flight.
    pub fn ended(&self, fate: Fate) {
        match fate {
            Fate::Filtered => &self.filtered,
            Fate::Skipped => &self.skipped,
            Fate::Emitted => &self.emitted,
            Fate::DeadLettered => &self.dead_lettered,
            Fate::Failed => &self.failed,
        }
        .inc();
        self.in_flight.dec();
    }
}

/// Counters of one key's events: those that its subject and event type let in.
#[derive(Debug, Default)]
pub struct KeyMetrics {
    /// Events that the index handed to the key.
    pub matched: Counter,
    /// Events rejected by every route, by condition, `matches` or `process`.
    pub filtered: Counter,
    /// Outputs handed to sinks.
    pub outputs: Counter,
    /// Further calls of `process` for the same event.
    pub retried: Counter,
    pub dead_lettered: Counter,
}

/// Measurements of a filter's calls.
#[derive(Debug, Default)]
pub struct FilterMetrics {
    pub matches: Counter,
    pub match_time: SampledTime,
    pub processes: Counter,
    /// Time of `process` calls, host calls included.
    pub process_time: SampledTime,
    /// Calls that trapped, ran out of time, memory or output, or returned nonsense.
    pub breaks: Counter,
    pub ticks: Counter,
    /// What the filter measures itself.
    pub measured: MeasuredValues,
    pub reloads: Counter,
    /// 1 while quarantined.
    pub quarantined: Gauge,
    pub health: HealthCell,
}

/// Counters of a sink's outputs.
#[derive(Debug, Default)]
pub struct SinkMetrics {
    pub queued: Counter,
    /// Outputs accepted by the destination.
    pub written: Counter,
    /// Written outputs that the destination already had and dropped as repeats.
    pub known: Counter,
    /// Attempts that failed and were repeated.
    pub retried: Counter,
    pub skipped: Counter,
    pub dead_lettered: Counter,
    /// Outputs given back to the source unwritten.
    pub returned: Counter,
    pub refusing: RefusalTime,
    pub health: HealthCell,
}

/// Counters of a webhook's deliveries.
#[derive(Debug, Default)]
pub struct WebhookMetrics {
    pub delivered: Counter,
    /// Attempts that failed and are repeated.
    pub retried: Counter,
    pub failed: Counter,
    /// Deliveries not stored, since the limit of pending ones is reached.
    pub refused: Counter,
    /// Deliveries stored and not sent yet.
    pub pending: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameLabel {
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartLabels {
    kind: &'static str,
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NameAndReason {
    name: String,
    reason: &'static str,
}

/// All counters of a router, created on first use. They survive reloads; those of a removed key,
/// filter or webhook are dropped with it.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Generation of the registry in force.
    pub generation: Gauge,
    /// Health of the folder's files, as read last.
    pub configuration: HealthCell,
    sources: NamedMetrics<SourceMetrics>,
    requests: NamedMetrics<RequestMetrics>,
    keys: NamedMetrics<KeyMetrics>,
    filters: NamedMetrics<FilterMetrics>,
    sinks: NamedMetrics<SinkMetrics>,
    webhooks: NamedMetrics<WebhookMetrics>,
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

    /// Returns the health of all parts: the configuration, then sources, filters and sinks.
    pub fn health(&self) -> Vec<PartHealth> {
        let mut parts = vec![self.configuration.of(PartKind::Configuration, "")];
        parts.extend(self.sources().iter().map(|(name, source)| source.health.of(PartKind::Source, name)));
        parts.extend(self.filters().iter().map(|(name, filter)| filter.health.of(PartKind::Filter, name)));
        parts.extend(self.sinks().iter().map(|(name, sink)| sink.health.of(PartKind::Sink, name)));
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

    /// Returns all metrics in the OpenMetrics text format.
    pub fn exposition(&self) -> String {
        let mut page = MetricsPage(Registry::with_prefix("trommel"));
        page.0.register("registry_generation", "Generation of the registry in force", self.generation.clone());
        page.health(&self.health());
        let sources = self.sources();
        page.counters("source_events_received", "Events taken from the source", &sources, |m| &m.received);
        page.counters("source_events_emitted", "Events of which a sink took an output", &sources, |m| &m.emitted);
        page.counters("source_events_filtered", "Events that no route let through", &sources, |m| &m.filtered);
        page.counters("source_events_duplicate", "Events seen before in the dedup window", &sources, |m| &m.duplicates);
        page.counters("source_events_skipped", "Events skipped by their sinks' policy", &sources, |m| &m.skipped);
        page.counters("source_events_failed", "Events given back to the source", &sources, |m| &m.failed);
        page.counters("source_events_dead_lettered", "Events stored as dead letters", &sources, |m| &m.dead_lettered);
        page.gauges("source_events_in_flight", "Events not settled yet", &sources, |m| &m.in_flight);
        page.gauges("source_connected", "1 while connected to where the events come from", &sources, |m| &m.connected);
        page.gauges("source_paused", "1 while nothing is taken because no sink does", &sources, |m| &m.paused);
        page.gauges("source_shared", "1 while others may read the same consumer", &sources, |m| &m.shared);
        page.counters("source_redelivered", "Messages that were delivered before", &sources, |m| &m.redelivered);
        page.counters("source_taken_over", "Messages left open by an earlier reader", &sources, |m| &m.taken_over);
        page.counters("source_events_gone", "Events that the stream deleted while deferred", &sources, |m| &m.gone);
        page.counters("source_events_dropped", "Messages of core NATS dropped for lack of room", &sources, |m| {
            &m.dropped
        });
        page.gauges("source_events_deferred", "Events left in the stream until there is room", &sources, |m| {
            &m.deferred
        });
        page.gauges("source_lag", "Messages that the server has still to deliver", &sources, |m| &m.lag);
        let requests = self.requests.all();
        page.counters("source_requests_taken", "Requests answered with success", &requests, |m| &m.taken);
        page.refusals("source_requests_refused", "Requests refused, by reason", &requests);
        let keys = self.keys();
        page.counters("key_events_matched", "Events that the index handed to the key", &keys, |m| &m.matched);
        page.counters("key_events_filtered", "Events that every route of the key turned away", &keys, |m| &m.filtered);
        page.counters("key_outputs", "Outputs handed to sinks", &keys, |m| &m.outputs);
        page.counters("key_events_retried", "Further tries of process", &keys, |m| &m.retried);
        page.counters("key_events_dead_lettered", "Events stored as dead letters", &keys, |m| &m.dead_lettered);
        let filters = self.filters();
        page.counters("filter_matches", "Calls of matches", &filters, |m| &m.matches);
        page.counters("filter_processes", "Calls of process", &filters, |m| &m.processes);
        page.counters("filter_breaks", "Calls that trapped or exceeded a limit", &filters, |m| &m.breaks);
        page.counters("filter_ticks", "Calls of tick", &filters, |m| &m.ticks);
        page.counters("filter_reloads", "Components put into service", &filters, |m| &m.reloads);
        page.gauges("filter_quarantined", "1 while the filter is quarantined", &filters, |m| &m.quarantined);
        page.measured(&filters);
        let sinks = self.sinks();
        page.counters("sink_outputs_queued", "Outputs handed to the sink", &sinks, |m| &m.queued);
        page.counters("sink_outputs_written", "Outputs that the destination took", &sinks, |m| &m.written);
        page.counters("sink_outputs_known", "Outputs that the destination had already", &sinks, |m| &m.known);
        page.counters("sink_outputs_retried", "Repeated tries", &sinks, |m| &m.retried);
        page.counters("sink_outputs_skipped", "Outputs skipped by policy", &sinks, |m| &m.skipped);
        page.counters("sink_outputs_dead_lettered", "Outputs stored as dead letters", &sinks, |m| &m.dead_lettered);
        page.counters("sink_outputs_returned", "Outputs given back unwritten", &sinks, |m| &m.returned);
        let webhooks = self.webhooks.all();
        page.counters("webhook_deliveries_delivered", "Deliveries that succeeded", &webhooks, |m| &m.delivered);
        page.counters("webhook_deliveries_retried", "Tries that are repeated", &webhooks, |m| &m.retried);
        page.counters("webhook_deliveries_failed", "Deliveries that were given up", &webhooks, |m| &m.failed);
        page.counters("webhook_deliveries_refused", "Outputs not stored for it: `max_pending`", &webhooks, |m| {
            &m.refused
        });
        page.gauges("webhook_deliveries_pending", "Deliveries not sent yet", &webhooks, |m| &m.pending);
        page.text()
    }
}

struct MetricsPage(Registry);

impl MetricsPage {
    fn counters<T>(&mut self, name: &str, help: &str, all: &[(String, Arc<T>)], pick: fn(&T) -> &Counter) {
        let family = Family::<NameLabel, Counter>::default();
        for (name, metrics) in all {
            family.get_or_create(&NameLabel { name: name.clone() }).inc_by(pick(metrics).get());
        }
        self.0.register(name, help, family);
    }

    fn gauges<T>(&mut self, name: &str, help: &str, all: &[(String, Arc<T>)], pick: fn(&T) -> &Gauge) {
        let family = Family::<NameLabel, Gauge>::default();
        for (name, metrics) in all {
            family.get_or_create(&NameLabel { name: name.clone() }).set(pick(metrics).get());
        }
        self.0.register(name, help, family);
    }

    fn health(&mut self, parts: &[PartHealth]) {
        let family = Family::<PartLabels, Gauge>::default();
        for PartHealth { kind, name, level, .. } in parts {
            let labels = PartLabels { kind: kind.word(), name: name.clone() };
            family.get_or_create(&labels).set(*level as i64);
        }
        self.0.register("health", "0 while the part is well, 1 degraded, 2 down", family);
    }

    fn refusals(&mut self, name: &str, help: &str, all: &[(String, Arc<RequestMetrics>)]) {
        let family = Family::<NameAndReason, Counter>::default();
        for (name, metrics) in all {
            for (reason, count) in metrics.refused() {
                family.get_or_create(&NameAndReason { name: name.clone(), reason }).inc_by(count);
            }
        }
        self.0.register(name, help, family);
    }

    fn measured(&mut self, filters: &[(String, Arc<FilterMetrics>)]) {
        let mut families = MeasuredFamilies::default();
        for (name, metrics) in filters {
            metrics.measured.show(name, &mut families);
        }
        let MeasuredFamilies { counters, gauges, histograms } = families;
        self.0.register("filter_custom_counter", "Counters that filters keep themselves", counters);
        self.0.register("filter_custom_gauge", "Gauges that filters set themselves", gauges);
        self.0.register("filter_custom_histogram", "Values that filters measure themselves", histograms);
    }

    fn text(self) -> String {
        let mut page = String::new();
        // Writing to a `String` does not fail.
        let _ = text::encode(&mut page, &self.0);
        page
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

//! The page of metrics, in the OpenMetrics text format.

use std::{collections::BTreeMap, fmt, sync::Arc};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, text},
    metrics::{
        TypedMetric,
        counter::{ConstCounter, Counter},
        gauge::{ConstGauge, Gauge},
        info::Info,
    },
    registry::Registry,
};

use super::{
    FilterMetrics, HeldBytes, Metrics, SinkMetrics, SourceMetrics, family::LabeledFamily, measured::MeasuredFamilies,
    process::ProcessStats,
};
use crate::{
    health::{PartHealth, PartKind},
    pause::PausableKind,
};

/// Commit of the build, where the builder names it.
const COMMIT: Option<&str> = option_env!("TROMMEL_COMMIT");

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

/// Parts of one kind, by name.
type Parts<T> = [(String, Arc<T>)];

impl Metrics {
    /// Returns all metrics in the OpenMetrics text format.
    pub fn exposition(&self) -> String {
        let mut page = MetricsPage(Registry::with_prefix("trommel"));
        let mut labels = vec![("version", env!("CARGO_PKG_VERSION"))];
        labels.extend(COMMIT.map(|commit| ("commit", commit)));
        page.0.register("build", "Version of the program, and its commit where that is known", Info::new(labels));
        page.registry(self);
        let sources = self.sources();
        page.sources(&sources);
        page.stream_sources(&sources);
        let requests = self.requests.all();
        page.counters("source_requests_taken", "Requests answered with success", &requests, |m| &m.taken);
        page.reasons("source_requests_refused", "Requests refused, by reason", &requests, |m| m.refused());
        page.gauges("source_connections", "Open connections of clients", &requests, |m| &m.connections.open);
        page.gauges("source_connections_limit", "Connections that may be open", &requests, |m| &m.connections.limit);
        let lanes = self.lanes.all();
        page.gauges("lane_events_queued", "Events that wait for the lane", &lanes, |m| &m.queued);
        page.gauges("lane_queued_bytes", "Payload bytes of the events that wait for the lane", &lanes, |m| {
            &m.queued_bytes
        });
        let keys = self.keys();
        page.counters("key_events_matched", "Events that the index handed to the key", &keys, |m| &m.matched);
        page.counters("key_events_filtered", "Events that every route of the key turned away", &keys, |m| &m.filtered);
        page.counters("key_outputs", "Outputs handed to sinks", &keys, |m| &m.outputs);
        page.counters("key_events_retried", "Further tries of process", &keys, |m| &m.retried);
        page.counters("key_events_dead_lettered", "Events stored as dead letters", &keys, |m| &m.dead_lettered);
        page.gauges("key_events_waiting", "Events that wait for the filter, a sink or a schema", &keys, |m| &m.waiting);
        page.gauges("key_waiting_bytes", "Bytes of the budget that waiting events take", &keys, |m| &m.waiting_bytes);
        page.filters(&self.filters());
        page.sinks(&self.sinks());
        let webhooks = self.webhooks.all();
        page.counters("webhook_deliveries_delivered", "Deliveries that succeeded", &webhooks, |m| &m.delivered);
        page.counters("webhook_deliveries_retried", "Tries that are repeated", &webhooks, |m| &m.retried);
        page.counters("webhook_deliveries_failed", "Deliveries that were given up", &webhooks, |m| &m.failed);
        page.counters("webhook_deliveries_refused", "Outputs not stored for it: `max_pending`", &webhooks, |m| {
            &m.refused
        });
        page.gauges("webhook_deliveries_pending", "Deliveries not sent yet", &webhooks, |m| &m.pending);
        page.text().unwrap_or_default()
    }
}

struct MetricsPage(Registry);

impl MetricsPage {
    fn registry(&mut self, metrics: &Metrics) {
        self.0.register("registry_generation", "Generation of the registry in force", metrics.generation.clone());
        let is_all = metrics.configuration.of(PartKind::Configuration, "").trouble.is_none();
        self.gauge("config_last_reload_successful", "1 if all of the folder's files are in force", i64::from(is_all));
        let at = metrics.loaded_at().as_millisecond() as f64 / 1e3;
        self.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When all of the folder's files came into force last",
            at,
        );
        let level = |PartHealth { kind, name, level, .. }: &PartHealth| {
            (PartLabels { kind: kind.word(), name: name.clone() }, ConstGauge::new(*level as i64))
        };
        let family = LabeledFamily(metrics.troubles().iter().map(level).collect());
        self.0.register("health", "0 while the part is well, 1 degraded, 2 down, paused or not", family);
        let paused = metrics.paused.all();
        let names = |kind, names: Vec<String>| names.into_iter().map(move |name| (kind, name));
        let pausable = names(PausableKind::Source, metrics.sources.names())
            .chain(names(PausableKind::Key, metrics.keys.names()))
            .chain(names(PausableKind::Sink, metrics.sinks.names()));
        let of = |(kind, name): (PausableKind, String)| {
            let is_paused = paused.iter().any(|part| part.is(kind, &name));
            (PartLabels { kind: kind.word(), name }, ConstGauge::new(i64::from(is_paused)))
        };
        self.0.register("paused", "1 while an operator has paused the part", LabeledFamily(pausable.map(of).collect()));
    }

    fn sources(&mut self, all: &Parts<SourceMetrics>) {
        self.counters("source_events_received", "Events taken from the source", all, |m| &m.received);
        self.counters("source_events_emitted", "Events of which a sink took an output", all, |m| &m.emitted);
        self.counters("source_events_filtered", "Events that no route let through", all, |m| &m.filtered);
        self.counters("source_events_duplicate", "Events seen before in the dedup window", all, |m| &m.duplicates);
        self.counters("source_events_skipped", "Events skipped by their sinks' policy", all, |m| &m.skipped);
        self.counters("source_events_failed", "Events given back to the source", all, |m| &m.failed);
        self.counters("source_events_dead_lettered", "Events stored as dead letters", all, |m| &m.dead_lettered);
        self.counters("source_events_unrouted", "Events, of those filtered, that no key takes", all, |m| &m.unrouted);
        self.reasons("source_dead_letters", "Dead letters stored, by reason", all, |m| m.dead_letters.all());
        self.counters("source_received_bytes", "Bytes of the events taken", all, |m| &m.received_bytes);
        self.gauges("source_events_in_flight", "Events not settled yet", all, |m| &m.in_flight);
        self.gauges("source_in_flight_bytes", "Bytes of the events in flight", all, |m| &m.in_flight_bytes);
        self.gauges("source_events_in_flight_limit", "Events that may be in flight", all, |m| &m.in_flight_limit);
        self.gauges("source_in_flight_limit_bytes", "Bytes that may be in flight", all, |m| &m.in_flight_limit_bytes);
        self.derived("source_oldest_event_age_seconds", "Age of the oldest event in flight", all, |m| {
            ConstGauge::new(m.oldest.age().as_secs_f64())
        });
        self.derived("source_event_duration_seconds", "Time from an event's receipt to its end", all, |m| {
            m.duration.counts()
        });
        self.gauges("source_connected", "1 while connected to where the events come from", all, |m| &m.connected);
        self.gauges("source_paused", "1 while nothing is taken because no sink does", all, |m| &m.paused);
        self.gauges("source_shared", "1 while others may read the same consumer", all, |m| &m.shared);
    }

    /// Metrics that only sources with a server have something to say for.
    fn stream_sources(&mut self, all: &Parts<SourceMetrics>) {
        self.gauges("source_consumer_missing", "1 while the server is there, and the consumer is not", all, |m| {
            &m.consumer_missing
        });
        self.counters("source_redelivered", "Messages that were delivered before", all, |m| &m.redelivered);
        self.counters("source_taken_over", "Messages left open by an earlier reader", all, |m| &m.taken_over);
        self.counters("source_events_gone", "Events that the stream deleted while deferred", all, |m| &m.gone);
        self.counters("source_events_dropped", "Messages of core NATS dropped for lack of room", all, |m| &m.dropped);
        self.gauges("source_events_deferred", "Events left in the stream until there is room", all, |m| &m.deferred);
        self.gauges("source_lag", "Messages that the server has still to deliver", all, |m| &m.lag);
        self.gauges("source_ack_pending", "Messages delivered, to any reader, and not acknowledged", all, |m| {
            &m.ack_pending
        });
        self.derived(
            "source_event_latency_seconds",
            "Time from an event's storing in the stream to its end",
            all,
            |m| m.latency.counts(),
        );
    }

    fn filters(&mut self, all: &Parts<FilterMetrics>) {
        self.counters("filter_matches", "Calls of matches", all, |m| &m.matches);
        self.derived("filter_matches_duration_seconds", "Time of matches for an event, of one call in 64", all, |m| {
            m.match_time.durations()
        });
        self.counters("filter_processes", "Calls of process", all, |m| &m.processes);
        self.derived("filter_process_duration_seconds", "Time of process for an event, of one call in 64", all, |m| {
            m.process_time.durations()
        });
        self.counters("filter_breaks", "Calls that trapped or exceeded a limit", all, |m| &m.breaks);
        self.counters("filter_ticks", "Calls of tick", all, |m| &m.ticks);
        self.counters("filter_reloads", "Components put into service", all, |m| &m.reloads);
        self.derived("filter_load_duration_seconds", "Time to load a component, and compile it", all, |m| {
            m.load_time.counts()
        });
        self.counters("filter_loads_cached", "Components that were loaded without compiling", all, |m| &m.cached);
        self.gauges("filter_quarantined", "1 while the filter is quarantined", all, |m| &m.quarantined);
        let mut families = MeasuredFamilies::default();
        for (name, metrics) in all {
            metrics.measured.show(name, &mut families);
        }
        let MeasuredFamilies { counters, gauges, histograms } = families;
        self.0.register("filter_custom_counter", "Counters that filters keep themselves", counters);
        self.0.register("filter_custom_gauge", "Gauges that filters set themselves", gauges);
        self.0.register("filter_custom_histogram", "Values that filters measure themselves", histograms);
    }

    fn sinks(&mut self, all: &Parts<SinkMetrics>) {
        self.counters("sink_outputs_queued", "Outputs handed to the sink", all, |m| &m.queued);
        self.counters("sink_outputs_written", "Outputs that the destination took", all, |m| &m.written);
        self.counters("sink_written_bytes", "Payload bytes of the outputs taken", all, |m| &m.written_bytes);
        self.counters("sink_outputs_known", "Outputs that the destination had already", all, |m| &m.known);
        self.counters("sink_outputs_retried", "Repeated tries", all, |m| &m.retried);
        self.counters("sink_outputs_skipped", "Outputs skipped by policy", all, |m| &m.skipped);
        self.counters("sink_outputs_dead_lettered", "Outputs stored as dead letters", all, |m| &m.dead_lettered);
        self.counters("sink_outputs_returned", "Outputs given back unwritten", all, |m| &m.returned);
        self.derived("sink_outputs_pending", "Outputs in the queue and under way", all, |m| {
            ConstGauge::new(i64::try_from(m.pending()).unwrap_or(i64::MAX))
        });
        let bytes = |m: &SinkMetrics, of: fn(&HeldBytes) -> u32| ConstGauge::new(i64::from(m.held.get().map_or(0, of)));
        self.derived("sink_held_bytes", "Bytes of pending outputs, without those of their events", all, |m| {
            bytes(m, HeldBytes::held)
        });
        self.derived("sink_held_limit_bytes", "Bytes that pending outputs may have", all, |m| {
            bytes(m, |held| held.limit)
        });
        self.derived("sink_output_duration_seconds", "Time from queue to confirmation, of one output in 8", all, |m| {
            m.time.durations()
        });
    }

    fn counters<T>(&mut self, name: &str, help: &str, all: &Parts<T>, pick: fn(&T) -> &Counter) {
        self.derived(name, help, all, |metrics| ConstCounter::new(pick(metrics).get()));
    }

    fn gauges<T>(&mut self, name: &str, help: &str, all: &Parts<T>, pick: fn(&T) -> &Gauge) {
        self.derived(name, help, all, |metrics| ConstGauge::new(pick(metrics).get()));
    }

    fn gauge<V: fmt::Debug + Send + Sync + 'static>(&mut self, name: &str, help: &str, value: V)
    where
        ConstGauge<V>: EncodeMetric,
    {
        self.0.register(name, help, ConstGauge::new(value));
    }

    fn derived<T, M>(&mut self, name: &str, help: &str, all: &Parts<T>, value: impl Fn(&T) -> M)
    where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        let labeled = |(name, metrics): &(String, Arc<T>)| (NameLabel { name: name.clone() }, value(metrics));
        self.0.register(name, help, LabeledFamily(all.iter().map(labeled).collect()));
    }

    fn reasons<T>(
        &mut self,
        name: &str,
        help: &str,
        all: &Parts<T>,
        counts: impl Fn(&T) -> BTreeMap<&'static str, u64>,
    ) {
        let mut family = LabeledFamily::default();
        for (name, metrics) in all {
            let labels = |reason| NameAndReason { name: name.clone(), reason };
            family
                .0
                .extend(counts(metrics).into_iter().map(|(reason, count)| (labels(reason), ConstCounter::new(count))));
        }
        self.0.register(name, help, family);
    }

    fn text(self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        text::encode_registry(&mut page, &self.0)?;
        if let Some(process) = ProcessStats::read() {
            text::encode_registry(&mut page, &of_process(&process))?;
        }
        text::encode_eof(&mut page)?;
        Ok(page)
    }
}

/// Metrics of the process. Their names are Prometheus' own, without a prefix.
fn of_process(process: &ProcessStats) -> Registry {
    let mut registry = Registry::default();
    let counter = ConstCounter::new(process.cpu_seconds);
    registry.register("process_cpu_seconds", "Computing time in all", counter);
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory in use", process.resident_bytes as f64),
        ("process_virtual_memory_bytes", "Address space in use", process.virtual_bytes as f64),
        ("process_threads", "Threads", process.threads as f64),
        ("process_open_fds", "Open files and connections", process.open_fds as f64),
        ("process_max_fds", "Files and connections that may be open", process.max_fds as f64),
        ("process_start_time_seconds", "When the process was started", process.start_seconds),
    ] {
        registry.register(name, help, ConstGauge::new(value));
    }
    registry
}

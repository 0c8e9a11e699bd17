//! Metrics of each kind of part.

use std::sync::{Arc, OnceLock, Weak};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use tokio::sync::Semaphore;

use super::{CallTime, EventHistogram, MeasuredValues, OldestEvent, OutputTime, ReasonCounts, RefusalTime};
use crate::{fate::Fate, health::HealthCell, pause::PauseSwitch, recent::RecentEvents, tap::Tap};

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
    /// Bytes of the events in flight, headers included.
    pub in_flight_bytes: Gauge,
    /// Limits of both.
    pub in_flight_limit: Gauge,
    pub in_flight_limit_bytes: Gauge,
    /// Bytes of all events received, headers included.
    pub received_bytes: Counter,
    /// Events that no key's subject and type let in, among those that are filtered.
    pub unrouted: Counter,
    /// Dead letters stored, by reason: an event may have several.
    pub dead_letters: ReasonCounts,
    pub oldest: OldestEvent,
    /// Time from when an event was received until it was settled.
    pub duration: EventHistogram,
    /// Time from when the source's stream stored an event until it was settled, by both clocks.
    pub latency: EventHistogram,
    /// 1 while the source is connected to where its events come from.
    pub connected: Gauge,
    /// 1 while the server is there, and the source's consumer is gone or refuses to be pulled from.
    pub consumer_missing: Gauge,
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
    /// Messages that the server has delivered, to any reader, and that are not acknowledged.
    pub ack_pending: Gauge,
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
    /// Trouble of a source from which nothing has come for longer than expected.
    pub silence: HealthCell,
    pub switch: Arc<PauseSwitch>,
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
    /// Events that wait in the lanes, for the filter, a sink or a schema.
    pub waiting: Gauge,
    /// Their part of the budget, in bytes.
    pub waiting_bytes: Gauge,
}

/// Events that wait in the queue of a lane.
#[derive(Debug, Default)]
pub struct LaneMetrics {
    pub queued: Gauge,
    /// Bytes of their payloads.
    pub queued_bytes: Gauge,
}

/// Measurements of a filter's calls.
#[derive(Debug, Default)]
pub struct FilterMetrics {
    pub matches: Counter,
    pub match_time: CallTime,
    pub processes: Counter,
    /// Time of `process` calls, host calls included.
    pub process_time: CallTime,
    /// Calls that trapped, ran out of time, memory or output, or returned nonsense.
    pub breaks: Counter,
    pub ticks: Counter,
    /// What the filter measures itself.
    pub measured: MeasuredValues,
    pub reloads: Counter,
    /// Time to put the component into service, with its compiling where that was needed.
    pub load_time: EventHistogram,
    /// Loads that found the code in the cache.
    pub cached: Counter,
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
    /// Bytes of their payloads.
    pub written_bytes: Counter,
    /// Time from when an output is queued until the destination has taken it.
    pub time: OutputTime,
    /// Bytes of outputs in the queue and under way.
    pub held: OnceLock<HeldBytes>,
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
    pub switch: PauseSwitch,
}

impl SinkMetrics {
    /// Returns the outputs that are queued or under way. Its counters change while it is read, so
    /// it may be a few off.
    pub fn pending(&self) -> u64 {
        let ended = [&self.written, &self.skipped, &self.dead_lettered, &self.returned];
        self.queued.get().saturating_sub(ended.into_iter().map(Counter::get).sum())
    }
}

/// Bytes that a sink may hold, as permits.
#[derive(Debug)]
pub struct HeldBytes {
    pub free: Weak<Semaphore>,
    pub limit: u32,
}

impl HeldBytes {
    pub fn held(&self) -> u32 {
        let free = self.free.upgrade().map(|free| free.available_permits());
        free.map_or(0, |free| self.limit.saturating_sub(u32::try_from(free).unwrap_or(u32::MAX)))
    }
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
    pub health: HealthCell,
}

//! The way from sources to sinks. A source owns an [`Intake`]: budget, dedup window and table of
//! open events. Lanes run in parallel and keep the order of events that agree in their ordering
//! key.

use std::{collections::VecDeque, iter, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::{Notify, futures::Notified, mpsc},
    task::JoinSet,
};

use crate::{
    ack::Ticket,
    config,
    event::Event,
    metrics::{LaneMetrics, Metrics, SourceMetrics},
    registry::{Key, Snapshots},
    sink::outlet::SinkQueue,
    stop::Stop,
    telemetry::Tracer,
};

#[cfg(test)]
mod clocked;
mod dedup;
mod deferred;
pub mod double;
mod intake;
mod lane;
mod open;
mod scope;
#[cfg(test)]
mod tests;
mod ticks;

use dedup::DedupWindow;
pub use intake::Intake;
use intake::WaitingEntry;
use lane::{Lane, LaneContext};
pub use scope::OwnConsumers;
pub use ticks::{TickClock, TickDriver};

/// Capacity of the queue before one lane, in batches.
const LANE_QUEUE: usize = 16;

/// Limit of a source's open events.
#[derive(Clone, Copy, Debug)]
pub struct EventBudget {
    pub events: usize,
    /// Bytes of events, headers included.
    pub bytes: u64,
}

impl EventBudget {
    /// Returns the bytes that an event of this size counts for: no less than its share, so that
    /// bytes alone measure the use of both limits.
    pub fn cost(&self, size: u64) -> u64 {
        size.max(self.share())
    }

    /// Returns the free budget in the same measure.
    pub fn free(&self, events: usize, bytes: u64) -> u64 {
        let events = self.events.saturating_sub(events) as u64;
        self.bytes.saturating_sub(bytes).min(self.share().saturating_mul(events))
    }

    /// Returns the budget beside a stalled key that holds most of it: half as much again, which
    /// that key does not get.
    fn extended(&self) -> Self {
        Self { events: self.events + self.events / 2, bytes: self.bytes + self.bytes / 2 }
    }

    fn share(&self) -> u64 {
        self.bytes.div_ceil(self.events.max(1) as u64)
    }
}

/// An event on its way through one key.
#[derive(Debug)]
pub struct LaneItem {
    pub ticket: Ticket,
    pub key: Arc<Key>,
    /// Generation of the registry that `key` belongs to.
    pub generation: u64,
    /// Ordering value: equal for events of the key that must stay in order.
    pub order: u64,
    /// Routes of the key that have finished with the event already.
    pub done: Vec<Arc<str>>,
    /// The only route that it is for, if it is a tick.
    pub only: Option<Arc<str>>,
}

/// The lanes, and the parts that every intake shares.
#[derive(Clone)]
pub struct Pipeline {
    doors: LaneSenders,
    budget: EventBudget,
    dedup: Option<config::DedupConfig>,
    tracer: Option<Tracer>,
}

impl Pipeline {
    /// Starts the lanes on `runtime`: one of their own, so that a filter that burns its CPU budget
    /// stalls neither sources nor sinks. They end when the pipeline and its intakes are dropped, or
    /// when open work is given up. `quarantined` is notified whenever an event meets a quarantined
    /// filter; with a `tracer` the stages of events are recorded as spans.
    pub fn start(
        config: &config::Config,
        snapshots: &Snapshots,
        dead_letters: &SinkQueue,
        quarantined: &Arc<Notify>,
        stop: &Stop,
        tracer: Option<Tracer>,
        (runtime, metrics): (&Handle, &Metrics),
    ) -> (Self, JoinSet<()>) {
        let settings = config.pipeline;
        let budget = EventBudget { events: settings.in_flight.get(), bytes: settings.in_flight_bytes };
        let mut tasks = JoinSet::new();
        let (mut lanes, taken) = (Vec::new(), Arc::new(Notify::new()));
        for number in 0..settings.lanes.get() {
            let metrics = metrics.lane(number);
            let (sender, items) = mpsc::channel(LANE_QUEUE);
            let surroundings = LaneContext {
                snapshots: snapshots.clone(),
                dead_letters: dead_letters.clone(),
                quarantined: Arc::clone(quarantined),
                taken: Arc::clone(&taken),
                budget,
                stop: stop.clone(),
                metrics: Arc::clone(&metrics),
            };
            tasks.spawn_on(Lane::new(items, surroundings).run(), runtime);
            lanes.push(LaneQueue { items: sender, metrics });
        }
        let doors = LaneSenders { lanes, taken, snapshots: snapshots.clone(), dead_letters: dead_letters.clone() };
        (Self { doors, budget, dedup: config.dedup.clone(), tracer }, tasks)
    }

    /// Creates the intake of one source.
    pub fn intake<R: Send + 'static>(&self, metrics: Arc<SourceMetrics>) -> Intake<R> {
        let dedup = self.dedup.as_ref().map(DedupWindow::new);
        Intake::new(self.budget, dedup, self.doors.clone(), metrics, self.tracer.clone())
    }
}

/// Division of a source's budget among the keys: the waiting events of a key may take as much as is
/// free. So one stalled key takes half of it, nine of them nine tenths, and the others go on.
#[derive(Debug)]
pub struct KeyShares {
    snapshots: Snapshots,
    budget: EventBudget,
}

impl KeyShares {
    /// Returns the key, of those that the event concerns, whose share is used up while other keys
    /// could go on. `events` and `bytes` are in use.
    pub fn exceeded(&self, event: &Event, (events, bytes): (usize, u64)) -> Option<Arc<Key>> {
        let snapshot = self.snapshots.borrow();
        let (free, mut exceeded) = (self.budget.free(events, bytes), None);
        snapshot.candidates(event, |key| {
            if key.load.exceeds(free) && key.load.is_slow() {
                exceeded = Some(Arc::clone(key));
            }
        });
        exceeded.filter(|greedy| snapshot.has_idle_key(greedy, |_| true))
    }
}

/// Queue of a lane.
#[derive(Clone, Debug)]
pub struct LaneQueue {
    items: mpsc::Sender<Vec<LaneItem>>,
    metrics: Arc<LaneMetrics>,
}

/// Counts the events of a batch as those that wait for their lane, or as such no more.
fn count_queued(metrics: &LaneMetrics, batch: &[LaneItem], sign: i64) {
    let bytes: usize = batch.iter().map(|item| item.ticket.event().payload.len()).sum();
    metrics.queued.inc_by(sign * batch.len() as i64);
    metrics.queued_bytes.inc_by(sign * bytes as i64);
}

/// Items that go to one lane together.
enum LaneBatch<'a> {
    Empty,
    /// Items, with a reserved place in the lane's queue.
    Open(mpsc::Permit<'a, Vec<LaneItem>>, Vec<LaneItem>),
    /// The lane's queue is full.
    Full,
}

/// Senders of an intake to the lanes and the dead letters.
#[derive(Clone, Debug)]
pub struct LaneSenders {
    lanes: Vec<LaneQueue>,
    /// Notified whenever a lane has taken a batch.
    taken: Arc<Notify>,
    snapshots: Snapshots,
    dead_letters: SinkQueue,
}

impl LaneSenders {
    /// Sends every waiting item that has a place, in order, and to each lane in one batch: one by
    /// one, each would wake the lane for a single event. Items behind one without a place stay too
    /// if they share its key or lane. Items whose lane has ended are dropped: their events go back
    /// to their source.
    fn send(&self, waiting: &mut VecDeque<WaitingEntry>) {
        let mut batches: Vec<_> = iter::repeat_with(|| LaneBatch::Empty).take(self.lanes.len()).collect();
        let mut full: Vec<Arc<Key>> = Vec::new();
        for _ in 0..waiting.len() {
            let Some(next) = waiting.pop_front() else { break };
            let left = match next {
                WaitingEntry::DeadLetter(output) => match self.dead_letters.try_reserve() {
                    Some(place) => {
                        place.send(output);
                        None
                    }
                    None => Some(WaitingEntry::DeadLetter(output)),
                },
                WaitingEntry::Item(lane, item) if full.iter().any(|key| Arc::ptr_eq(key, &item.key)) => {
                    Some(WaitingEntry::Item(lane, item))
                }
                WaitingEntry::Item(lane, item) => {
                    let left = self.put(lane, item, &mut batches[lane]);
                    if matches!(batches[lane], LaneBatch::Open(..)) {
                        full.extend(left.iter().map(|item| Arc::clone(&item.key)));
                    }
                    left.map(|item| WaitingEntry::Item(lane, item))
                }
            };
            waiting.extend(left);
        }
        for (lane, batch) in self.lanes.iter().zip(batches) {
            // A batch may be empty if its item found no place in its key's buffer.
            if let LaneBatch::Open(place, items) = batch
                && !items.is_empty()
            {
                count_queued(&lane.metrics, &items, 1);
                place.send(items);
            }
        }
    }

    /// Puts an item into the batch for its lane. Returns it if there is no place.
    fn put<'a>(&'a self, lane: usize, item: LaneItem, batch: &mut LaneBatch<'a>) -> Option<LaneItem> {
        if let LaneBatch::Empty = batch {
            *batch = match self.lanes[lane].items.try_reserve() {
                Ok(place) => LaneBatch::Open(place, Vec::new()),
                Err(mpsc::error::TrySendError::Full(())) => LaneBatch::Full,
                Err(mpsc::error::TrySendError::Closed(())) => return None,
            };
        }
        let LaneBatch::Open(_, items) = batch else { return Some(item) };
        let Ok(buffer) = item.key.buffer.try_acquire() else { return Some(item) };
        buffer.forget();
        items.push(item);
        None
    }

    /// Waits until there may be a place. Cancel safe. Waits for ever if nothing needs one. `taken`
    /// must be older than the last try, or a place freed in between is missed.
    async fn place_for(&self, waiting: &VecDeque<WaitingEntry>, taken: Notified<'_>) {
        let letters = waiting.iter().any(|next| matches!(next, WaitingEntry::DeadLetter(_)));
        tokio::select! {
            () = taken, if !waiting.is_empty() => {}
            () = self.dead_letters.has_place(), if letters => {}
            else => std::future::pending().await,
        }
    }
}

//! From a source to the sinks. A source owns an [`Intake`]: budget, dedup window and the table of open events. Lanes
//! run in parallel and keep the order of events that agree in their ordering key.

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
    metrics::SourceMetrics,
    registry::{Key, Snapshots},
    sink::outlet::Queue,
    stop::Stop,
    telemetry::Tracer,
};

mod dedup;
pub mod double;
mod intake;
mod lane;
mod scope;
#[cfg(test)]
mod tests;

use dedup::Dedup;
pub use intake::Intake;
use intake::Waiting;
use lane::{Lane, Surroundings};
pub use scope::OwnConsumers;

/// Batches that may wait before one lane.
const LANE_QUEUE: usize = 16;

/// How much one source may have open at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub events: usize,
    /// Bytes of events, headers included.
    pub bytes: u64,
}

impl Budget {
    /// What an event of this size takes of the bytes: no less than its share, so that bytes alone tell how much of both is
    /// used.
    pub fn cost(&self, size: u64) -> u64 {
        size.max(self.share())
    }

    /// What is free in the same measure.
    pub fn free(&self, events: usize, bytes: u64) -> u64 {
        let events = self.events.saturating_sub(events) as u64;
        self.bytes.saturating_sub(bytes).min(self.share().saturating_mul(events))
    }

    /// What there is beside a key that stands still with most of it: half as much again, which that key does not get.
    fn extended(&self) -> Self {
        Self { events: self.events + self.events / 2, bytes: self.bytes + self.bytes / 2 }
    }

    fn share(&self) -> u64 {
        self.bytes.div_ceil(self.events.max(1) as u64)
    }
}

/// An event on its way through one key.
#[derive(Debug)]
pub struct Item {
    pub ticket: Ticket,
    pub key: Arc<Key>,
    /// The registry's generation that `key` belongs to.
    pub generation: u64,
    /// Equal for events of the key that must stay in order.
    pub order: u64,
    /// Routes of the key that are through with the event already.
    pub done: Vec<Arc<str>>,
}

/// The lanes, and what every intake needs.
#[derive(Clone)]
pub struct Pipeline {
    doors: Doors,
    budget: Budget,
    dedup: Option<config::Dedup>,
    tracer: Option<Tracer>,
}

impl Pipeline {
    /// Starts the lanes on `runtime`: one of their own, so that a filter that burns its CPU budget stalls neither
    /// sources nor sinks. They end when the pipeline and its intakes are gone, or when open work is given up.
    /// `quarantined` hears whenever an event meets a quarantined filter; with a `tracer` the events' ways are
    /// recorded.
    pub fn start(
        config: &config::Config,
        snapshots: &Snapshots,
        dead_letters: &Queue,
        quarantined: &Arc<Notify>,
        stop: &Stop,
        tracer: Option<Tracer>,
        runtime: &Handle,
    ) -> (Self, JoinSet<()>) {
        let settings = config.pipeline;
        let budget = Budget { events: settings.in_flight.get(), bytes: settings.in_flight_bytes };
        let mut tasks = JoinSet::new();
        let (mut lanes, taken) = (Vec::new(), Arc::new(Notify::new()));
        for _ in 0..settings.lanes.get() {
            let (sender, items) = mpsc::channel(LANE_QUEUE);
            let surroundings = Surroundings {
                snapshots: snapshots.clone(),
                dead_letters: dead_letters.clone(),
                quarantined: Arc::clone(quarantined),
                taken: Arc::clone(&taken),
                budget,
                stop: stop.clone(),
            };
            tasks.spawn_on(Lane::new(items, surroundings).run(), runtime);
            lanes.push(sender);
        }
        let doors = Doors { lanes, taken, snapshots: snapshots.clone(), dead_letters: dead_letters.clone() };
        (Self { doors, budget, dedup: config.dedup.clone(), tracer }, tasks)
    }

    /// The door for one source.
    pub fn intake<R: Send + 'static>(&self, metrics: Arc<SourceMetrics>) -> Intake<R> {
        let dedup = self.dedup.as_ref().map(Dedup::new);
        Intake::new(self.budget, dedup, self.doors.clone(), metrics, self.tracer.clone())
    }
}

/// How the keys share a source's budget: a key may let wait as much as is free. So one that lets everything wait takes half of
/// it, nine of them nine tenths, and the others go on.
#[derive(Debug)]
pub struct Shares {
    snapshots: Snapshots,
    budget: Budget,
}

impl Shares {
    /// The key whose share is used up, of those that the event concerns, while other keys could go on. `events` and `bytes`
    /// are in use.
    pub fn exceeded(&self, event: &Event, (events, bytes): (usize, u64)) -> Option<Arc<Key>> {
        let snapshot = self.snapshots.borrow();
        let (free, mut exceeded) = (self.budget.free(events, bytes), None);
        snapshot.candidates(event, |key| {
            if key.load.exceeds(free) && key.load.is_slow() {
                exceeded = Some(Arc::clone(key));
            }
        });
        exceeded.filter(|greedy| snapshot.has_idle_key(greedy))
    }
}

/// What goes to one lane together.
enum Batch<'a> {
    Empty,
    /// With its place there.
    Open(mpsc::Permit<'a, Vec<Item>>, Vec<Item>),
    /// The lane has no place.
    Full,
}

/// Where intakes send what they take.
#[derive(Clone, Debug)]
pub struct Doors {
    lanes: Vec<mpsc::Sender<Vec<Item>>>,
    /// Hears whenever a lane has taken a batch.
    taken: Arc<Notify>,
    snapshots: Snapshots,
    dead_letters: Queue,
}

impl Doors {
    /// Sends all that has a place of what waits, in order, and to each lane at once: one by one, each would wake it for a
    /// single event. Behind one without a place those of its key or lane stay too. What can never have a place, because
    /// its lane has ended, is dropped: its event goes back to its source.
    fn send(&self, waiting: &mut VecDeque<Waiting>) {
        let mut batches: Vec<_> = iter::repeat_with(|| Batch::Empty).take(self.lanes.len()).collect();
        let mut full: Vec<Arc<Key>> = Vec::new();
        for _ in 0..waiting.len() {
            let Some(next) = waiting.pop_front() else { break };
            let left = match next {
                Waiting::DeadLetter(output) => match self.dead_letters.try_reserve() {
                    Some(place) => {
                        place.send(output);
                        None
                    }
                    None => Some(Waiting::DeadLetter(output)),
                },
                Waiting::Item(lane, item) if full.iter().any(|key| Arc::ptr_eq(key, &item.key)) => {
                    Some(Waiting::Item(lane, item))
                }
                Waiting::Item(lane, item) => {
                    let left = self.put(lane, item, &mut batches[lane]);
                    if matches!(batches[lane], Batch::Open(..)) {
                        full.extend(left.iter().map(|item| Arc::clone(&item.key)));
                    }
                    left.map(|item| Waiting::Item(lane, item))
                }
            };
            waiting.extend(left);
        }
        for batch in batches {
            // An empty one found no place in its key's buffer.
            if let Batch::Open(place, items) = batch
                && !items.is_empty()
            {
                place.send(items);
            }
        }
    }

    /// Puts an item into the batch for its lane. Returns it when there is no place.
    fn put<'a>(&'a self, lane: usize, item: Item, batch: &mut Batch<'a>) -> Option<Item> {
        if let Batch::Empty = batch {
            *batch = match self.lanes[lane].try_reserve() {
                Ok(place) => Batch::Open(place, Vec::new()),
                Err(mpsc::error::TrySendError::Full(())) => Batch::Full,
                Err(mpsc::error::TrySendError::Closed(())) => return None,
            };
        }
        let Batch::Open(_, items) = batch else { return Some(item) };
        let Ok(buffer) = item.key.buffer.try_acquire() else { return Some(item) };
        buffer.forget();
        items.push(item);
        None
    }

    /// Resolves when there may be a place. Cancel safe. Waits for ever when nothing needs one. `taken` must be older than
    /// the last try.
    async fn place_for(&self, waiting: &VecDeque<Waiting>, taken: Notified<'_>) {
        let letters = waiting.iter().any(|next| matches!(next, Waiting::DeadLetter(_)));
        tokio::select! {
            () = taken, if !waiting.is_empty() => {}
            () = self.dead_letters.has_place(), if letters => {}
            else => std::future::pending().await,
        }
    }
}

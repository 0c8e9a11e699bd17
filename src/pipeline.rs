//! From a source to the sinks. A source owns an [`Intake`]: budget, dedup window and the table of open events. Lanes
//! run in parallel and keep the order of events that agree in their ordering key.

use std::{collections::VecDeque, iter, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::{
    ack::Ticket,
    config,
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

use dedup::Dedup;
pub use intake::Intake;
use intake::Waiting;
use lane::Lane;

/// Batches that may wait before one lane.
const LANE_QUEUE: usize = 16;

/// How much one source may have open at once.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    pub events: usize,
    /// Bytes of payload.
    pub bytes: u64,
}

/// An event on its way through one key.
#[derive(Debug)]
pub struct Item {
    pub ticket: Ticket,
    pub key: Arc<Key>,
    /// The registry's generation that `key` belongs to.
    pub generation: u64,
    /// Routes of the key that are through with the event already.
    pub done: Vec<Arc<str>>,
}

/// The lanes, and what every intake needs.
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
        let mut lanes = Vec::new();
        for _ in 0..settings.lanes.get() {
            let (sender, items) = mpsc::channel(LANE_QUEUE);
            let lane = Lane::new(items, snapshots.clone(), dead_letters.clone(), Arc::clone(quarantined));
            let mut stop = stop.clone();
            let run = async move {
                tokio::select! {
                    () = lane.run() => {}
                    () = stop.ended() => {}
                }
            };
            tasks.spawn_on(run, runtime);
            lanes.push(sender);
        }
        let doors = Doors { lanes, snapshots: snapshots.clone(), dead_letters: dead_letters.clone() };
        (Self { doors, budget, dedup: config.dedup.clone(), tracer }, tasks)
    }

    /// The door for one source.
    pub fn intake<R: Send + 'static>(&self, metrics: Arc<SourceMetrics>) -> Intake<R> {
        let dedup = self.dedup.as_ref().map(Dedup::new);
        Intake::new(self.budget, dedup, self.doors.clone(), metrics, self.tracer.clone())
    }
}

/// What goes to one lane together, with its place there.
type Batch<'a> = (mpsc::Permit<'a, Vec<Item>>, Vec<Item>);

/// Where intakes send what they take.
#[derive(Clone, Debug)]
pub struct Doors {
    lanes: Vec<mpsc::Sender<Vec<Item>>>,
    snapshots: Snapshots,
    dead_letters: Queue,
}

impl Doors {
    /// Sends from the front of what waits all that has a place, and to each lane at once: one by one, each would wake it
    /// for a single event. What can never have a place, because its lane has ended, is dropped: its event goes back to
    /// its source.
    fn send(&self, waiting: &mut VecDeque<Waiting>) {
        let mut batches: Vec<_> = iter::repeat_with(|| None).take(self.lanes.len()).collect();
        while self.send_front(waiting, &mut batches) {}
        // An empty one found no place in its key's buffer.
        for (place, items) in batches.into_iter().flatten().filter(|(_, items)| !items.is_empty()) {
            place.send(items);
        }
    }

    /// Sends the first of what waits or puts it into the batch for its lane, if there is a place for it, and says whether
    /// it did.
    fn send_front<'a>(&'a self, waiting: &mut VecDeque<Waiting>, batches: &mut [Option<Batch<'a>>]) -> bool {
        match waiting.front() {
            Some(Waiting::DeadLetter(_)) => {
                let Some(place) = self.dead_letters.try_reserve() else { return false };
                if let Some(Waiting::DeadLetter(output)) = waiting.pop_front() {
                    place.send(output);
                }
            }
            Some(Waiting::Item(lane, item)) => {
                let (_, items) = match &mut batches[*lane] {
                    Some(batch) => batch,
                    none => match self.lanes[*lane].try_reserve() {
                        Ok(place) => none.insert((place, Vec::new())),
                        Err(mpsc::error::TrySendError::Full(())) => return false,
                        Err(mpsc::error::TrySendError::Closed(())) => return waiting.pop_front().is_some(),
                    },
                };
                let Ok(buffer) = item.key.buffer.try_acquire() else { return false };
                buffer.forget();
                if let Some(Waiting::Item(_, item)) = waiting.pop_front() {
                    items.push(item);
                }
            }
            None => return false,
        }
        true
    }

    /// Resolves when there may be a place. Cancel safe. Waits for ever when nothing needs one.
    async fn place_for(&self, waiting: Option<&Waiting>) {
        // Whether the place is still there is seen when it is taken; an error means that there is nobody to wait for.
        match waiting {
            Some(Waiting::DeadLetter(_)) => self.dead_letters.has_place().await,
            Some(Waiting::Item(lane, item)) => {
                let _ = item.key.buffer.acquire().await;
                let _ = self.lanes[*lane].reserve().await;
            }
            None => std::future::pending().await,
        }
    }
}

//! Rooms for events that can't go on at once, each for one ordering value of one key: the first of
//! a room waits for something, the others behind it, so that they don't overtake it. No other
//! events wait for them.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    mem,
    panic::resume_unwind,
    sync::Arc,
};

use tokio::task::JoinSet;

use super::work::{FilterAnswer, LaneWork};
use crate::{
    pipeline::EventBudget,
    registry::{HeldLoad, Key},
    sink::outlet::SinkQueue,
};

/// Identity of an event's room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RoomId {
    key: Arc<str>,
    order: u64,
}

/// Cause for which the first of a room waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum WaitCause {
    /// The filter of this key.
    Filter(Arc<str>),
    /// A place in the queue of this sink.
    Sink(Arc<str>),
}

/// Place that an event takes while it waits.
pub(super) struct RoomSeat {
    room: RoomId,
    held: HeldLoad,
}

/// A wait that is over.
pub(super) enum FinishedWait {
    /// That of one event.
    Event(Box<WaitedEvent>),
    /// That of all events which want a place in this queue: there may be one.
    Place(SinkQueue),
}

/// An event whose wait is over.
pub(super) struct WaitedEvent {
    cause: WaitCause,
    pub(super) room: RoomId,
    pub(super) work: LaneWork,
    /// The filter's answer, if that was waited for.
    pub(super) said: Option<FilterAnswer>,
}

/// First events of rooms whose outputs are not made before a sink's queue has a place. One wait is
/// for all of them: each by itself, all would wake for every place, and all but one in vain.
struct SinkLine {
    queue: SinkQueue,
    waiting: VecDeque<(LaneWork, RoomSeat)>,
}

pub(super) struct WaitingRooms {
    budget: EventBudget,
    /// Events that wait behind the first.
    behind: HashMap<RoomId, VecDeque<(LaneWork, HeldLoad)>>,
    waits: JoinSet<FinishedWait>,
    /// Number of events that wait for each cause by themselves.
    causes: HashMap<WaitCause, usize>,
    lines: Vec<SinkLine>,
    /// First events of rooms that wait for a newer snapshot.
    parked: Vec<(LaneWork, RoomSeat)>,
}

impl WaitingRooms {
    pub(super) fn new(budget: EventBudget) -> Self {
        Self {
            budget,
            behind: HashMap::new(),
            waits: JoinSet::new(),
            causes: HashMap::new(),
            lines: Vec::new(),
            parked: Vec::new(),
        }
    }

    /// Returns a place for an event of `key`.
    pub(super) fn seat(&self, key: &Key, (order, size): (u64, u64)) -> RoomSeat {
        let held = key.load.hold(self.budget.cost(size));
        RoomSeat { room: RoomId { key: Arc::clone(&key.name), order }, held }
    }

    /// Keeps an event that must stay behind one that waits. Returns any other.
    pub(super) fn line_up(&mut self, work: LaneWork) -> Option<LaneWork> {
        // The usual case.
        if self.behind.is_empty() {
            return Some(work);
        }
        let RoomSeat { room, held } = self.seat(&work.key, work.measure());
        match self.behind.get_mut(&room) {
            Some(behind) => {
                behind.push_back((work, held));
                None
            }
            None => Some(work),
        }
    }

    /// Returns whether events of this key and ordering value wait.
    pub(super) fn is_taken(&self, key: &Arc<str>, order: u64) -> bool {
        !self.behind.is_empty() && self.behind.contains_key(&RoomId { key: Arc::clone(key), order })
    }

    /// Makes an event wait as the first of its room.
    pub(super) fn wait(
        &mut self,
        cause: WaitCause,
        RoomSeat { room, held }: RoomSeat,
        wait: impl Future<Output = (LaneWork, Option<FilterAnswer>)> + Send + 'static,
    ) {
        self.behind.entry(room.clone()).or_default();
        *self.causes.entry(cause.clone()).or_default() += 1;
        self.waits.spawn(async move {
            let (work, said) = wait.await;
            drop(held);
            FinishedWait::Event(Box::new(WaitedEvent { cause, room, work, said }))
        });
    }

    /// Makes an event wait for a place in a sink's queue, as the first of its room.
    pub(super) fn wait_in_line(&mut self, queue: SinkQueue, seat: RoomSeat, mut work: LaneWork) {
        work.worker = None;
        self.behind.entry(seat.room.clone()).or_default();
        let index = self.lines.iter().position(|line| line.queue.is_same(&queue)).unwrap_or_else(|| {
            self.waits.spawn(place_in(queue.clone()));
            self.lines.push(SinkLine { queue, waiting: VecDeque::new() });
            self.lines.len() - 1
        });
        self.lines[index].waiting.push_back((work, seat));
    }

    /// Returns the first event that waits for a place in a queue, if there is one. To be called
    /// until it returns none, after [`FinishedWait::Place`].
    pub(super) fn next_in_line(&mut self, queue: &SinkQueue) -> Option<(LaneWork, RoomId)> {
        let index = self.lines.iter().position(|line| line.queue.is_same(queue))?;
        let line = &mut self.lines[index];
        if line.waiting.is_empty() {
            self.lines.swap_remove(index);
            return None;
        }
        if queue.is_full() {
            self.waits.spawn(place_in(queue.clone()));
            return None;
        }
        line.waiting.pop_front().map(|(work, seat)| (work, seat.room))
    }

    /// Returns whether events wait for this cause already.
    pub(super) fn awaits(&self, cause: &WaitCause) -> bool {
        let has_line = |sink: &Arc<str>| self.lines.iter().any(|line| line.queue.name() == sink);
        self.causes.contains_key(cause) || matches!(cause, WaitCause::Sink(sink) if has_line(sink))
    }

    /// Makes an event wait for a newer snapshot, as the first of its room.
    pub(super) fn park(&mut self, mut work: LaneWork) {
        work.worker = None;
        let seat = self.seat(&work.key, work.measure());
        self.behind.entry(seat.room.clone()).or_default();
        self.parked.push((work, seat));
    }

    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(super) fn unpark(&mut self) -> impl Iterator<Item = (LaneWork, RoomId)> + use<> {
        mem::take(&mut self.parked).into_iter().map(|(work, seat)| (work, seat.room))
    }

    /// Gives back all parked events, with all that are behind them.
    pub(super) fn give_back_parked(&mut self) {
        for (_, room) in self.unpark() {
            self.behind.remove(&room);
        }
    }

    /// Returns whether [`Self::next`] can return an event.
    pub(super) fn are_waiting(&self) -> bool {
        !self.waits.is_empty()
    }

    /// Returns the next wait that is over. Cancel safe. `None` if there is none.
    pub(super) async fn next(&mut self) -> Option<FinishedWait> {
        let finished = match self.waits.join_next().await? {
            Ok(finished) => finished,
            // A fault of ours, passed on to the task that joins the lane. It is a panic: waits are
            // aborted only with all rooms.
            Err(error) => resume_unwind(error.into_panic()),
        };
        if let FinishedWait::Event(waited) = &finished
            && let Entry::Occupied(mut count) = self.causes.entry(waited.cause.clone())
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        Some(finished)
    }

    /// Notes that the first of a room has gone on. Returns the next one, or closes the empty room.
    pub(super) fn leave(&mut self, room: &RoomId) -> Option<LaneWork> {
        let next = self.behind.get_mut(room)?.pop_front();
        if next.is_none() {
            self.behind.remove(room);
        }
        next.map(|(work, _)| work)
    }

    /// Gives back all waiting events.
    pub(super) async fn close(mut self) {
        self.waits.shutdown().await;
    }
}

/// Waits until a queue may have a place.
async fn place_in(queue: SinkQueue) -> FinishedWait {
    queue.has_room().await;
    FinishedWait::Place(queue)
}

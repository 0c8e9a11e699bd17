//! A lane: one task that takes events in order through conditions, `matches` and `process` to the
//! sinks' queues.
//!
//! Events go straight through unless they have to wait. An event that can't go on at once, because
//! `process` waits or is to be called again, because its filter is quarantined or a sink's queue is
//! full, moves to a room, and so do those that must stay behind it.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use tokio::{
    pin,
    sync::{Notify, mpsc},
    time::timeout,
};
use tokio_util::sync::ReusableBoxFuture;

use crate::{
    avro::AvroDecodeError,
    condition::EventFacts,
    config::OnQuarantine,
    fate::Fate,
    metrics::LaneMetrics,
    pipeline::{EventBudget, LaneItem, count_queued},
    registry::{Snapshot, Snapshots},
    schema_registry::SchemaGap,
    sink::{
        dead_letter::{self, FailurePlace},
        outlet::SinkQueue,
    },
    stop::Stop,
    walk::{RouteResult, Unsendable, decoded},
};

mod ask;
mod matchers;
mod outputs;
mod process;
mod rooms;
mod timed;
mod verdicts;
mod work;

use ask::ask;
use matchers::LaneMatchers;
use outputs::UnsentOutputs;
use process::process;
use rooms::{FinishedWait, RoomId, WaitCause, WaitedEvent, WaitingRooms};
use timed::TimedOutputs;
use verdicts::AheadVerdicts;
use work::{EventPosition, FilterAnswer, LaneWork};

/// Longest time for which the lane itself waits for something that no other event waits for yet:
/// most such waits are shorter, and a room costs more than the straight way.
const MOMENT: Duration = Duration::from_millis(1);

/// Parts of the pipeline that a lane needs.
pub(super) struct LaneContext {
    pub(super) snapshots: Snapshots,
    pub(super) dead_letters: SinkQueue,
    /// Notified whenever an event meets a quarantined filter.
    pub(super) quarantined: Arc<Notify>,
    /// Notified whenever there may be places before the lane again.
    pub(super) taken: Arc<Notify>,
    pub(super) budget: EventBudget,
    pub(super) stop: Stop,
    pub(super) metrics: Arc<LaneMetrics>,
}

pub(super) struct Lane {
    items: mpsc::Receiver<Vec<LaneItem>>,
    snapshot: Arc<Snapshot>,
    matchers: LaneMatchers,
    verdicts: AheadVerdicts,
    rooms: WaitingRooms,
    timed: TimedOutputs,
    /// Memory of a call of `process`, reused.
    call: Option<ProcessCall>,
    surroundings: LaneContext,
}

type ProcessCall = ReusableBoxFuture<'static, (LaneWork, FilterAnswer)>;

/// Result of taking an event through its routes.
enum LaneStep {
    Through,
    /// `process` is to be called.
    Process(LaneWork),
    /// A sink's queue is full, so that no outputs are made for it.
    Full(LaneWork, SinkQueue),
    /// Outputs are made, and a sink's queue is full.
    Unsent(LaneWork, UnsentOutputs),
    /// The event is to be taken up again with the next snapshot.
    Parked(LaneWork),
}

impl Lane {
    pub(super) fn new(items: mpsc::Receiver<Vec<LaneItem>>, mut surroundings: LaneContext) -> Self {
        let snapshot = Arc::clone(&surroundings.snapshots.borrow_and_update());
        let rooms = WaitingRooms::new(surroundings.budget);
        let (matchers, verdicts) = (LaneMatchers::default(), AheadVerdicts::default());
        let timed = TimedOutputs::default();
        Self { items, snapshot, matchers, verdicts, rooms, timed, call: None, surroundings }
    }

    /// Runs until every intake is dropped or open work is given up. Events that wait then go back
    /// to their source.
    pub(super) async fn run(mut self) {
        let mut stop = self.surroundings.stop.clone();
        tokio::select! {
            () = self.serve() => {}
            () = stop.ended() => {}
        }
        self.rooms.close().await;
        // Before the notice, so that intakes find the lane closed and drop its items.
        drop(self.items);
        self.surroundings.taken.notify_waiters();
    }

    async fn serve(&mut self) {
        let mut stop = self.surroundings.stop.clone();
        let drains = stop.draining();
        pin!(drains);
        let mut is_draining = false;
        loop {
            tokio::select! {
                batch = self.items.recv() => match batch {
                    Some(batch) => {
                        self.adopt().await;
                        self.take_batch(batch).await;
                    }
                    None => return,
                },
                Some(waited) = self.rooms.next(), if self.rooms.are_waiting() => {
                    self.adopt().await;
                    self.take_up(waited).await;
                }
                changed = self.surroundings.snapshots.changed(), if self.rooms.has_parked() => match changed {
                    Ok(()) => self.adopt().await,
                    Err(_) => return,
                },
                () = self.timed.next() => {}
                () = &mut drains, if !is_draining => {
                    is_draining = true;
                    self.rooms.give_back_parked();
                    self.timed.give_back();
                }
            }
        }
    }

    async fn take_batch(&mut self, batch: Vec<LaneItem>) {
        count_queued(&self.surroundings.metrics, &batch, -1);
        // Places are given back together: one by one, each would wake its source for a single
        // event.
        for same in batch.chunk_by(|one, next| Arc::ptr_eq(&one.key, &next.key)) {
            if let [LaneItem { key, only, .. }, ..] = same {
                key.buffer.add_permits(same.len());
                // Ticks come in batches of their own.
                if only.is_none() {
                    key.metrics.matched.inc_by(same.len() as u64);
                }
            }
        }
        self.surroundings.taken.notify_waiters();
        let mut items = batch.into_iter();
        while let [first, ..] = items.as_slice() {
            let run = matchers::run(items.as_slice());
            let length = run.len();
            // Items that waited through a change of the registry have another key by now, and are
            // asked about in their turn.
            let is_current = first.generation == self.snapshot.generation && !first.key.is_paused;
            let is_event = first.only.is_none() && is_current;
            let asked = is_event && self.matchers.ask_ahead(&first.key, run);
            if asked {
                // What has to stay behind an event that waits is not processed before it.
                let is_free = |item: &LaneItem| !self.rooms.is_taken(&item.key.name, item.order);
                let wanted = self.matchers.wanted(run, is_free);
                self.verdicts.ask_ahead(&first.key, run, &wanted).await;
            }
            for (position, item) in items.by_ref().take(length).enumerate() {
                if let Some(work) = self.rooms.line_up(item.into()) {
                    self.start(work, asked.then_some(position)).await;
                }
            }
        }
    }

    /// Switches to the newest snapshot, and takes up the events parked for it.
    async fn adopt(&mut self) {
        let newest = Arc::clone(&self.surroundings.snapshots.borrow_and_update());
        if newest.generation == self.snapshot.generation {
            return;
        }
        self.snapshot = newest;
        let snapshot = &self.snapshot;
        self.matchers.retain(|filter| snapshot.keys().any(|key| key.filter.as_ref() == Some(filter)));
        for (work, room) in self.rooms.unpark() {
            if self.start(work, None).await {
                self.follow(&room).await;
            }
        }
    }

    /// Goes on with what has waited.
    async fn take_up(&mut self, waited: FinishedWait) {
        match waited {
            FinishedWait::Event(waited) => {
                let WaitedEvent { room, work, said, .. } = *waited;
                if self.go_on(work, None, said).await {
                    self.follow(&room).await;
                }
            }
            FinishedWait::Place(queue) => {
                while let Some((work, room)) = self.rooms.next_in_line(&queue) {
                    if self.start(work, None).await {
                        self.follow(&room).await;
                    }
                }
            }
        }
    }

    /// Takes the events behind the first of a room, which has got through.
    async fn follow(&mut self, room: &RoomId) {
        while let Some(next) = self.rooms.leave(room) {
            if !self.start(next, None).await {
                return;
            }
        }
    }

    /// Begins with an event. `position` is its index in the run that was asked about ahead. False
    /// if it has to wait.
    async fn start(&mut self, work: LaneWork, position: Option<usize>) -> bool {
        match self.renew(work) {
            Some(work) => self.go_on(work, position, None).await,
            None => true,
        }
    }

    /// Moves an event to its key in the snapshot in force. `None`, and it is settled, if that
    /// snapshot lacks the key.
    fn renew(&self, work: LaneWork) -> Option<LaneWork> {
        if work.generation == self.snapshot.generation {
            return Some(work);
        }
        match self.snapshot.key(&work.key.name) {
            Some(key) => Some(work.anew(Arc::clone(key), self.snapshot.generation)),
            None => {
                work.ticket.settle(Fate::Filtered);
                None
            }
        }
    }

    /// Takes an event as far as it gets, from where it has waited for `said`, the filter's answer.
    /// False if it has to wait.
    async fn go_on(&mut self, mut work: LaneWork, position: Option<usize>, mut said: Option<FilterAnswer>) -> bool {
        loop {
            match self.step(work, position, said.take()) {
                LaneStep::Through => return true,
                LaneStep::Process(asking) => match self.process(asking).await {
                    Some((asked, answer)) => (work, said) = (asked, Some(answer)),
                    None => return false,
                },
                LaneStep::Full(full, queue) => match self.await_place(full, queue).await {
                    Some(placed) => work = placed,
                    None => return false,
                },
                LaneStep::Unsent(made, unsent) => match self.send(made, unsent).await {
                    Some(sent) => work = sent,
                    None => return false,
                },
                // An older generation worked on it while the filter was being replaced.
                LaneStep::Parked(parked) if parked.generation != self.snapshot.generation => match self.renew(parked) {
                    Some(renewed) => work = renewed,
                    None => return true,
                },
                // Dropped, it goes back to its source.
                LaneStep::Parked(_) if self.surroundings.stop.is_draining() => return true,
                LaneStep::Parked(parked) => {
                    self.rooms.park(parked);
                    return false;
                }
            }
        }
    }

    /// Takes an event through the routes whose turn it is, until it has to wait.
    fn step(&mut self, mut work: LaneWork, position: Option<usize>, mut said: Option<FilterAnswer>) -> LaneStep {
        let key = Arc::clone(&work.key);
        if key.is_paused && work.next == 0 && said.is_none() {
            // Of a tick there is no event to keep: it is called again.
            return if work.only.is_some() { LaneStep::Through } else { LaneStep::Parked(work) };
        }
        let (mut unsent, mut full) = (UnsentOutputs::default(), None);
        if work.next == 0 && said.is_none() && work.only.is_none() {
            match key.schema_gap(work.ticket.event()) {
                Some(SchemaGap::Awaited) => return LaneStep::Parked(work),
                Some(SchemaGap::Refused(why)) => self.refuse(&mut work, &mut unsent, "unknown_schema", &why),
                None => self.decode(&mut work, &mut unsent),
            }
        }
        let order = work.output_order();
        let LaneWork { ticket, decoded, next, done, only, wanted, worker, failed, .. } = &mut work;
        let event = decoded.as_deref().unwrap_or_else(|| ticket.event());
        let is_decimal = |pointer: &str| key.decoding.as_ref().is_some_and(|decoding| decoding.is_decimal(pointer));
        let mut facts = EventFacts::new(event).with_decimals(&is_decimal);
        let waits: Option<fn(LaneWork) -> LaneStep> = 'routes: {
            while let Some(route) = key.routes.get(*next)
                && unsent.is_empty()
            {
                *worker = worker.take().filter(|_| said.is_some());
                if only.as_ref().is_some_and(|only| *only != route.name) {
                    *next += 1;
                    continue;
                }
                if said.is_none()
                    && let Some(first) = route.sinks.iter().map(|sink| &sink.queue).find(|queue| queue.is_full())
                {
                    full = Some(first.clone());
                    break;
                }
                if !done.contains(&route.name) {
                    let at = EventPosition { key: &key, route, ticket, event, order };
                    let known = position.and_then(|position| self.matchers.answer(*next, position));
                    let letters = &self.surroundings.dead_letters;
                    let mut answer = said.take().unwrap_or_else(|| ask(&mut self.matchers, at, known, &mut facts));
                    if matches!(answer, FilterAnswer::Process) {
                        match position.and_then(|position| self.verdicts.take(*next, position)) {
                            Some(Ok(verdict)) => answer = FilterAnswer::Verdict(verdict, 1),
                            Some(Err(failure)) => *failed = Some(failure),
                            None => {}
                        }
                    }
                    let letter = match answer {
                        FilterAnswer::No => None,
                        FilterAnswer::Process => break 'routes Some(LaneStep::Process),
                        FilterAnswer::Verdict(verdict, tries) => {
                            // What a tick made is nowhere else.
                            let made = only.as_ref().map(|_| verdict.clone());
                            let each = |result| match result {
                                RouteResult::Output(output) => unsent.output(at, output),
                                RouteResult::Buried { index, payload, cause } => {
                                    unsent.bury(at, letters, (index, &payload), &cause, tries);
                                }
                            };
                            match (at.walk().outputs(verdict, each), made) {
                                (Ok(true), _) => {
                                    *wanted = true;
                                    None
                                }
                                (Ok(false), made) => {
                                    if made.is_none() {
                                        at.show_dropped("`process` dropped it");
                                    }
                                    None
                                }
                                (Err(Unsendable { reason, detail }), None) => Some((reason, detail.into(), tries)),
                                (Err(unsendable), Some(made)) => {
                                    *wanted = true;
                                    unsent.bury_all(at, letters, made, &unsendable, tries);
                                    None
                                }
                            }
                        }
                        FilterAnswer::Dead(reason, cause, tries) => Some((reason, cause, tries)),
                        FilterAnswer::Quarantined(detail, tries) => {
                            self.surroundings.quarantined.notify_one();
                            match key.on_quarantine {
                                // There is no event to keep: the tick is called again.
                                _ if only.is_some() => return LaneStep::Through,
                                OnQuarantine::Pause => break 'routes Some(LaneStep::Parked),
                                OnQuarantine::DeadLetter => Some(("quarantined", detail.into(), tries)),
                            }
                        }
                        // Unsettled, the ticket gives the event back to its source.
                        FilterAnswer::Returned => return LaneStep::Through,
                    };
                    if let Some((reason, cause, tries)) = letter {
                        *wanted = true;
                        key.metrics.dead_lettered.inc();
                        unsent.dead_letter(at, letters, (reason, &cause), tries);
                    }
                    if let Some(timed) = unsent.timed() {
                        let load = key.load.hold(self.surroundings.budget.cost(event.size()));
                        self.timed.hold(timed, load);
                    }
                    if key.routes.len() > 1 {
                        done.push(Arc::clone(&route.name));
                    }
                }
                *next += 1;
            }
            None
        };
        drop(facts);
        if let Some(waits) = waits {
            return waits(work);
        }
        if let Some(full) = full {
            return LaneStep::Full(work, full);
        }
        if !unsent.is_empty() {
            return LaneStep::Unsent(work, unsent);
        }
        if !*wanted && only.is_none() {
            key.metrics.filtered.inc();
        }
        // The fates of the outputs count more.
        work.ticket.settle(Fate::Filtered);
        LaneStep::Through
    }

    /// Decodes an event for its key's filter.
    fn decode(&self, work: &mut LaneWork, unsent: &mut UnsentOutputs) {
        match decoded(&work.key, work.ticket.event()) {
            Ok(decoded) => work.decoded = decoded.map(Box::new),
            Err(AvroDecodeError { reason, detail }) => self.refuse(work, unsent, reason, &detail),
        }
    }

    /// Makes a dead letter of an event that can't be decoded, and no route has a turn.
    fn refuse(&self, work: &mut LaneWork, unsent: &mut UnsentOutputs, reason: &'static str, detail: &str) {
        let (key, event) = (&work.key, work.ticket.event());
        tracing::warn!(
            key = %key.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail,
            "event becomes a dead letter"
        );
        let place = FailurePlace { key: &key.name, ..FailurePlace::default() };
        let letter = dead_letter::of_event(work.ticket.share(), place, reason, detail);
        unsent.send(&self.surroundings.dead_letters, letter);
        key.metrics.dead_lettered.inc();
        (work.next, work.wanted) = (key.routes.len(), true);
    }

    /// Calls `process`. `None` if it does not answer at once: the event then waits in its room.
    async fn process(&mut self, work: LaneWork) -> Option<(LaneWork, FilterAnswer)> {
        let (key, measure) = (Arc::clone(&work.key), work.measure());
        let asked = process(work, self.surroundings.stop.clone());
        let call = match &mut self.call {
            Some(call) => {
                call.set(asked);
                call
            }
            none => none.insert(ReusableBoxFuture::new(asked)),
        };
        if let Poll::Ready(answer) = poll_fn(|context| Poll::Ready(call.poll(context))).await {
            return Some(answer);
        }
        let cause = WaitCause::Filter(Arc::clone(&key.name));
        if !self.rooms.awaits(&cause)
            && let Ok(answer) = timeout(MOMENT, &mut *call).await
        {
            return Some(answer);
        }
        let call = self.call.take()?;
        let seat = self.rooms.seat(&key, measure);
        self.rooms.wait(cause, seat, async move {
            let (work, said) = call.await;
            (work, Some(said))
        });
        None
    }

    /// Waits for a place in a sink's queue. `None` if that takes longer: the event then waits in its
    /// room.
    async fn await_place(&mut self, work: LaneWork, queue: SinkQueue) -> Option<LaneWork> {
        if !self.rooms.awaits(&WaitCause::Sink(Arc::clone(queue.name())))
            && timeout(MOMENT, queue.has_room()).await.is_ok()
        {
            return Some(work);
        }
        let seat = self.rooms.seat(&work.key, work.measure());
        self.rooms.wait_in_line(queue, seat, work);
        None
    }

    /// Sends the outputs that their queues had no place for. `None` if that takes longer: the event
    /// then waits in its room.
    async fn send(&mut self, mut work: LaneWork, unsent: UnsentOutputs) -> Option<LaneWork> {
        let seat = self.rooms.seat(&work.key, work.measure());
        let cause = WaitCause::Sink(unsent.full().cloned().unwrap_or_default());
        let mut sending = Box::pin(async move {
            unsent.flush().await;
            work.worker = None;
            work
        });
        if !self.rooms.awaits(&cause)
            && let Ok(work) = timeout(MOMENT, &mut sending).await
        {
            return Some(work);
        }
        self.rooms.wait(cause, seat, async move { (sending.await, None) });
        None
    }
}

//! Intake: the entry from a source to the lanes.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    ack::{Acker, EventDelivery, Outcome, Ticket},
    event::{Event, Uid},
    fate::Fate,
    fence::Fence,
    metrics::SourceMetrics,
    pipeline::{
        EventBudget, KeyShares, LaneItem, LaneSenders,
        dedup::{DedupWindow, IdState},
        deferred::DeferredEvents,
        open::{OpenEvent, OpenEvents},
        scope::IntakeScope,
    },
    registry::{Key, Snapshot},
    schema_registry::SchemaGap,
    show,
    sink::{
        Output,
        dead_letter::{self, FailurePlace},
    },
    telemetry::Tracer,
};

mod deferral;
mod terms;

/// Number of settled events taken from the lanes and outlets at once.
const BATCH: usize = 64;
/// Number of events that may wait before the lanes.
const BURST: usize = 256;
/// Shortest time between checks of which key uses up the budget.
const LOOK: Duration = Duration::from_millis(100);

/// A source's side of the pipeline, owned by the source's task. Holds the in-flight budget, the
/// dedup window and the table of open events, each with the receipt that the source needs to settle
/// it.
pub struct Intake<R> {
    budget: EventBudget,
    open: OpenEvents<R>,
    /// Time at which the events came that were pushed since [`Self::settled`] was called last.
    burst: Option<Instant>,
    /// Number of open events and their repeats.
    held: usize,
    bytes: u64,
    settled: mpsc::Receiver<(usize, Outcome)>,
    settle: mpsc::Sender<(usize, Outcome)>,
    /// Outcomes received from `settled` and not closed yet; empty between calls.
    batch: Vec<(usize, Outcome)>,
    /// Receipts settled and not returned yet.
    ready: VecDeque<(R, Outcome)>,
    /// Items that wait for a lane or for the dead letters' queue, in order.
    waiting: VecDeque<WaitingEntry>,
    dedup: Option<DedupWindow>,
    doors: LaneSenders,
    gives_back: bool,
    /// Deferred events; `None` if the source can't read events anew.
    deferred: Option<DeferredEvents<R>>,
    /// Time at which the source was denied to read events anew.
    denied: Option<Instant>,
    /// Keys that the event at hand concerns, with its order in each; empty between calls.
    keys: Vec<(Arc<Key>, u64)>,
    /// Those of them in which its order can't be told, as its schema is awaited.
    hidden: Vec<Arc<str>>,
    /// Keys with such events, each with the generation that did not know the schema.
    hiding: HashMap<Arc<str>, u64>,
    scope: IntakeScope,
    /// Time of the last check of who has used the budget up, and whether it was a stalled key.
    hogged: Option<(Instant, bool)>,
    /// Time of the last warning that events are given back.
    warned: Option<Instant>,
    snapshot: Arc<Snapshot>,
    metrics: Arc<SourceMetrics>,
    /// Set only for a partition that other routers may take over.
    fence: Option<Arc<Fence>>,
    /// Tracer; set only while spans are exported.
    tracer: Option<Tracer>,
}

/// Cause for which a key must not take an event now.
pub(super) enum DeferralCause {
    /// Its share of the budget waits already.
    Share(Arc<Key>),
    /// The event's order can't be told, or that of an earlier one.
    Order,
}

/// Item or dead letter that has no place yet.
pub(super) enum WaitingEntry {
    Item(usize, LaneItem),
    DeadLetter(Output),
}

impl<R: Send + 'static> Intake<R> {
    pub(super) fn new(
        budget: EventBudget,
        dedup: Option<DedupWindow>,
        mut doors: LaneSenders,
        metrics: Arc<SourceMetrics>,
        tracer: Option<Tracer>,
    ) -> Self {
        // Room for every acker that can be open, so that settling never waits.
        let (settle, settled) = mpsc::channel(budget.extended().events);
        let snapshot = Arc::clone(&doors.snapshots.borrow_and_update());
        metrics.in_flight_limit.set(i64::try_from(budget.events).unwrap_or(i64::MAX));
        metrics.in_flight_limit_bytes.set(i64::try_from(budget.bytes).unwrap_or(i64::MAX));
        Self {
            budget,
            open: OpenEvents::new(Arc::clone(&metrics)),
            burst: None,
            held: 0,
            bytes: 0,
            settled,
            settle,
            batch: Vec::with_capacity(BATCH),
            ready: VecDeque::new(),
            waiting: VecDeque::new(),
            dedup,
            doors,
            gives_back: false,
            deferred: None,
            denied: None,
            keys: Vec::new(),
            hidden: Vec::new(),
            hiding: HashMap::new(),
            scope: IntakeScope::All,
            hogged: None,
            warned: None,
            snapshot,
            metrics,
            fence: None,
            tracer,
        }
    }

    /// Returns whether one more event may be pushed: the budget has room and not too much waits
    /// before the lanes.
    pub fn is_open(&self) -> bool {
        self.waiting.len() < BURST && self.room() > 0
    }

    /// Returns how many more events the budget allows. 0 if its bytes are used up.
    pub fn room(&self) -> usize {
        let (reading, _) = self.reading();
        if self.room_bytes() == 0 { 0 } else { self.limit().events.saturating_sub(self.held + reading) }
    }

    /// Returns how many more bytes the budget allows.
    pub fn room_bytes(&self) -> u64 {
        let (_, reading) = self.reading();
        self.limit().bytes.saturating_sub(self.bytes + reading)
    }

    fn limit(&self) -> EventBudget {
        if self.hogged.is_some_and(|(_, is_hogged)| is_hogged) { self.budget.extended() } else { self.budget }
    }

    /// Checks, once in a while, whether stalled keys have used the budget up. From then on their
    /// events are given back, so that the rest is left to other keys.
    fn look_for_hog(&mut self) {
        let is_full = self.held >= self.budget.events || self.bytes >= self.budget.bytes;
        if !self.gives_back || !is_full {
            self.hogged = None;
        } else if self.hogged.is_none_or(|(looked, _)| looked.elapsed() >= LOOK) {
            self.hogged = Some((Instant::now(), self.is_hogged()));
        }
    }

    fn is_hogged(&self) -> bool {
        self.snapshot.is_hogged(self.budget.bytes / 2, |key| self.scope.serves(&key.name))
    }

    /// Returns how the budget is divided, for callers that ask before there is a place.
    pub fn shares(&self) -> KeyShares {
        KeyShares { snapshots: self.doors.snapshots.clone(), budget: self.budget }
    }

    /// Returns the free budget, in the measure of [`EventBudget::cost`].
    fn free(&self) -> u64 {
        self.budget.free(self.held, self.bytes)
    }

    /// Makes the intake leave events of a key whose share of the budget is used up with the source,
    /// while other keys could go on. While the source has no other reader it reads them anew later,
    /// so that they keep their order; else they are given back.
    pub fn deferring(self) -> Self {
        Self { gives_back: true, deferred: Some(DeferredEvents::default()), ..self }
    }

    /// Returns the number of events pushed, and of their repeats, that [`Self::settled`] has not
    /// returned yet.
    pub fn open(&self) -> usize {
        self.held + self.ready.len() + self.deferred.as_ref().map_or(0, DeferredEvents::len)
    }

    /// Checks whether taking more events is of use: not while no sink of any route accepts outputs.
    /// Events that wait meanwhile go back to the source if it `is_shared` with other routers.
    pub fn look_at_sinks(&mut self, is_shared: bool) {
        self.adopt();
        let takes_nothing = self.snapshot.takes_nothing(|key| self.scope.serves(&key.name));
        self.metrics.paused.set(takes_nothing.into());
        self.metrics.shared.set(is_shared.into());
    }

    /// Returns whether the last check of the sinks found that the source is to pause.
    pub fn is_paused(&self) -> bool {
        self.metrics.paused.get() != 0
    }

    /// Returns whether an operator has paused the source: it is to take nothing new.
    pub fn is_switched_off(&self) -> bool {
        self.metrics.switch.is_on()
    }

    /// Returns the source's metrics.
    pub fn metrics(&self) -> &Arc<SourceMetrics> {
        &self.metrics
    }

    /// Records whether the source is connected to where its events come from.
    pub fn connected(&self, is_connected: bool) {
        self.metrics.connected.set(is_connected.into());
    }

    /// Takes an event. Never waits; call only while [`Self::is_open`]. The event goes to its lanes,
    /// with all that were pushed together, when [`Self::settled`] is polled next.
    pub fn push(&mut self, event: Event, receipt: R) {
        match self.find_keys(&event, false) {
            None => return self.accept(event, receipt),
            Some(cause) if self.can_defer() => self.defer(&event, receipt, &cause),
            // There is no order to keep among the readers of a consumer.
            Some(DeferralCause::Order) => return self.accept(event, receipt),
            Some(DeferralCause::Share(key)) => {
                self.tell_of_share(&event, &key, "its events go back to the source for now");
                // Unsettled, the ticket gives the event back to its source.
                self.metrics.received.inc();
                drop(self.enter(event, receipt, None));
            }
        }
        self.keys.clear();
    }

    /// Takes an event whose keys are in `self.keys`.
    fn accept(&mut self, mut event: Event, receipt: R) {
        self.metrics.received.inc();
        let slot = self.open.vacant();
        let id = match self.dedup.as_mut().map_or((IdState::No, None), |dedup| dedup.enter(&mut event, slot)) {
            (IdState::No, id) => id,
            (IdState::Done, _) => {
                self.keys.clear();
                self.repeated(event.size());
                self.ready.push_back((receipt, Outcome::Done));
                return;
            }
            (IdState::Open(first), _) => {
                self.keys.clear();
                self.repeated(event.size());
                let Some(first) = self.open.get_mut(first) else { return };
                first.repeats.push(receipt);
                self.held += 1;
                return;
            }
        };
        let ticket = self.enter(event, receipt, id);
        self.dispatch(ticket);
    }

    fn repeated(&self, bytes: u64) {
        self.metrics.duplicates.inc();
        self.metrics.received_bytes.inc_by(bytes);
    }

    /// Takes an event that only one key has yet to see: on the named route, or on all if that route
    /// no longer exists. Without the key it becomes a dead letter, `no_key`. Otherwise like
    /// [`Self::push`].
    pub fn push_to(&mut self, event: Event, receipt: R, key: &str, route: &str) {
        self.adopt();
        let Some(key) = self.snapshot.key(key).cloned() else {
            return self.refuse(event, receipt, "no_key", &format!("there is no key `{key}` with a route any more"));
        };
        self.metrics.received.inc();
        let others = key.routes.iter().map(|route| &route.name).filter(|name| ***name != *route);
        let others: Vec<_> = others.cloned().collect();
        let done = if others.len() < key.routes.len() { others } else { Vec::new() };
        let ticket = self.enter(event, receipt, None);
        let order = key.order(ticket.event());
        let item = LaneItem { ticket, key, generation: self.snapshot.generation, order, done, only: None };
        self.waiting.push_back(WaitingEntry::Item(lane_of(order, self.doors.lanes.len()), item));
    }

    /// Takes the event of a tick for one route of a key. It is done at once if there is no such
    /// key. Otherwise like [`Self::push`].
    pub fn push_tick(&mut self, tick: Event, receipt: R, key: &str, route: &Arc<str>) {
        self.adopt();
        let Some(key) = self.snapshot.key(key).cloned() else {
            return self.ready.push_back((receipt, Outcome::Done));
        };
        self.metrics.received.inc();
        let ticket = self.enter(tick, receipt, None);
        let order = key.order_of_ticks(route);
        let (only, done) = (Some(Arc::clone(route)), Vec::new());
        let item = LaneItem { ticket, key, generation: self.snapshot.generation, order, done, only };
        self.waiting.push_back(WaitingEntry::Item(lane_of(order, self.doors.lanes.len()), item));
    }

    /// Takes an event that could not be decoded: it becomes a dead letter with this reason code.
    /// Its payload holds the raw bytes, the other fields as far as they are known.
    pub fn refuse(&mut self, event: Event, receipt: R, reason: &'static str, detail: &str) {
        self.metrics.received.inc();
        let (source, sequence) = (&event.origin.source, event.sequence);
        let (tenant, trace) = (event.tenant(), event.trace_id());
        tracing::warn!(source, sequence, tenant, trace, reason, detail, "event refused");
        let ticket = self.enter(event, receipt, None);
        self.waiting.push_back(WaitingEntry::DeadLetter(dead_letter::of_event(
            ticket,
            FailurePlace::default(),
            reason,
            detail,
        )));
    }

    fn enter(&mut self, mut event: Event, receipt: R, dedup_id: Option<Uid>) -> Ticket {
        if event.headers.remove_invalid_trace() {
            let (source, sequence) = (&event.origin.source, event.sequence);
            tracing::debug!(source, sequence, "the event's trace context is invalid and not carried on");
        }
        let bytes = event.size();
        self.bytes += bytes;
        let since = *self.burst.get_or_insert_with(Instant::now);
        let slot = self.open.enter(OpenEvent { receipt, bytes, dedup_id, repeats: Vec::new(), since });
        self.held += 1;
        self.metrics.received_bytes.inc_by(bytes);
        self.show_bytes();
        let acker = Acker::new(slot, self.settle.clone());
        let ticket = EventDelivery { event, acker }.open(Arc::clone(&self.metrics), self.fence.clone());
        if let Some(tracer) = &self.tracer {
            ticket.trace(tracer.receive(ticket.event()));
        }
        ticket
    }

    fn show_bytes(&self) {
        self.metrics.in_flight_bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }

    /// Switches to the newest snapshot.
    fn adopt(&mut self) {
        if self.doors.snapshots.has_changed().unwrap_or(false) {
            self.snapshot = Arc::clone(&self.doors.snapshots.borrow_and_update());
        }
    }

    /// Finds the keys that the event concerns, and those in which its order can't be told. Returns
    /// why one of them must not take it now; an event that was deferred and `is_read` is the first
    /// of its order.
    fn find_keys(&mut self, event: &Event, is_read: bool) -> Option<DeferralCause> {
        self.adopt();
        let (free, mut greedy, mut behind, mut is_unordered) = (self.free(), None, None, false);
        let (keys, hidden, scope, deferred) = (&mut self.keys, &mut self.hidden, &self.scope, &self.deferred);
        hidden.clear();
        let holds = |order| deferred.as_ref().is_some_and(|deferred| deferred.holds(order));
        self.snapshot.candidates(event, |key| {
            if !scope.admits(&key.name, event.sequence) {
                return;
            }
            let mut order = key.order(event);
            if let Some(all) = key.hidden_order() {
                if key.schema_gap(event) == Some(SchemaGap::Awaited) {
                    hidden.push(Arc::clone(&key.name));
                    is_unordered = true;
                } else if !is_read && holds(all) {
                    order = all;
                    is_unordered = true;
                }
            }
            if holds(order) {
                behind = Some(Arc::clone(key));
            }
            if key.load.exceeds(free) && key.load.is_slow() {
                greedy = Some(Arc::clone(key));
            }
            keys.push((Arc::clone(key), order));
        });
        if is_unordered {
            return Some(DeferralCause::Order);
        }
        let others_could_go_on = |greedy: &Arc<Key>| self.snapshot.has_idle_key(greedy, |key| scope.serves(&key.name));
        let share = behind.or_else(|| greedy.filter(|greedy| self.gives_back && others_could_go_on(greedy)));
        share.map(DeferralCause::Share)
    }

    /// Sends the event to the lane of each of its keys.
    fn dispatch(&mut self, ticket: Ticket) {
        if self.keys.is_empty() {
            self.metrics.unrouted.inc();
        }
        let (generation, lanes, before) = (self.snapshot.generation, self.doors.lanes.len(), self.waiting.len());
        for (key, order) in self.keys.drain(..) {
            let item = LaneItem { ticket: ticket.share(), key, generation, order, done: Vec::new(), only: None };
            self.waiting.push_back(WaitingEntry::Item(lane_of(order, lanes), item));
        }
        self.metrics.tap.show(ticket.event());
        show::came_in(ticket.event(), self.waiting.len() - before);
        // The fates from the keys count more than this one; without keys the event is filtered out.
        ticket.settle(Fate::Filtered);
    }

    /// Returns the next settled event's receipt. Cancel safe. Waits for ever while nothing is open.
    /// It also sends pushed events to their lanes, so a source must poll it after every burst and
    /// keep polling it.
    pub async fn settled(&mut self) -> (R, Outcome) {
        self.look_for_hog();
        self.burst = None;
        loop {
            // Before the send, so that a place freed in between is not missed.
            let taken = self.doors.taken.notified();
            if !self.waiting.is_empty() {
                self.doors.send(&mut self.waiting);
            }
            if let Some(ready) = self.ready.pop_front() {
                return ready;
            }
            tokio::select! {
                biased;
                // Outcomes first, since only they end this call. Never 0: the intake itself holds a
                // sender.
                _ = self.settled.recv_many(&mut self.batch, BATCH) => {}
                () = self.doors.place_for(&self.waiting, taken) => {}
            }
            self.close_batch();
        }
    }

    fn close_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        let now = Instant::now();
        for (slot, outcome) in batch.drain(..) {
            self.close(slot, outcome, now);
        }
        self.batch = batch;
        self.show_bytes();
        self.open.show_oldest();
    }

    fn close(&mut self, slot: usize, outcome: Outcome, now: Instant) {
        let Some(open) = self.open.close(slot) else { return };
        self.metrics.duration.observe(now.saturating_duration_since(open.since));
        self.bytes -= open.bytes;
        self.held -= 1 + open.repeats.len();
        if let (Some(dedup), Some(id)) = (&mut self.dedup, open.dedup_id) {
            match outcome {
                Outcome::Done | Outcome::Dead(_) => dedup.done(id, now),
                Outcome::Retry(_) => dedup.forget(id),
            }
        }
        self.ready.push_back((open.receipt, outcome));
        self.ready.extend(open.repeats.into_iter().map(|receipt| (receipt, outcome)));
    }

    /// Returns the receipts of open events, in no particular order: for a source that tells its
    /// broker that work is going on.
    pub fn receipts(&mut self) -> impl Iterator<Item = &mut R> {
        let deferred = self.deferred.iter_mut().flat_map(DeferredEvents::receipts);
        let open = self.open.iter_mut();
        open.flat_map(|open| std::iter::once(&mut open.receipt).chain(&mut open.repeats)).chain(deferred)
    }
}

/// Returns the lane, of `lanes`, for events of this order.
fn lane_of(order: u64, lanes: usize) -> usize {
    (order % lanes as u64) as usize
}

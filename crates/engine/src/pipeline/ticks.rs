//! The clock of filters: calls `tick` for every route whose filter has it, once an interval.
//!
//! A tick is an event that comes from here instead of from a source, for one route alone. So it
//! takes the way that all events take, and its outputs are settled as all outputs are. A route has
//! one tick under way at a time, whatever generation of it answers. Where filters have a state that
//! lasts, the tick is noted in the route's claim before: its state may have gone on when the router
//! dies, but its outputs may not have arrived, so that it has to be called again as it was.

use std::{
    collections::{BTreeSet, HashMap},
    mem,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{sync::Notify, time::Instant};

use super::{Intake, Pipeline};
use crate::{
    ack::Outcome,
    backoff::Backoff,
    event::{Event, TICKS, TickMark},
    metrics::Metrics,
    registry::{RouteName, Snapshots, TickClaims, ticking},
    stop::Stop,
    timer::sleep_until_due,
};

/// Shortest and longest wait before a tick that failed is called again.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Time of day, in Unix nanoseconds.
pub type TickClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Sends the ticks of all routes.
pub struct TickDriver {
    intake: Intake<RouteName>,
    /// Claims among the routers that share the filters' state. Without them all ticks are this
    /// router's.
    claims: Option<TickClaims>,
    snapshots: Snapshots,
    clock: TickClock,
    /// Number that tells this run from others.
    run: u64,
    /// Number of the last tick.
    number: u64,
    routes: HashMap<RouteName, RouteTicks>,
    /// Routes that wait for their time.
    due: BTreeSet<(Instant, RouteName)>,
    /// Writes to the claims that are under way, a few a route at most.
    notes: FuturesUnordered<BoxFuture<'static, Option<NotedTick>>>,
}

/// A route, and the tick that its claim has now. `None` if it has none that may be called.
type NotedTick = (RouteName, Option<TickMark>);

/// State of a route's ticks.
struct RouteTicks {
    /// `None` if the route is gone, and only its last tick is awaited.
    interval: Option<Duration>,
    /// The tick under way, or to be called again.
    open: Option<TickMark>,
    /// How often it was called.
    attempts: u32,
    /// Whether the route's claim has it.
    is_noted: bool,
    /// The tick before, whose outputs have arrived.
    ended: Option<TickMark>,
    /// Time of its next call, unless it is under way.
    due: Option<Instant>,
    /// Unix time at which the next tick is due, in nanoseconds.
    next: u64,
    backoff: Backoff,
    /// True once a tick has been found to take too long.
    is_late: bool,
}

impl TickDriver {
    /// Runs until the router stops, or until `last` says that all sources have ended. While no
    /// filter ticks it does nothing.
    pub async fn run(
        pipeline: Pipeline,
        metrics: Arc<Metrics>,
        mut snapshots: Snapshots,
        clock: TickClock,
        claims: Option<TickClaims>,
        (mut stop, last): (Stop, Arc<Notify>),
    ) {
        tokio::select! {
            found = snapshots.wait_for(|snapshot| ticking(snapshot).next().is_some()) => {
                if found.is_err() {
                    return;
                }
            }
            () = stop.draining() => return,
            () = last.notified() => return,
        }
        let metrics = metrics.source(TICKS);
        metrics.connected.set(1);
        let intake = pipeline.intake(metrics);
        drop(pipeline);
        let (run, routes, due, notes) = (fastrand::u64(..), HashMap::new(), BTreeSet::new(), FuturesUnordered::new());
        let driver = Self { intake, claims, snapshots, clock, run, number: 0, routes, due, notes };
        driver.drive(stop, &last).await;
    }

    async fn drive(mut self, mut stop: Stop, last: &Notify) {
        self.adopt();
        loop {
            let due = self.due.first().map(|(due, _)| *due).filter(|_| self.intake.is_open());
            tokio::select! {
                biased;
                () = stop.draining() => break,
                () = last.notified() => break,
                (route, outcome) = self.intake.settled() => self.settled(route, outcome),
                changed = self.snapshots.changed() => match changed {
                    Ok(()) => self.adopt(),
                    Err(_) => break,
                },
                noted = self.notes.next(), if !self.notes.is_empty() => {
                    if let Some(Some((route, tick))) = noted {
                        self.noted(route, tick);
                    }
                }
                () = sleep_until_due(due) => self.push_due(),
            }
        }
        while self.intake.open() > 0 || !self.notes.is_empty() {
            tokio::select! {
                () = stop.ended() => break,
                (route, outcome) = self.intake.settled() => self.settled(route, outcome),
                _ = self.notes.next(), if !self.notes.is_empty() => {}
            }
        }
        let Self { claims, notes, .. } = self;
        // What is not written by now would hold up the claim that it is for.
        drop(notes);
        // Only now: the others are not to tick while outputs are under way.
        if let Some(claims) = claims {
            claims.close().await;
        }
    }

    /// Switches to the newest snapshot: routes that are new begin, and those that are gone end.
    fn adopt(&mut self) {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        let mut wanted: HashMap<RouteName, Duration> = ticking(&snapshot).collect();
        let (now, clock, due) = (Instant::now(), (self.clock)(), &mut self.due);
        self.routes.retain(|name, route| {
            let before = mem::replace(&mut route.interval, wanted.remove(name));
            // What is under way is planned anew at its end.
            let Some(waiting) = route.due else { return true };
            match route.interval {
                // What failed may be mended.
                Some(_) if route.open.is_some() => route.due = Some(now),
                Some(interval) if before != Some(interval) => route.begin(now, clock, interval),
                Some(_) => return true,
                None => route.due = None,
            }
            due.remove(&(waiting, name.clone()));
            due.extend(route.due.map(|due| (due, name.clone())));
            route.due.is_some()
        });
        for (name, interval) in wanted {
            let mut route = RouteTicks::default();
            route.begin(now, clock, interval);
            self.due.extend(route.due.map(|due| (due, name.clone())));
            self.routes.insert(name, route);
        }
    }

    /// Sends the ticks whose time has come, as long as there is room for them.
    fn push_due(&mut self) {
        let now = Instant::now();
        while self.intake.is_open()
            && let Some((due, _)) = self.due.first()
            && *due <= now
            && let Some((_, name)) = self.due.pop_first()
        {
            let Some(route) = self.routes.get_mut(&name) else { continue };
            route.due = None;
            let next = *route.open.get_or_insert_with(|| {
                self.number += 1;
                TickMark { now: (self.clock)(), run: self.run, number: self.number }
            });
            match self.claims.as_ref().map(|claims| claims.claim(&name)) {
                Some(None) => {
                    self.noted(name, None);
                    continue;
                }
                Some(Some(claim)) if !mem::take(&mut route.is_noted) => {
                    let ended = route.ended;
                    self.notes.push(Box::pin(async move {
                        let tick = claim.lock().await.begin(next, ended).await;
                        Some((name, tick))
                    }));
                    continue;
                }
                _ => {}
            }
            route.attempts = route.attempts.saturating_add(1);
            let tick = Event { attempt: route.attempts, ..Event::tick(&name.0, &name.1, next) };
            let (key, only) = (Arc::clone(&name.0), Arc::clone(&name.1));
            self.intake.push_tick(tick, name, &key, &only);
        }
    }

    /// Has the tick called that a route's claim has now. Without one the route waits for its next
    /// time: another router ticks for it, or the server is away.
    fn noted(&mut self, name: RouteName, tick: Option<TickMark>) {
        let now = Instant::now();
        let Some(route) = self.routes.get_mut(&name) else { return };
        let Some(interval) = route.interval else {
            self.routes.remove(&name);
            return;
        };
        if route.open != tick {
            route.open = tick;
            // Another router has called it before, or this one, which has lost its claim since.
            route.attempts = u32::from(tick.is_some());
            if tick.is_some() {
                let (key, route) = (&*name.0, &*name.1);
                tracing::info!(key, route, "the outputs of the last tick may not have arrived: it is called again");
            }
        }
        route.is_noted = tick.is_some();
        match tick {
            Some(_) => route.due = Some(now),
            None => route.begin(now, (self.clock)(), interval),
        }
        self.due.extend(route.due.map(|due| (due, name)));
    }

    /// Notes the end of a tick.
    fn settled(&mut self, name: RouteName, outcome: Outcome) {
        let (now, clock) = (Instant::now(), (self.clock)());
        let Some(route) = self.routes.get_mut(&name) else { return };
        if let (Some(tick), Outcome::Done | Outcome::Dead(_)) = (route.open, &outcome) {
            (route.open, route.ended, route.attempts) = (None, Some(tick), 0);
            if let Some(claim) = self.claims.as_ref().and_then(|claims| claims.claim(&name)) {
                self.notes.push(Box::pin(async move {
                    claim.lock().await.end(tick).await;
                    None
                }));
            }
        }
        let Some(interval) = route.interval else {
            self.routes.remove(&name);
            return;
        };
        match outcome {
            Outcome::Done | Outcome::Dead(_) => {
                route.backoff = backoff();
                if route.next <= clock && !route.is_late {
                    route.is_late = true;
                    let (key, route) = (&*name.0, &*name.1);
                    tracing::warn!(
                        key,
                        route,
                        ?interval,
                        "a tick takes longer than its interval, sinks included: the next one follows at once"
                    );
                }
                route.plan(now, clock, interval);
            }
            Outcome::Retry(after) => route.due = Some(now + route.backoff.next_wait().max(after)),
        }
        self.due.extend(route.due.map(|due| (due, name)));
    }
}

impl Default for RouteTicks {
    fn default() -> Self {
        let (backoff, next, attempts) = (backoff(), 0, 0);
        let (interval, open, ended, due) = (None, None, None, None);
        Self { interval, open, attempts, is_noted: false, ended, due, next, backoff, is_late: false }
    }
}

impl RouteTicks {
    /// Begins with an interval: the first tick is due when a whole number of intervals has passed
    /// since 1970, so that a restart puts none off.
    fn begin(&mut self, now: Instant, clock: u64, interval: Duration) {
        self.interval = Some(interval);
        self.next = following(clock, interval);
        self.plan(now, clock, interval);
    }

    /// Plans the next tick: at once if its time is over, and otherwise when it comes.
    fn plan(&mut self, now: Instant, clock: u64, interval: Duration) {
        // The time of day may have been set back.
        let wait = Duration::from_nanos(self.next.saturating_sub(clock)).min(interval);
        self.due = Some(now + wait);
        self.next = following(clock.saturating_add(nanos(wait)), interval);
    }
}

/// Returns the first multiple of the interval after a Unix time.
fn following(clock: u64, interval: Duration) -> u64 {
    let interval = nanos(interval).max(1);
    (clock / interval).saturating_add(1).saturating_mul(interval)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn backoff() -> Backoff {
    Backoff::new(RETRY.0, RETRY.1)
}

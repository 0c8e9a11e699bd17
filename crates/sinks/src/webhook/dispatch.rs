//! The dispatcher: takes due deliveries out of the store and sends them, for each webhook
//! separately, so that one that hangs does not delay the others. Deliveries under way when the
//! router ends are sent again by the next run.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinSet, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use super::{
    post::WebhookAnswer,
    request::WebhookRequest,
    schedule::verdict,
    store::{AttemptVerdict, DeliveryAttempt, DeliveryStore, DueDelivery, RequestContent, StoreError},
};
use crate::{config::Webhook, health::HealthLevel, metrics::Metrics, stop::Stop, timer::sleep_until_due};

mod claim;
mod recipients;
mod room;
mod turn;
mod upkeep;

use claim::claim;
use recipients::WebhookRecipients;
use room::RequestRooms;
use turn::{DueRequests, StoreTurn};
use upkeep::StoreUpkeep;

/// Interval at which changes by other processes in the database, and clock changes, are noticed.
const TICK: Duration = Duration::from_secs(1);
/// Notices received at once.
const HEARD: usize = 64;

/// Sends a letter to a webhook, signed with this time.
pub type RequestSender = Arc<
    dyn Fn(Arc<Webhook>, WebhookRequest, Timestamp) -> BoxFuture<'static, Result<WebhookAnswer, String>> + Send + Sync,
>;
/// Returns the current time.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Sends stored deliveries.
pub struct Dispatcher {
    pub store: Arc<DeliveryStore>,
    pub webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    /// Names of webhooks for which something was stored. Once all senders are gone, due deliveries
    /// are still sent.
    pub fresh: mpsc::Receiver<BTreeSet<String>>,
    /// Time for which finished deliveries are kept.
    pub retention: Duration,
    /// Time for sending due deliveries when the router ends.
    pub drain: Duration,
    /// Bytes that requests may hold.
    pub room: u64,
    pub metrics: Arc<Metrics>,
    pub post: RequestSender,
    pub clock: WallClock,
}

impl fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher").field("store", &self.store).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// Runs until the router stops, or until nothing more is stored and nothing is due.
    ///
    /// # Errors
    /// Returns an error if it can't be ruled out that another router sends the same deliveries.
    pub async fn run(mut self, mut stop: Stop) -> anyhow::Result<()> {
        let Some(_claim) = claim(self.store.path(), &mut self.fresh, &mut stop).await? else { return Ok(()) };
        let recipients = WebhookRecipients::new(self.room);
        let work = DispatchWork {
            parts: self,
            recipients,
            tries: JoinSet::new(),
            ended: Vec::new(),
            upkeep: StoreUpkeep::default(),
            failed: None,
        };
        work.run(stop).await
    }
}

/// A finished try.
struct FinishedTry {
    due: DueDelivery,
    attempt: DeliveryAttempt,
    /// Time until the receiver answered; `None` if it did not.
    answered: Option<Duration>,
}

/// The dispatcher at work.
struct DispatchWork {
    parts: Dispatcher,
    recipients: WebhookRecipients,
    tries: JoinSet<FinishedTry>,
    /// Finished tries that are not recorded yet.
    ended: Vec<DeliveryAttempt>,
    upkeep: StoreUpkeep,
    /// Time at which the store last failed; `None` while it works.
    failed: Option<Instant>,
}

impl DispatchWork {
    async fn run(mut self, mut stop: Stop) -> anyhow::Result<()> {
        self.take_over_webhooks();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut hears, mut follows) = (true, true);
        let mut names = Vec::new();
        let mut end = stop.clone();
        // Time at which tries under way are abandoned.
        let mut until = None;
        loop {
            let mut is_tick = false;
            let pause = self.pause();
            tokio::select! {
                Some(ended) = self.tries.join_next() => self.end(ended)?,
                // Disabled once all senders are gone: it would be ready all the time.
                heard = self.parts.fresh.recv_many(&mut names, HEARD), if hears => hears = heard > 0,
                changed = self.parts.webhooks.changed(), if follows => {
                    follows = changed.is_ok();
                    self.take_over_webhooks();
                }
                _ = tick.tick() => is_tick = true,
                () = sleep(pause) => {}
                () = stop.draining(), if until.is_none() => {}
                () = end.ended() => break,
                () = sleep_until_due(until) => break,
            }
            while let Some(ended) = self.tries.try_join_next() {
                self.end(ended)?;
            }
            for name in names.drain(..).flatten() {
                self.recipients.ask(&name);
                self.upkeep.is_stale = true;
            }
            if !hears || stop.is_draining() {
                until.get_or_insert_with(|| Instant::now() + self.parts.drain);
            }
            if is_tick {
                self.look_after().await?;
            }
            self.turn(!stop.is_draining()).await?;
            if self.is_idle() && (stop.is_draining() || !hears && !self.recipients.is_asking()) {
                break;
            }
        }
        self.leave().await
    }

    fn is_idle(&self) -> bool {
        self.tries.is_empty() && self.ended.is_empty()
    }

    fn now(&self) -> Timestamp {
        (self.parts.clock)()
    }

    /// Time until the next delivery is due, one tick at most.
    fn pause(&self) -> Duration {
        let Some(wake) = self.recipients.next_wake() else { return TICK };
        Duration::try_from(wake.duration_since(self.now())).unwrap_or_default().min(TICK)
    }

    fn take_over_webhooks(&mut self) {
        let webhooks = self.parts.webhooks.borrow_and_update();
        self.recipients.set(webhooks.iter().filter(|webhook| webhook.active));
        self.upkeep.is_stale = true;
    }

    async fn look_after(&mut self) -> anyhow::Result<()> {
        let now = self.now();
        let (store, metrics) = (Arc::clone(&self.parts.store), Arc::clone(&self.parts.metrics));
        let (retention, webhooks) = (self.parts.retention, self.parts.webhooks.borrow().clone());
        let mut upkeep = std::mem::take(&mut self.upkeep);
        let looked = spawn_blocking(move || {
            let changed = upkeep.look(&store, now, retention);
            let counted = upkeep.count(&store, &webhooks, &metrics, now);
            (upkeep, changed.and_then(|changed| counted.map(|()| changed)))
        });
        let (upkeep, changed) = looked.await.context("looking after the store panicked")?;
        self.upkeep = upkeep;
        match changed {
            Ok(true) => self.recipients.ask_all(),
            Ok(false) => {}
            Err(error) => self.fail(error),
        }
        Ok(())
    }

    /// Records finished tries and begins due ones.
    async fn turn(&mut self, begins: bool) -> anyhow::Result<()> {
        let now = self.now();
        self.recipients.wake(now);
        if self.failed.is_some_and(|failed| failed.elapsed() < TICK) {
            return Ok(());
        }
        let (looks, rooms) = if begins { self.recipients.looks() } else { (VecDeque::new(), RequestRooms::new(0)) };
        if self.ended.is_empty() && looks.is_empty() {
            return Ok(());
        }
        let mut turn = StoreTurn { ended: std::mem::take(&mut self.ended), looks, rooms, now };
        let store = Arc::clone(&self.parts.store);
        let taken = spawn_blocking(move || {
            let found = turn.take(&store);
            (turn, found)
        });
        let (turn, found) = taken.await.context("a turn with the store panicked")?;
        self.ended = turn.ended;
        match found {
            Ok(found) => {
                self.failed = None;
                found.into_iter().for_each(|found| self.begin_all(found));
            }
            Err(error) => {
                self.fail(error);
                // Deliveries that were found before the error are lost with it.
                self.recipients.ask_all();
            }
        }
        turn.looks.iter().for_each(|look| self.recipients.ask(&look.webhook.name));
        Ok(())
    }

    fn begin_all(&mut self, found: DueRequests) {
        let DueRequests { webhook, begin, wake, needs } = found;
        self.recipients.sleep_until(&webhook.name, wake);
        for (due, message) in begin {
            self.begin(&webhook, due, message);
        }
        if let Some(needs) = needs {
            self.recipients.wait_for(&webhook.name, needs);
        }
    }

    fn begin(&mut self, webhook: &Arc<Webhook>, due: DueDelivery, message: RequestContent) {
        self.recipients.begin(&webhook.name, &due);
        let (webhook, clock) = (Arc::clone(webhook), Arc::clone(&self.parts.clock));
        let began = Instant::now();
        let posting = WebhookRequest::new(&webhook, due.id.to_string(), message)
            .map(|request| (self.parts.post)(Arc::clone(&webhook), request, clock()));
        self.tries.spawn(async move {
            let posting = match posting {
                Ok(posting) => posting,
                // Another try would fail as well.
                Err(error) => {
                    let attempt = attempt(&webhook, &due, Err(error.to_string()), clock());
                    let attempt = DeliveryAttempt { verdict: AttemptVerdict::Failed, ..attempt };
                    return FinishedTry { due, attempt, answered: Some(Duration::ZERO) };
                }
            };
            let attempt = attempt(&webhook, &due, posting.await, clock());
            let answered = attempt.status_code.map(|_| began.elapsed());
            FinishedTry { due, attempt, answered }
        });
    }

    fn end(&mut self, ended: Result<FinishedTry, JoinError>) -> anyhow::Result<()> {
        let FinishedTry { due, attempt, answered } = ended.context("a try panicked")?;
        let DeliveryAttempt { id, webhook, status_code, error, verdict, .. } = &attempt;
        let error = error.as_deref().unwrap_or_default();
        let metrics = self.parts.metrics.webhook(webhook);
        let unwell = |why: String, remedy: &'static str| metrics.health.report(HealthLevel::Degraded, why, remedy);
        match verdict {
            AttemptVerdict::Delivered => {
                metrics.delivered.inc();
                if let Some(lasted) = metrics.health.recover() {
                    tracing::info!(webhook, after = format!("{} s", lasted.as_secs()), "takes deliveries again");
                }
                tracing::debug!(webhook, delivery = %id, status_code, "delivered");
            }
            AttemptVerdict::Again(after) => {
                metrics.retried.inc();
                unwell(format!("not delivered: {error}"), "it is tried again by itself, until a delivery succeeds");
                tracing::info!(webhook, delivery = %id, error, ?after, "not delivered, will try again");
            }
            AttemptVerdict::Failed => {
                metrics.failed.inc();
                unwell(format!("a delivery was given up: {error}"), "`trommel deliveries retry` sends it again");
                tracing::warn!(webhook, delivery = %id, error, tries = due.attempts + 1, "not delivered, given up");
            }
            AttemptVerdict::Gone => {
                metrics.failed.inc();
                unwell("it answered 410 and is disabled".to_owned(), "`trommel webhooks enable`");
                tracing::warn!(webhook, delivery = %id, "it answered 410: disabled until `trommel webhooks enable`");
            }
        }
        self.upkeep.is_stale = true;
        self.recipients.end(&attempt.webhook, &due, answered);
        self.ended.push(attempt);
        Ok(())
    }

    fn fail(&mut self, error: StoreError) {
        if self.failed.is_none() {
            let error = format!("{:#}", anyhow::Error::from(error));
            tracing::error!(error, "deliveries can't be sent for now, will try again");
        }
        self.failed = Some(Instant::now());
    }

    /// Records finished tries. Those still under way are sent again by the next run.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.failed = None;
        self.turn(false).await?;
        let (under_way, unnoted) = (self.tries.len(), self.ended.len());
        if under_way + unnoted > 0 {
            tracing::warn!(under_way, unnoted, "deliveries are given up for now, the next run sends them again");
        }
        Ok(())
    }
}

fn attempt(
    webhook: &Webhook,
    due: &DueDelivery,
    outcome: Result<WebhookAnswer, String>,
    ended: Timestamp,
) -> DeliveryAttempt {
    let verdict = verdict(&outcome, due.attempts, fastrand::f64());
    let (status_code, error, answer) = match outcome {
        Ok(answer) if answer.is_success() => (Some(answer.status), None, None),
        Ok(WebhookAnswer { status, body, .. }) => (Some(status), Some(format!("it answered {status}")), Some(body)),
        Err(error) => (None, Some(error), None),
    };
    DeliveryAttempt { id: due.id, webhook: webhook.name.clone(), ended, status_code, error, answer, verdict }
}

#[cfg(test)]
mod tests;

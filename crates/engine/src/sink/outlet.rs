//! The outlet drives one sink: a bounded queue in front of it, a window of outputs under way,
//! retries in place and the sink's policy for refusals. One task owns it, so a sink holds up only
//! its own routes.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    backoff::{Backoff, jitter},
    config::{OnFailure, RetryPolicy},
    event::identity::TRACEPARENT,
    fate::Fate,
    health::HealthLevel,
    metrics::SinkMetrics,
    nats::{ConnectError, MAX_RECONNECT_DELAY},
    show,
    sink::{
        Confirmation, Output, Sink, SinkRefusal, Slot,
        dead_letter::{self, LastResort},
    },
    stop::Stop,
    telemetry::{Stage, StageSpan},
    timer::sleep_until_due,
};

mod elsewhere;
mod operator_pause;
mod queue;
mod window;

use operator_pause::OperatorPause;
pub use queue::{QueuePlace, SinkQueue};
use window::{OutputWindow, WindowBounds};

/// Shortest time between two logs about dead letters that can't be stored.
const QUIET: Duration = Duration::from_secs(10);
/// What lifts the refusals of a sink.
const REMEDY: &str = "it is tried again by itself, and what waits for it goes on when the destination takes it";

/// Limits of what one sink may hold.
#[derive(Clone, Copy, Debug)]
pub struct OutletCapacity {
    /// Outputs in the queue, under way, and, separately, those that their own destination refuses.
    pub outputs: usize,
    /// Bytes of outputs in all. An event's own payload counts in its source's budget.
    pub bytes: usize,
}

/// Reaction of an outlet to refusals by its sink.
#[derive(Debug)]
pub struct OutletPolicy {
    pub on_failure: OnFailure,
    pub retry: RetryPolicy,
    pub refused: RefusedDestination,
}

/// Destination of refused outputs.
#[derive(Debug)]
pub enum RefusedDestination {
    /// To the dead letters.
    DeadLetters(SinkQueue),
    /// Nowhere: the policy lets none be refused for good, or they go back to their source.
    Nowhere,
    /// Fallbacks, as these outputs are the dead letters.
    LastResort(LastResort),
}

/// Reason why an outlet ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutletEnd {
    /// No senders are left and everything is written, or the router gives up what is open.
    Drained,
    /// The reader of the sink has left.
    ReaderLeft,
}

/// Driver of one sink.
pub struct Outlet<S> {
    sink: S,
    name: Arc<str>,
    outputs: mpsc::Receiver<Output>,
    policy: OutletPolicy,
    metrics: Arc<SinkMetrics>,
    window: OutputWindow,
    /// No writes before this time: the sink as a whole takes nothing.
    pause: Option<Instant>,
    /// Pauses while the sink takes nothing.
    backoff: Backoff,
    /// True while there are refused outputs, for tasks that wait to hand over dead letters.
    refuses: watch::Sender<bool>,
    /// Time until which dead letters that can't be stored are not logged.
    quiet: Option<Instant>,
    /// True while outputs that wait for the sink go to other routers, until it takes something.
    gives_back: bool,
    operator_pause: OperatorPause,
}

impl<S: Sink> Outlet<S> {
    pub fn new(
        sink: S,
        name: &str,
        capacity: OutletCapacity,
        policy: OutletPolicy,
        metrics: Arc<SinkMetrics>,
    ) -> (SinkQueue, Self) {
        let OutletCapacity { outputs: most, bytes } = capacity;
        let (sender, outputs) = mpsc::channel(most);
        let (refuses, refusing) = watch::channel(false);
        let refusing = matches!(policy.refused, RefusedDestination::LastResort(_)).then_some(refusing);
        let queue = SinkQueue::new(name, (sender, bytes), Arc::clone(&metrics), refusing);
        let name = Arc::clone(queue.name());
        let backoff = policy.retry.backoff();
        let window = OutputWindow::new(WindowBounds { open: most, refused: most, refused_bytes: bytes / 2 });
        (
            queue,
            Self {
                sink,
                name,
                outputs,
                policy,
                metrics,
                window,
                pause: None,
                backoff,
                refuses,
                quiet: None,
                gives_back: false,
                operator_pause: OperatorPause::default(),
            },
        )
    }

    /// Runs until every [`SinkQueue`] is gone and the window is empty, or the router gives up what
    /// is open.
    ///
    /// # Errors
    /// Returns an error if the sink refuses an output and its policy is to stop the router.
    pub async fn run(mut self, stop: Stop) -> anyhow::Result<OutletEnd> {
        let end = self.drive(stop).await;
        self.sink.close().await;
        end
    }

    async fn drive(&mut self, mut stop: Stop) -> anyhow::Result<OutletEnd> {
        let mut received = Vec::new();
        let mut is_open = true;
        while is_open || !self.window.is_empty() {
            let is_paused = self.operator_pause.look(&self.metrics, self.window.is_empty());
            let room = self.window.room();
            // During a pause, outputs are taken in only to give them to other routers.
            let takes_in = is_open && room > 0 && !is_paused && (self.pause.is_none() || self.gives_back);
            if self.pause.is_none() && !is_paused && self.window.next_ready().is_some() {
                if let Some(end) = self.write_ready().await? {
                    return Ok(end);
                }
                continue;
            }
            let due = self.window.next_due().filter(|_| self.pause.is_none());
            tokio::select! {
                count = self.outputs.recv_many(&mut received, room), if takes_in => {
                    is_open = count > 0;
                    self.take_in(&mut received);
                }
                confirmation = self.sink.confirm(), if self.window.written > 0 => {
                    if let Some(end) = self.confirmed(confirmation).await? {
                        return Ok(end);
                    }
                    // Reports that are there already, at once: one by one, each would let in and
                    // write a single output.
                    while self.window.written > 0
                        && let Some(confirmation) = self.sink.confirm().now_or_never()
                    {
                        if let Some(end) = self.confirmed(confirmation).await? {
                            return Ok(end);
                        }
                    }
                }
                () = sleep_until_due(self.pause) => self.pause = None,
                () = self.metrics.switch.resumed(), if is_paused => {}
                () = sleep_until_due(due) => {
                    let now = Instant::now();
                    self.window.retry_due(now);
                    self.yield_room(now);
                }
                () = stop.ended() => break,
            }
        }
        Ok(OutletEnd::Drained)
    }

    fn take_in(&mut self, received: &mut Vec<Output>) {
        let (one_by_one, now) = (!self.sink.keeps_order(), Instant::now());
        for mut output in received.drain(..) {
            if self.goes_elsewhere(&output) {
                self.metrics.returned.inc();
                continue;
            }
            if let RefusedDestination::LastResort(last_resort) = &self.policy.refused {
                output.payload = last_resort.signed(&output);
            }
            self.window.push(output, one_by_one, now);
        }
        self.yield_room(now);
    }

    /// Gives back outputs that have no room behind others that are refused: a dropped one goes to
    /// its source, where it waits at no cost for the rest.
    fn yield_room(&mut self, now: Instant) {
        for output in self.window.yield_room(now) {
            self.metrics.returned.inc();
            let event = output.ticket.event();
            tracing::debug!(
                sink = %self.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(),
                "too many outputs are refused, event goes back to its source"
            );
        }
    }

    async fn write_ready(&mut self) -> anyhow::Result<Option<OutletEnd>> {
        let now = Instant::now();
        while self.pause.is_none()
            && !self.metrics.switch.is_on()
            && let Some(slot) = self.window.next_ready()
            && let Some(entry) = self.window.entry(slot)
        {
            if !entry.output.ticket.may_leave() {
                self.forget(slot);
                continue;
            }
            if entry.first_try.is_none() {
                entry.first_try = Some(now);
                entry.span = begin(&mut entry.output, &self.name);
            }
            match self.sink.write(slot, &entry.output).await {
                Ok(()) => self.window.wrote(slot),
                Err(refusal) => {
                    if let Some(end) = self.refused(slot, refusal).await? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn confirmed(&mut self, confirmation: Confirmation) -> anyhow::Result<Option<OutletEnd>> {
        match confirmation {
            Confirmation::One(slot) => self.settle(slot),
            Confirmation::Known(slot) => {
                self.metrics.known.inc();
                self.settle(slot);
            }
            Confirmation::Through(last) => {
                for slot in self.window.first()..=last {
                    if self.window.is_written(slot) {
                        self.settle(slot);
                    }
                }
            }
            Confirmation::Returned(slot) => {
                self.metrics.retried.inc();
                self.window.put_back(slot);
                return Ok(None);
            }
            Confirmation::Refused(slot, refusal) => return self.refused(slot, refusal).await,
        }
        self.backoff.reset();
        self.gives_back = false;
        self.metrics.refusing.end();
        if self.metrics.health.is_troubled() && self.window.next_due().is_none() {
            self.is_well();
        }
        self.refuses.send_if_modified(std::mem::take);
        Ok(None)
    }

    fn settle(&mut self, slot: Slot) {
        // A slot that is gone already was confirmed by an earlier try.
        if let Some(output) = self.window.confirm(slot) {
            self.metrics.written.inc();
            self.metrics.written_bytes.inc_by(output.payload.len() as u64);
            self.metrics.time.end(output.queued, 1);
            show::went_out(output.ticket.event(), &self.name, &output.payload);
            match output.dead_letter {
                Some(reason) => output.ticket.dead(reason),
                None => output.ticket.settle(Fate::Emitted),
            }
        }
    }

    async fn refused(&mut self, slot: Slot, refusal: SinkRefusal) -> anyhow::Result<Option<OutletEnd>> {
        let Some(entry) = self.window.entry(slot) else { return Ok(None) };
        let waited = self.operator_pause.tried_for(entry.first_try);
        if matches!(refusal, SinkRefusal::Later(_)) {
            self.metrics.refusing.begin();
        }
        let is_final = match &refusal {
            SinkRefusal::Closed => return Ok(Some(OutletEnd::ReaderLeft)),
            SinkRefusal::Never(_, cause) => {
                entry.span.failed(format_args!("{cause:#}"));
                true
            }
            SinkRefusal::Later(cause) | SinkRefusal::Apart(cause) => {
                entry.span.failed(format_args!("{cause:#}"));
                self.metrics.retried.inc();
                waited >= self.policy.retry.patience
            }
        };
        match (self.policy.on_failure, &refusal) {
            (OnFailure::Retry, SinkRefusal::Later(_) | SinkRefusal::Apart(_)) => {
                self.try_again(slot, &refusal, is_final)
            }
            (_, SinkRefusal::Later(_) | SinkRefusal::Apart(_)) if !is_final => self.try_again(slot, &refusal, false),
            (OnFailure::Retry | OnFailure::DeadLetter, _) => self.dead_letter(slot, refusal).await,
            (OnFailure::Skip, _) => {
                if let Some(output) = self.window.give_up(slot, "skipped") {
                    self.metrics.skipped.inc();
                    let event = output.ticket.event();
                    tracing::warn!(
                        sink = %self.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(),
                        error = ?refusal,
                        "output skipped"
                    );
                    output.ticket.settle(Fate::Skipped);
                }
            }
            (OnFailure::Stop, _) => {
                return Err(anyhow!(refusal)
                    .context(format!("sink `{}` stops the router, as its `on_failure` says", self.name)));
            }
        }
        Ok(None)
    }

    fn try_again(&mut self, slot: Slot, refusal: &SinkRefusal, impatient: bool) {
        self.refuses.send_replace(true);
        match refusal {
            SinkRefusal::Apart(cause) => {
                self.speak_of(cause, impatient);
                self.window.set_aside(slot, self.policy.retry.backoff());
            }
            SinkRefusal::Later(cause) => {
                self.window.put_back(slot);
                self.back_off(cause, impatient);
                self.give_back_others(slot);
            }
            SinkRefusal::Never(..) | SinkRefusal::Closed => {}
        }
    }

    /// Waits before the next write, longer each time. Refusals that arrive during a wait belong to
    /// the same failure.
    fn back_off(&mut self, cause: &anyhow::Error, impatient: bool) {
        if self.pause.is_some() {
            return;
        }
        let mut wait = self.backoff.next_wait();
        if cause.is::<ConnectError>() {
            // The server is unreachable, not refusing, and sources are back as soon as it is.
            wait = wait.min(jitter(MAX_RECONNECT_DELAY));
        }
        self.pause = Some(Instant::now() + wait);
        let level = if self.metrics.refusing.is_away() { HealthLevel::Down } else { HealthLevel::Degraded };
        if self.is_unwell(level, cause) {
            let error = format!("{cause:#}");
            match impatient {
                true => tracing::error!(sink = %self.name, error, "still refused past the sink's patience, trying on"),
                false => tracing::warn!(sink = %self.name, error, "refused for now, will try again"),
            }
        }
    }

    /// Logs once in a while that some outputs are refused for now: there may be many, of as many
    /// destinations.
    fn speak_of(&mut self, cause: &anyhow::Error, impatient: bool) {
        if !self.is_unwell(HealthLevel::Degraded, cause) {
            return;
        }
        let error = format!("{cause:#}");
        if impatient {
            tracing::error!(
                sink = %self.name, error,
                "an output is still refused past the sink's patience, trying on"
            );
        } else {
            tracing::warn!(sink = %self.name, error, "an output is refused for now, will try again; others go on");
        }
    }

    /// Notes a refusal. Returns whether it is to be logged.
    fn is_unwell(&self, level: HealthLevel, cause: &anyhow::Error) -> bool {
        self.metrics.health.report(level, format!("{cause:#}"), REMEDY)
    }

    /// Notes that an output was taken, and that none is refused any more.
    fn is_well(&self) {
        if let Some(lasted) = self.metrics.health.recover() {
            tracing::info!(sink = %self.name, after = format!("{} s", lasted.as_secs()), "takes outputs again");
        }
    }

    async fn dead_letter(&mut self, slot: Slot, refusal: SinkRefusal) {
        let reason = match refusal {
            SinkRefusal::Never(reason, _) => reason,
            SinkRefusal::Later(_) | SinkRefusal::Apart(_) | SinkRefusal::Closed => "sink_unavailable",
        };
        let detail = format!("{:#}", anyhow!(refusal));
        let queue = match &self.policy.refused {
            RefusedDestination::DeadLetters(queue) => queue,
            RefusedDestination::Nowhere => {
                self.metrics.returned.inc();
                drop(self.window.give_up(slot, reason));
                return;
            }
            RefusedDestination::LastResort(last_resort) => {
                if let Some(entry) = self.window.entry(slot)
                    && let Some(smaller) = last_resort.smaller(&entry.output)
                {
                    entry.output.payload = smaller;
                    self.window.put_back(slot);
                    return;
                }
                let Some(output) = self.window.give_up(slot, reason) else { return };
                return self.put_down(output, reason, &detail).await;
            }
        };
        let Some(output) = self.window.give_up(slot, reason) else { return };
        let event = output.ticket.event();
        self.metrics.dead_lettered.inc();
        tracing::warn!(
            sink = %self.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail,
            "output becomes a dead letter"
        );
        queue.send(dead_letter::of_output(output, &self.name, reason, &detail)).await;
    }

    /// Stores a dead letter in the file because its destination will never take it.
    async fn put_down(&mut self, output: Output, reason: &'static str, detail: &str) {
        let RefusedDestination::LastResort(last_resort) = &self.policy.refused else { return };
        let stored = last_resort.store(&output).await;
        let event = output.ticket.event();
        let (id, path) = (&*event.id, last_resort.path().display().to_string());
        match (stored, output.dead_letter) {
            (Ok(()), Some(letter)) => {
                self.metrics.written.inc();
                tracing::warn!(
                    event = id,
                    reason,
                    detail,
                    path,
                    "dead letter can't be stored where it belongs, it is in the file"
                );
                output.ticket.dead(letter);
            }
            (Ok(()), None) => {}
            (Err(error), _) => {
                self.metrics.returned.inc();
                let now = Instant::now();
                // Logged once in a while, as the same event comes again and again.
                if self.quiet.is_none_or(|until| now >= until) {
                    self.quiet = Some(now + QUIET);
                    let error = format!("{error:#}");
                    tracing::error!(
                        event = id,
                        reason,
                        detail,
                        path,
                        error,
                        "dead letter can't be stored, event goes back to its source"
                    );
                }
            }
        }
    }
}

/// Begins the span of an output's sending, and sets it as the output's `traceparent`, unless its
/// filter has set another.
fn begin(output: &mut Output, sink: &str) -> StageSpan {
    let span = output.ticket.stage(Stage::Send(sink), &output.key, &output.route);
    if !span.is_none()
        && output.headers().get(TRACEPARENT) == output.ticket.event().headers.get(TRACEPARENT)
        && let Some(headers) = span.carried_by(output.headers())
    {
        output.headers = Some(headers);
    }
    span
}

#[cfg(test)]
mod span_tests;
#[cfg(test)]
mod tests;

//! The outlet drives one sink: a bounded queue in front of it, a window of outputs under way, retries in place and the
//! sink's policy for what it refuses. One task owns it, so sinks hold up nobody but their own routes.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use anyhow::anyhow;
use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    ack::Fate,
    config::{OnFailure, Retry},
    event::identity::TRACEPARENT,
    metrics::SinkMetrics,
    show,
    sink::{Confirmation, Output, Refusal, Sink, Slot, dead_letter},
    stop::Stop,
    telemetry::{Span, Stage},
};

/// The way to a sink. Cheap to clone; the outlet ends when the last one is gone.
#[derive(Clone, Debug)]
pub struct Queue {
    name: Arc<str>,
    outputs: mpsc::Sender<Output>,
    metrics: Arc<SinkMetrics>,
}

impl Queue {
    fn new(name: &str, outputs: mpsc::Sender<Output>, metrics: Arc<SinkMetrics>) -> Self {
        Self { name: name.into(), outputs, metrics }
    }

    /// A queue whose outputs go to the test.
    pub fn double(name: &str, capacity: usize) -> (Self, mpsc::Receiver<Output>) {
        let (outputs, receiver) = mpsc::channel(capacity);
        (Self::new(name, outputs, Arc::default()), receiver)
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// A place for one output, if there is one now. When the sink has ended there always is: what is sent there is
    /// dropped as by [`Self::send`].
    pub fn try_reserve(&self) -> Option<Place<'_>> {
        match self.outputs.try_reserve() {
            Ok(permit) => Some(Place { permit: Some(permit), metrics: &self.metrics }),
            Err(mpsc::error::TrySendError::Closed(())) => Some(Place { permit: None, metrics: &self.metrics }),
            Err(mpsc::error::TrySendError::Full(())) => None,
        }
    }

    /// Resolves when there may be a place, or the sink has ended. Cancel safe.
    pub async fn has_place(&self) {
        let _ = self.outputs.reserve().await;
    }

    /// Hands an output over. Waits while the queue is full. When the sink has ended, the output is dropped and with it
    /// its ticket: the event goes back to its source. Cancel safe in that sense.
    pub async fn send(&self, output: Output) {
        Place { permit: self.outputs.reserve().await.ok(), metrics: &self.metrics }.send(output);
    }
}

/// A place in a queue.
pub struct Place<'a> {
    /// `None` when the sink has ended.
    permit: Option<mpsc::Permit<'a, Output>>,
    metrics: &'a SinkMetrics,
}

impl Place<'_> {
    pub fn send(self, output: Output) {
        self.metrics.queued.inc();
        match self.permit {
            Some(permit) => permit.send(output),
            None => {
                self.metrics.returned.inc();
            }
        }
    }
}

/// What an outlet does when its sink refuses.
#[derive(Debug)]
pub struct Policy {
    pub on_failure: OnFailure,
    pub retry: Retry,
    /// Where refused outputs go; the dead letters' own outlet has none.
    pub dead_letters: Option<Queue>,
}

/// Why an outlet ended in good order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody can send any more and everything is written, or the router gives up what is open.
    Drained,
    /// Whoever read the sink has left.
    ReaderLeft,
}

/// Drives one sink.
pub struct Outlet<S> {
    sink: S,
    name: Arc<str>,
    outputs: mpsc::Receiver<Output>,
    policy: Policy,
    metrics: Arc<SinkMetrics>,
    window: Window,
    capacity: usize,
    /// No writes before this time: the destination has refused.
    pause: Option<Instant>,
    wait: Duration,
}

/// Outputs under way, by slot.
#[derive(Default)]
struct Window {
    entries: VecDeque<Entry>,
    /// Slot of the first entry.
    first: Slot,
    /// No entry before this slot waits to be written.
    cursor: Slot,
    /// Entries that the sink has and has not confirmed.
    written: usize,
}

struct Entry {
    /// `None` once it is settled but an earlier one is not.
    output: Option<Output>,
    written: bool,
    first_try: Option<Instant>,
    /// From the first try on.
    span: Span,
}

impl Window {
    fn push(&mut self, output: Output) {
        self.entries.push_back(Entry { output: Some(output), written: false, first_try: None, span: Span::none() });
    }

    fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        let index = usize::try_from(slot.checked_sub(self.first)?).ok()?;
        self.entries.get_mut(index)
    }

    /// The next slot that waits to be written.
    fn waiting(&mut self) -> Option<Slot> {
        self.cursor = self.cursor.max(self.first);
        let end = self.first + self.entries.len() as u64;
        while self.cursor < end {
            let slot = self.cursor;
            if self.entry(slot).is_some_and(|entry| entry.output.is_some() && !entry.written) {
                return Some(slot);
            }
            self.cursor += 1;
        }
        None
    }

    /// Takes an output out for good.
    fn take(&mut self, slot: Slot) -> Option<Output> {
        let entry = self.entry(slot)?;
        let output = entry.output.take()?;
        entry.span = Span::none();
        if std::mem::take(&mut entry.written) {
            self.written -= 1;
        }
        while self.entries.front().is_some_and(|entry| entry.output.is_none()) {
            self.entries.pop_front();
            self.first += 1;
        }
        Some(output)
    }

    /// Takes an output out that was not taken.
    fn give_up(&mut self, slot: Slot, why: &str) -> Option<Output> {
        self.entry(slot)?.span.give_up(why);
        self.take(slot)
    }

    /// Puts an output back among those that wait. Returns when it was first tried.
    fn put_back(&mut self, slot: Slot) -> Option<Instant> {
        let entry = self.entry(slot).filter(|entry| entry.output.is_some())?;
        let first_try = entry.first_try?;
        if std::mem::take(&mut entry.written) {
            self.written -= 1;
        }
        self.cursor = self.cursor.min(slot);
        Some(first_try)
    }
}

impl<S: Sink> Outlet<S> {
    /// `capacity` bounds the queue and, separately, the outputs under way.
    pub fn new(sink: S, name: &str, capacity: usize, policy: Policy, metrics: Arc<SinkMetrics>) -> (Queue, Self) {
        let (sender, outputs) = mpsc::channel(capacity);
        let queue = Queue::new(name, sender, Arc::clone(&metrics));
        let name = Arc::clone(queue.name());
        let wait = policy.retry.min;
        let window = Window::default();
        (queue, Self { sink, name, outputs, policy, metrics, window, capacity, pause: None, wait })
    }

    /// Runs until every [`Queue`] is gone and the window is empty, or the router gives up what is open.
    ///
    /// # Errors
    /// When the sink refuses an output and its policy is to stop the router.
    pub async fn run(mut self, mut stop: Stop) -> anyhow::Result<End> {
        let mut received = Vec::new();
        let mut is_open = true;
        while is_open || !self.window.entries.is_empty() {
            let room = self.capacity.saturating_sub(self.window.entries.len());
            let waits = self.pause.is_none() && self.window.waiting().is_some();
            if waits {
                if let Some(end) = self.write_waiting().await? {
                    return Ok(end);
                }
                continue;
            }
            tokio::select! {
                count = self.outputs.recv_many(&mut received, room), if is_open && room > 0 && self.pause.is_none() => {
                    is_open = count > 0;
                    received.drain(..).for_each(|output| self.window.push(output));
                }
                confirmation = self.sink.confirm(), if self.window.written > 0 => {
                    if let Some(end) = self.confirmed(confirmation).await? {
                        return Ok(end);
                    }
                    // What was said already, at once: one by one, each would let in and write a single output.
                    while self.window.written > 0
                        && let Some(confirmation) = self.sink.confirm().now_or_never()
                    {
                        if let Some(end) = self.confirmed(confirmation).await? {
                            return Ok(end);
                        }
                    }
                }
                () = resume(self.pause), if self.pause.is_some() => self.pause = None,
                () = stop.ended() => break,
            }
        }
        Ok(End::Drained)
    }

    async fn write_waiting(&mut self) -> anyhow::Result<Option<End>> {
        let now = Instant::now();
        while self.pause.is_none()
            && let Some(slot) = self.window.waiting()
            && let Some(entry) = self.window.entry(slot)
            && let Some(output) = &mut entry.output
        {
            if entry.first_try.is_none() {
                entry.first_try = Some(now);
                entry.span = begin(output, &self.name);
            }
            match self.sink.write(slot, output).await {
                Ok(()) => {
                    entry.written = true;
                    self.window.written += 1;
                }
                Err(refusal) => {
                    if let Some(end) = self.refused(slot, refusal).await? {
                        return Ok(Some(end));
                    }
                }
            }
        }
        Ok(None)
    }

    async fn confirmed(&mut self, confirmation: Confirmation) -> anyhow::Result<Option<End>> {
        match confirmation {
            Confirmation::One(slot) => self.settle(slot),
            Confirmation::Through(last) => {
                for slot in self.window.first..=last {
                    if self.window.entry(slot).is_some_and(|entry| entry.written) {
                        self.settle(slot);
                    }
                }
            }
            Confirmation::Refused(slot, refusal) => return self.refused(slot, refusal).await,
        }
        self.wait = self.policy.retry.min;
        Ok(None)
    }

    fn settle(&mut self, slot: Slot) {
        // A slot that is gone already was confirmed by an earlier try.
        if let Some(output) = self.window.take(slot) {
            self.metrics.written.inc();
            show::went_out(output.ticket.event(), &self.name, &output.payload);
            match output.dead_letter {
                Some(reason) => output.ticket.dead(reason),
                None => output.ticket.settle(Fate::Emitted),
            }
        }
    }

    async fn refused(&mut self, slot: Slot, refusal: Refusal) -> anyhow::Result<Option<End>> {
        if let (Refusal::Never(_, cause) | Refusal::Later(cause), Some(entry)) = (&refusal, self.window.entry(slot)) {
            entry.span.failed(format_args!("{cause:#}"));
        }
        let is_final = match &refusal {
            Refusal::Closed => return Ok(Some(End::ReaderLeft)),
            Refusal::Never(..) => true,
            Refusal::Later(_) => {
                let Some(first_try) = self.window.put_back(slot) else { return Ok(None) };
                self.metrics.retried.inc();
                first_try.elapsed() >= self.policy.retry.patience
            }
        };
        match (self.policy.on_failure, &refusal) {
            (OnFailure::Retry, Refusal::Later(cause)) => self.back_off(cause, is_final),
            (_, Refusal::Later(cause)) if !is_final => self.back_off(cause, false),
            (OnFailure::Retry | OnFailure::DeadLetter, _) => self.dead_letter(slot, refusal).await,
            (OnFailure::Skip, _) => {
                if let Some(output) = self.window.give_up(slot, "skipped") {
                    self.metrics.skipped.inc();
                    let event = output.ticket.event();
                    tracing::warn!(sink = %self.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), error = ?refusal, "output skipped");
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

    /// Waits before the next write, longer each time. Refusals that arrive during a wait belong to the same trouble.
    fn back_off(&mut self, cause: &anyhow::Error, impatient: bool) {
        if self.pause.is_some() {
            return;
        }
        let wait = self.wait.mul_f64(0.5 + fastrand::f64());
        self.pause = Some(Instant::now() + wait);
        self.wait = (self.wait * 2).min(self.policy.retry.max);
        if impatient {
            tracing::error!(sink = %self.name, error = format!("{cause:#}"), ?wait, "still refused past the sink's patience, trying on");
        } else {
            tracing::warn!(sink = %self.name, error = format!("{cause:#}"), ?wait, "refused for now, will try again");
        }
    }

    async fn dead_letter(&mut self, slot: Slot, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Never(reason, _) => reason,
            Refusal::Later(_) | Refusal::Closed => "sink_unavailable",
        };
        let Some(output) = self.window.give_up(slot, reason) else { return };
        let detail = format!("{:#}", anyhow!(refusal));
        let event = output.ticket.event();
        match &self.policy.dead_letters {
            Some(queue) => {
                self.metrics.dead_lettered.inc();
                tracing::warn!(sink = %self.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail, "output becomes a dead letter");
                queue.send(dead_letter::of_output(output, &self.name, reason, &detail)).await;
            }
            None => {
                // Dropping the output gives its event back to the source: nothing else can hold it.
                self.metrics.returned.inc();
                tracing::error!(sink = %self.name, event = %event.id, tenant = event.tenant(), trace = event.trace_id(), reason, detail, "dead letter can't be stored, event goes back to its source");
            }
        }
    }
}

/// Begins the span of an output's sending, and has the output say so to whoever takes it, unless its filter says otherwise.
fn begin(output: &mut Output, sink: &str) -> Span {
    let span = output.ticket.stage(Stage::Send(sink), &output.key, &output.route);
    if !span.is_none()
        && output.headers().get(TRACEPARENT) == output.ticket.event().headers.get(TRACEPARENT)
        && let Some(headers) = span.carried_by(output.headers())
    {
        output.headers = Some(headers);
    }
    span
}

async fn resume(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Headers, sink::double::output, telemetry::Tracer};

    const OWN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced() -> Output {
        let output = output("t", "e-1", "text");
        output.ticket.trace(Tracer::double().receive(output.ticket.event()));
        output
    }

    fn parents(output: &Output) -> Vec<&str> {
        let parents = output.headers().iter().filter(|(name, _)| name == TRACEPARENT);
        parents.map(|(_, parent)| &**parent).collect()
    }

    /// F12
    #[test]
    fn outputs_leave_under_the_span_that_sends_them() {
        let (mut first, mut second) = (traced(), traced());
        let _spans = [begin(&mut first, "out"), begin(&mut second, "out")];
        let [one, other] = [&first, &second].map(|output| parents(output)[0].to_owned());
        assert!(one.len() == OWN.len() && one != other, "{one} {other}");
    }

    #[test]
    fn what_the_filter_says_of_the_trace_counts() {
        let mut headers = Headers::default();
        headers.push(TRACEPARENT, OWN);
        let mut output = Output { headers: Some(headers), ..traced() };
        let _span = begin(&mut output, "out");
        assert_eq!(parents(&output), [OWN]);
    }

    #[test]
    fn nothing_is_made_up_where_nothing_is_recorded() {
        let mut output = output("t", "e-1", "text");
        assert!(begin(&mut output, "out").is_none() && output.headers.is_none());
    }
}

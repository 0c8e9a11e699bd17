//! Outputs on their way from a route to its sinks' queues.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{
    timed::TimedOutput,
    work::{EventPosition, TryCount},
};
use crate::{
    filter::{FailureCause, Filter, Verdict},
    sink::{
        Output,
        dead_letter::{self, FailurePlace},
        outlet::SinkQueue,
    },
    walk::{RouteOutput, Unsendable},
};

/// Outputs not sent yet: hands them to queues as long as they have places, and keeps the rest in
/// order.
#[derive(Default)]
pub(super) struct UnsentOutputs {
    outputs: Vec<(SinkQueue, Output)>,
    /// Those whose time has not come.
    timed: Vec<TimedOutput>,
}

impl UnsentOutputs {
    pub(super) fn send(&mut self, queue: &SinkQueue, output: Output) {
        let unsent = if self.outputs.is_empty() { queue.try_send(output) } else { Some(output) };
        if let Some(output) = unsent {
            self.outputs.push((queue.clone(), output));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Takes the outputs whose time has not come, if there are any.
    pub(super) fn timed(&mut self) -> Option<Vec<TimedOutput>> {
        (!self.timed.is_empty()).then(|| std::mem::take(&mut self.timed))
    }

    /// Returns the queue that was full first.
    pub(super) fn full(&self) -> Option<&Arc<str>> {
        self.outputs.first().map(|(queue, _)| queue.name())
    }

    /// Waits for a place for each output. Those left when it is dropped give their event back.
    pub(super) async fn flush(self) {
        for (queue, output) in self.outputs {
            queue.send(output).await;
        }
    }

    /// Adds a dead letter about the event as a whole.
    pub(super) fn dead_letter(
        &mut self,
        at: EventPosition<'_>,
        queue: &SinkQueue,
        (reason, cause): (&'static str, &FailureCause),
        tries: TryCount,
    ) {
        warn_of(at, reason, cause, "event becomes a dead letter");
        self.send(queue, dead_letter::of_event(at.ticket.share(), place(at, tries, cause), reason, &cause.detail));
    }

    /// Adds a dead letter about an emission that the filter buries, beside its other outputs.
    pub(super) fn bury(
        &mut self,
        at: EventPosition<'_>,
        queue: &SinkQueue,
        (index, payload): (u32, &Bytes),
        cause: &FailureCause,
        tries: TryCount,
    ) {
        self.bury_for(dead_letter::BURIED, at, queue, (index, payload), cause, tries);
    }

    /// Adds a dead letter for each output of a tick that can't be sent.
    pub(super) fn bury_all(
        &mut self,
        at: EventPosition<'_>,
        queue: &SinkQueue,
        made: Verdict,
        Unsendable { reason, detail }: &Unsendable,
        tries: TryCount,
    ) {
        let Verdict::Emit(emissions) = made else { return };
        let cause = FailureCause::from(detail.clone());
        for (index, emission) in (0..).zip(emissions) {
            self.bury_for(reason, at, queue, (index, &emission.payload), &cause, tries);
        }
    }

    fn bury_for(
        &mut self,
        reason: &'static str,
        at: EventPosition<'_>,
        queue: &SinkQueue,
        output: (u32, &Bytes),
        cause: &FailureCause,
        tries: TryCount,
    ) {
        warn_of(at, reason, cause, "an output becomes a dead letter");
        at.key.metrics.dead_lettered.inc();
        let place = place(at, tries, cause);
        self.send(queue, dead_letter::of_emission(at.ticket.share(), place, reason, output, &cause.detail));
    }

    /// Adds an output of a route, for the sink that it names.
    pub(super) fn output(&mut self, at: EventPosition<'_>, output: RouteOutput<'_>) {
        let EventPosition { key, route, ticket, order, .. } = at;
        let RouteOutput { sink, index, payload, subject, headers, id, not_before } = output;
        key.metrics.outputs.inc();
        sink.sent.fetch_add(1, Ordering::Relaxed);
        let output = Output {
            ticket: ticket.share(),
            key: Arc::clone(&key.name),
            route: Arc::clone(&route.name),
            index,
            payload,
            id,
            subject,
            headers,
            order,
            dead_letter: None,
            share: None,
            queued: None,
        };
        match not_before.and_then(time_until) {
            Some(wait) => {
                let (due, queue) = (Instant::now() + wait, sink.queue.clone());
                self.timed.push(TimedOutput { due, queue, output });
            }
            None => self.send(&sink.queue, output),
        }
    }
}

/// Returns the time until `then`, in Unix milliseconds, unless it has come.
fn time_until(then: u64) -> Option<Duration> {
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    then.checked_sub(now).filter(|wait| *wait > 0).map(Duration::from_millis)
}

fn warn_of(at: EventPosition<'_>, reason: &str, FailureCause { code, detail }: &FailureCause, what: &str) {
    let EventPosition { key, event, .. } = at;
    tracing::warn!(
        key = %key.name, event = &*event.id, tenant = event.tenant(), trace = event.trace_id(), reason,
        code = code.as_deref(), detail, "{what}"
    );
}

fn place<'a>(at: EventPosition<'a>, tries: TryCount, cause: &'a FailureCause) -> FailurePlace<'a> {
    let EventPosition { key, route, .. } = at;
    FailurePlace {
        key: &key.name,
        route: &route.name,
        filter: key.filter.as_ref().map_or("", Filter::name),
        filter_digest: key.filter.as_ref().map_or("", Filter::digest),
        sink: "",
        tries,
        code: cause.code.as_deref().unwrap_or_default(),
    }
}

//! Outputs on their way from a route to its sinks' queues.

use std::sync::Arc;

use bytes::Bytes;

use super::work::{EventPosition, TryCount};
use crate::{
    filter::{FailureCause, Filter},
    sink::{
        Output,
        dead_letter::{self, FailurePlace},
        outlet::SinkQueue,
    },
    walk::RouteOutput,
};

/// Outputs not sent yet: hands them to queues as long as they have places, and keeps the rest in
/// order.
#[derive(Default)]
pub(super) struct UnsentOutputs {
    outputs: Vec<(SinkQueue, Output)>,
    /// Queue that must have a place before any more outputs are made for it.
    full: Option<SinkQueue>,
}

impl UnsentOutputs {
    /// Creates an empty one that waits until `queue` has a place: outputs that no queue can take
    /// are not made.
    pub(super) fn until_taken(queue: &SinkQueue) -> Self {
        Self { outputs: Vec::new(), full: Some(queue.clone()) }
    }

    pub(super) fn send(&mut self, queue: &SinkQueue, output: Output) {
        let unsent = if self.outputs.is_empty() { queue.try_send(output) } else { Some(output) };
        if let Some(output) = unsent {
            self.outputs.push((queue.clone(), output));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty() && self.full.is_none()
    }

    /// Returns the queue that was full first.
    pub(super) fn full(&self) -> Option<&Arc<str>> {
        let first = self.outputs.first().map(|(queue, _)| queue);
        first.or(self.full.as_ref()).map(SinkQueue::name)
    }

    /// Waits for a place for each output. Those left when it is dropped give their event back.
    pub(super) async fn flush(self) {
        if let Some(full) = self.full {
            full.has_room().await;
        }
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
        warn_of(at, dead_letter::BURIED, cause, "an output becomes a dead letter");
        at.key.metrics.dead_lettered.inc();
        let place = place(at, tries, cause);
        self.send(queue, dead_letter::of_emission(at.ticket.share(), place, (index, payload), &cause.detail));
    }

    /// Adds an output of a route, for the sink that it names.
    pub(super) fn output(&mut self, at: EventPosition<'_>, output: RouteOutput<'_>) {
        let EventPosition { key, route, ticket, order, .. } = at;
        let RouteOutput { sink, index, payload, subject, headers, id } = output;
        key.metrics.outputs.inc();
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
        };
        self.send(&sink.queue, output);
    }
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

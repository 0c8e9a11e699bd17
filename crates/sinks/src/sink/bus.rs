//! Outputs to a bus of the embedding program.
//!
//! An output is confirmed when its publish returns: it is then in the buffer of every subscription
//! that it fits, or dropped there by that subscription's policy. A subscription that makes
//! publishers wait makes this sink wait, and nothing else.

use std::{
    collections::VecDeque,
    future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use anyhow::anyhow;
use bytestring::ByteString;
use tokio::time::Instant;

use super::{Confirmation, Output, Sink, SinkRefusal, Slot};
use crate::{
    bus::{Bus, BusClosed, Envelope, PublishReport},
    config::{self, OutputField},
    event::{
        TraceParent,
        identity::{HOPS, TRACEPARENT},
    },
    nats::SubjectTemplate,
    sink::nats::placeholder,
};

/// Shortest time between two warnings that subscriptions lose outputs.
const QUIET: Duration = Duration::from_secs(10);
/// Header that becomes the envelope's `source`, as the source of type `bus` makes it one.
const SOURCE: &str = "source";

/// Sink that publishes outputs on a bus, one after another, so that they keep their order.
pub struct BusPublisher {
    name: String,
    bus: Bus,
    template: SubjectTemplate<OutputField>,
    /// Outputs that wait for the one before them, in order.
    waiting: VecDeque<(Slot, Envelope)>,
    /// The publish under way. Held here, since dropping it would call it off.
    running: Option<(Slot, RunningPublish)>,
    /// Outputs published and not reported yet, up to this one.
    published: Option<Slot>,
    /// Losses not logged yet, and the time until which they are not.
    lost: usize,
    quiet: Option<Instant>,
}

type RunningPublish = Pin<Box<dyn Future<Output = Result<PublishReport, BusClosed>> + Send>>;

impl BusPublisher {
    /// Creates a sink for `bus`.
    pub fn new(name: &str, bus: &Bus, settings: &config::BusSink) -> Self {
        Self {
            name: name.to_owned(),
            bus: bus.clone(),
            template: SubjectTemplate::new(settings.subject.clone()),
            waiting: VecDeque::new(),
            running: None,
            published: None,
            lost: 0,
            quiet: None,
        }
    }

    fn begin(&mut self, slot: Slot, envelope: Envelope) -> &mut RunningPublish {
        let bus = self.bus.clone();
        let publish = Box::pin(async move { bus.publish(envelope).await });
        &mut self.running.insert((slot, publish)).1
    }

    /// Notes that the running publish has ended.
    fn ended(&mut self, slot: Slot, result: Result<PublishReport, BusClosed>) -> Result<(), SinkRefusal> {
        self.running = None;
        let report = result.map_err(closed)?;
        self.published = Some(slot);
        self.lost += report.lost;
        let now = Instant::now();
        if self.lost > 0 && self.quiet.is_none_or(|until| now >= until) {
            tracing::warn!(sink = self.name, lost = self.lost, "subscriptions of the bus lose outputs");
            (self.lost, self.quiet) = (0, Some(now + QUIET));
        }
        Ok(())
    }
}

impl Sink for BusPublisher {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let envelope = envelope(&mut self.template, output)?;
        if self.running.is_some() {
            self.waiting.push_back((slot, envelope));
            return Ok(());
        }
        let publish = self.begin(slot, envelope);
        // Waiting is for `confirm`, which lets the router write more, or end.
        match publish.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => self.ended(slot, result),
            Poll::Pending => Ok(()),
        }
    }

    async fn confirm(&mut self) -> Confirmation {
        if let Some(slot) = self.published.take() {
            return Confirmation::Through(slot);
        }
        let Some((slot, publish)) = &mut self.running else { return future::pending().await };
        let (slot, result) = (*slot, publish.await);
        let ended = self.ended(slot, result);
        if let Some((next, envelope)) = self.waiting.pop_front() {
            self.begin(next, envelope);
        }
        match ended {
            Ok(()) => {
                self.published = None;
                Confirmation::Through(slot)
            }
            Err(refusal) => Confirmation::Refused(slot, refusal),
        }
    }
}

fn closed(error: BusClosed) -> SinkRefusal {
    SinkRefusal::Never("bus_closed", error.into())
}

/// Makes the envelope of an output. Its id is that of the output: the same for every redelivery.
fn envelope(template: &mut SubjectTemplate<OutputField>, output: &Output) -> Result<Envelope, SinkRefusal> {
    let subject = template.fill(|field| placeholder(field, output));
    let bad_subject = |why: anyhow::Error| SinkRefusal::Never("bad_subject", why);
    let subject = subject.map_err(bad_subject)?.into_string();
    let mut envelope = Envelope::new(subject).map_err(|why| bad_subject(anyhow!(why)))?;
    envelope = envelope.with_json(output.payload.clone());
    envelope.id = output.id().to_string().into();
    let event = output.ticket.event();
    envelope.time = event.source_time.as_deref().and_then(|time| time.parse().ok());
    (envelope.trace_id, envelope.span_id) = (None, None);
    for (name, value) in output.headers().iter() {
        let trace = || TraceParent::parse(value).filter(|_| name.eq_ignore_ascii_case(TRACEPARENT));
        if name == SOURCE {
            envelope.source.get_or_insert_with(|| value.clone());
        } else if let Some(TraceParent { trace_id, span_id, .. }) = trace() {
            (envelope.trace_id, envelope.span_id) = (Some(trace_id.into()), Some(span_id.into()));
        } else {
            // A header may come more than once: the first one counts everywhere.
            envelope.headers.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    if let Some(hops) = event.hops_of_outputs() {
        envelope.headers.retain(|name, _| !name.eq_ignore_ascii_case(HOPS));
        envelope.headers.insert(ByteString::from_static(HOPS), hops.to_string().into());
    }
    Ok(envelope)
}

/// Returns the subject to which a sink publishes an output.
///
/// # Errors
/// Returns an error if it is not a valid subject.
pub(super) fn subject(settings: &config::BusSink, output: &Output) -> Result<String, SinkRefusal> {
    envelope(&mut SubjectTemplate::new(settings.subject.clone()), output).map(|envelope| envelope.subject().to_string())
}

#[cfg(test)]
mod tests;

//! Outputs to NATS: into a JetStream stream, or to core subscribers.
//!
//! Publishing to JetStream keeps a window of messages under way. All acks arrive on one
//! subscription, told apart by the slot in their subject, and one queue holds all the deadlines. A
//! lost connection is not restored: the outlet repeats from the first unconfirmed output, on a new
//! one, so that nothing overtakes. Repeats carry the same `Nats-Msg-Id`.
//!
//! What goes to a stream that allows batches is published by fast ingest (`ingest.rs`): it waits in
//! the sink until [`Sink::confirm`], where all that was written together is published together.

use std::{collections::VecDeque, fmt::Write, future, pin::pin, sync::Arc, time::Duration};

use anyhow::anyhow;
use async_nats::{HeaderMap, Subject, client::traits::Publisher, header, message::OutboundMessage};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, timeout};

use crate::{
    config::{self, OutputField},
    event::identity::HOPS,
    nats::{ConnectError, ConnectionLife, NoPermission, SubjectTemplate, connect, header_map},
    sink::{Confirmation, Output, Sink, SinkRefusal, Slot},
    timer::sleep_until_due,
};

mod answer;
mod ingest;
mod live;
mod streams;
mod window;

use live::{LiveConnection, QueuedMessage, unsendable, writable};

/// Sink that publishes outputs. Settings decide whether a stream has to confirm them.
pub struct NatsPublisher {
    name: Arc<str>,
    nats: config::NatsConfig,
    /// Servers that the last one has named.
    discovered: Vec<String>,
    jetstream: bool,
    message_id: bool,
    ack_timeout: Duration,
    /// Outputs that may be under way.
    window: usize,
    template: SubjectTemplate<OutputField>,
    live: Option<LiveConnection>,
    /// Reports of a connection that has ended since.
    reports: VecDeque<Confirmation>,
    /// Slots written to a connection that has ended since, and not reported yet.
    lost: VecDeque<Slot>,
    /// Denied subscription for which the last connection was given up, if any.
    unheard: Option<NoPermission>,
}

impl NatsPublisher {
    /// Creates a sink with a connection of its own, which it opens with its first output, and anew
    /// whenever it is lost.
    pub fn new(name: &str, nats: &config::NatsConfig, settings: &config::NatsSink) -> Self {
        Self {
            name: name.into(),
            nats: nats.clone(),
            discovered: Vec::new(),
            jetstream: settings.jetstream,
            message_id: settings.message_id,
            ack_timeout: settings.ack_timeout,
            window: settings.window,
            template: SubjectTemplate::new(settings.subject.clone()),
            live: None,
            reports: VecDeque::new(),
            lost: VecDeque::new(),
            unheard: None,
        }
    }

    /// Keeps outputs away from subjects that begin with `prefix`.
    pub fn reserving(self, prefix: Option<String>) -> Self {
        Self { template: self.template.reserving(prefix), ..self }
    }

    /// Connects to the servers that are configured or, since those may be away, that the last one
    /// named.
    async fn connect(&mut self) -> Result<LiveConnection, ConnectError> {
        let mut nats = self.nats.clone();
        nats.urls.extend_from_slice(&self.discovered);
        let connection = connect(&nats, &format!("sink {}", self.name), ConnectionLife::Single).await?;
        self.discovered = connection.servers();
        LiveConnection::new(connection, self.window).await
    }

    /// Returns the connection, a new one if the last has ended.
    async fn live(&mut self) -> Result<&mut LiveConnection, SinkRefusal> {
        if self.live.as_ref().is_some_and(|live| !live.connection.is_connected()) {
            self.lose();
        }
        if !self.lost.is_empty() {
            // These must be reported to the outlet first, or they would be overtaken.
            return Err(SinkRefusal::Later(self.connection_lost()));
        }
        let live = match self.live.take() {
            Some(live) => live,
            None => self.connect().await.map_err(|error| SinkRefusal::Later(error.into()))?,
        };
        Ok(self.live.insert(live))
    }

    /// Gives up the connection, which has ended, and with it the outputs under way on it.
    fn lose(&mut self) {
        if let Some(mut live) = self.live.take() {
            self.reports.append(&mut live.reports);
            self.lost.extend(live.window.drain());
            self.unheard = live.connection.unheard();
        }
    }

    fn connection_lost(&self) -> anyhow::Error {
        match &self.unheard {
            Some(denial) => denial.clone().into(),
            None => anyhow!("the connection to NATS was lost"),
        }
    }

    /// Returns the headers that are published with an output, if any.
    fn headers(&self, output: &Output) -> Result<Option<HeaderMap>, SinkRefusal> {
        let hops = output.ticket.event().hops_of_outputs();
        if output.headers().is_empty() && hops.is_none() && !self.message_id {
            return Ok(None);
        }
        let mut map = header_map(output.headers()).map_err(|why| SinkRefusal::Never("bad_header", why))?;
        if let Some(hops) = hops {
            map.insert(HOPS, hops.to_string());
        }
        if self.message_id {
            map.insert(header::NATS_MESSAGE_ID, message_id(output, &self.name));
        }
        Ok(Some(map))
    }
}

/// Returns the `Nats-Msg-Id` of an output for a sink: an output may go to several sinks, and an id
/// counts for the whole stream.
pub fn message_id(output: &Output, sink: &str) -> String {
    let mut id = String::with_capacity(96);
    // Writing to a `String` does not fail.
    let _ = write!(id, "{}:{sink}", output.id());
    id
}

impl Sink for NatsPublisher {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let subject = self.template.fill(|field| placeholder(field, output));
        let subject = subject.map_err(|why| SinkRefusal::Never("bad_subject", why))?;
        let headers = self.headers(output)?;
        let (jetstream, patience) = (self.jetstream, self.ack_timeout);
        let live = self.live().await?;
        let mut message = QueuedMessage { subject, payload: output.payload.clone(), headers };
        if jetstream {
            match live.queue(slot, message, patience) {
                Some(unqueued) => message = unqueued,
                None => return Ok(()),
            }
        }
        let reply = jetstream.then(|| live.reply(slot));
        let (client, QueuedMessage { subject, payload, headers }) = (live.connection.client(), message);
        let published = client.publish_message(OutboundMessage { subject: subject.clone(), reply, payload, headers });
        let mut published = pin!(published);
        // Waits while the client can't send. A timer costs more than what it would watch, so only
        // then.
        let published = match published.as_mut().now_or_never() {
            Some(published) => Ok(published),
            None => timeout(patience, published).await,
        };
        match published {
            Ok(Ok(())) => {
                live.window.insert(slot, subject, Instant::now() + patience);
                Ok(())
            }
            Ok(Err(error)) => Err(unsendable(error)),
            Err(_) => Err(SinkRefusal::Later(anyhow!("nothing could be sent for {patience:?}"))),
        }
    }

    fn keeps_order(&self) -> bool {
        !self.jetstream || self.live.as_ref().is_some_and(|live| live.streams.keep_order())
    }

    async fn confirm(&mut self) -> Confirmation {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            if let Some(slot) = self.lost.pop_front() {
                return later(slot, self.connection_lost());
            }
            let Some(live) = &mut self.live else { return future::pending().await };
            let confirmed = if self.jetstream { acked(live, self.ack_timeout).await } else { flushed(live).await };
            match confirmed {
                Some(confirmation) => return confirmation,
                None => self.lose(),
            }
        }
    }
}

/// Returns the subject to which a sink publishes an output.
///
/// # Errors
/// Returns an error if NATS can't send the output.
pub(super) fn subject(
    settings: &config::NatsSink,
    reserved: Option<String>,
    output: &Output,
) -> Result<Subject, SinkRefusal> {
    let mut template = SubjectTemplate::new(settings.subject.clone()).reserving(reserved);
    let subject =
        template.fill(|field| placeholder(field, output)).map_err(|why| SinkRefusal::Never("bad_subject", why))?;
    header_map(output.headers()).map_err(|why| SinkRefusal::Never("bad_header", why))?;
    Ok(subject)
}

/// Returns the raw value of a placeholder in the sink's subject.
pub fn placeholder<'a>(field: &'a OutputField, output: &'a Output) -> &'a str {
    field.value(output.ticket.event(), output.subject(), output.headers(), &output.key)
}

/// Waits for the next report about outputs, from an answer of a stream or a deadline without one,
/// and publishes what waits for its turn. `None` if the connection has ended. Cancel safe.
async fn acked(live: &mut LiveConnection, ack_timeout: Duration) -> Option<Confirmation> {
    loop {
        if let Some(report) = live.reports.pop_front() {
            return Some(report);
        }
        // Before the deadlines: an ack that has arrived counts, also if its time is over.
        let message = match live.acks.next().now_or_never() {
            Some(message) => message,
            None => {
                let all_published = live.publish_queued().ok()?;
                if !live.reports.is_empty() {
                    continue;
                }
                let deadline = live.window.deadline();
                tokio::select! {
                    message = live.acks.next() => message,
                    () = writable(&mut live.publisher), if !all_published => continue,
                    () = sleep_until_due(deadline) => {
                        live.expired(ack_timeout);
                        continue;
                    }
                    () = live.connection.noticed() => match live.denied() || live.connection.is_connected() {
                        true => continue,
                        false => None,
                    },
                }
            }
        };
        live.answered(&message?);
    }
}

/// Flushes the connection, as core NATS confirms nothing: what the server was given counts as
/// taken. `None` if the connection has ended. Cancel safe.
async fn flushed(live: &mut LiveConnection) -> Option<Confirmation> {
    let last = live.window.last();
    live.connection.flush().await.ok().filter(|()| live.connection.is_connected())?;
    if live.denied() {
        return live.reports.pop_front();
    }
    let Some(last) = last else { return future::pending().await };
    live.window.drain();
    Some(Confirmation::Through(last))
}

fn later(slot: Slot, why: anyhow::Error) -> Confirmation {
    Confirmation::Refused(slot, SinkRefusal::Later(why))
}

/// Refuses an output that the stream of its subject does not take now.
fn apart(slot: Slot, why: anyhow::Error) -> Confirmation {
    Confirmation::Refused(slot, SinkRefusal::Apart(why))
}

//! Connection with the outputs under way on it.

use std::{
    collections::VecDeque,
    fmt::{self, Write},
    future::poll_fn,
    time::Duration,
};

use anyhow::anyhow;
use async_nats::{
    Client, HeaderMap, Message, PublishError, PublishErrorKind, StatusCode, Subject, Subscriber,
    message::OutboundMessage,
};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt};
use tokio::time::Instant;

use super::{
    answer::{self, BatchWord, PublishAck},
    apart,
    ingest::{BatchOperation, BatchPlace, IngestReport, PublishStep},
    streams::ConfirmedStreams,
    window::PublishWindow,
};
use crate::{
    nats::{ConnectError, Connection, NoPermission},
    sink::{Confirmation, SinkRefusal, Slot},
};

/// Size of the buffers that reply subjects are cut from instead of being allocated one by one.
const BUFFER: usize = 16 * 1024;
const LONGEST_REPLY: usize = 160;
/// Most messages for each flow ack that the server grants.
const MOST_FLOW: usize = 500;

pub(super) struct LiveConnection {
    pub(super) connection: Connection,
    pub(super) acks: Subscriber,
    pub(super) window: PublishWindow,
    pub(super) streams: ConfirmedStreams,
    /// Reports that are ready.
    pub(super) reports: VecDeque<Confirmation>,
    /// Client whose place for the next message may be reserved.
    pub(super) publisher: Client,
    /// Prefix of reply subjects.
    inbox: String,
    /// Last token of the inbox: unique, so ids of batches begin with it.
    token: String,
    /// Messages for each flow ack.
    flow: usize,
    buffer: BytesMut,
    /// Number of denials that were checked.
    denials: u64,
}

/// Message that waits for its turn.
pub(super) struct QueuedMessage {
    pub(super) subject: Subject,
    pub(super) payload: Bytes,
    pub(super) headers: Option<HeaderMap>,
}

impl LiveConnection {
    /// `window` is the number of outputs that may be under way.
    pub(super) async fn new(connection: Connection, window: usize) -> Result<Self, ConnectError> {
        let inbox = format!("{}.", connection.client().new_inbox());
        let acks = connection.subscribe(format!("{inbox}>")).await?;
        let token = inbox.trim_end_matches('.').rsplit('.').next().unwrap_or_default().to_owned();
        Ok(Self {
            publisher: connection.client().clone(),
            connection,
            acks,
            window: PublishWindow::default(),
            streams: ConfirmedStreams::default(),
            reports: VecDeque::new(),
            inbox,
            token,
            // Two acks may be due at once.
            flow: (window / 2).clamp(1, MOST_FLOW),
            buffer: BytesMut::new(),
            denials: 0,
        })
    }

    /// Returns the subject on which the stream is to answer.
    pub(super) fn reply(&mut self, slot: Slot) -> Subject {
        cut(&mut self.buffer, format_args!("{}{slot}", self.inbox))
    }

    /// Queues an output for fast ingest. Returns it if its stream does not take it that way.
    pub(super) fn queue(&mut self, slot: Slot, message: QueuedMessage, patience: Duration) -> Option<QueuedMessage> {
        let Some(stream) = self.streams.ingesting(&message.subject) else { return Some(message) };
        self.window.insert(slot, message.subject.clone(), Instant::now() + patience);
        stream.ingest.push(slot, message);
        None
    }

    /// Publishes what fast ingest lets go. Returns false if the client has no room; then it is to
    /// be called again after [`writable`].
    ///
    /// # Errors
    /// Returns an error if the connection has ended.
    pub(super) fn publish_queued(&mut self) -> Result<bool, PublishError> {
        let mut index = 0;
        while let Some(stream) = self.streams.get_mut(index) {
            let Some(step) = stream.ingest.next(stream.is_fast()) else {
                index += 1;
                continue;
            };
            match poll_fn(|context| self.publisher.poll_ready_unpin(context)).now_or_never() {
                Some(ready) => ready?,
                None => return Ok(false),
            }
            match step {
                PublishStep::Alone => self.publish_alone(index)?,
                PublishStep::InBatch(place) => self.publish_in_batch(index, place)?,
            }
        }
        Ok(true)
    }

    fn publish_alone(&mut self, index: usize) -> Result<(), PublishError> {
        let Some((slot, message)) = self.streams.get_mut(index).and_then(|stream| stream.ingest.take()) else {
            return Ok(());
        };
        let reply = self.reply(slot);
        self.send(slot, message, reply).map(|_| ())
    }

    fn publish_in_batch(&mut self, index: usize, place: BatchPlace) -> Result<(), PublishError> {
        let BatchPlace { batch, sequence, operation } = place;
        let Self { inbox, token, flow, buffer, .. } = self;
        let code = operation as u8;
        let reply = cut(buffer, format_args!("{inbox}{index}.{token}-{batch}.{flow}.fail.{sequence}.{code}.$FI"));
        let Some(stream) = self.streams.get_mut(index) else { return Ok(()) };
        if operation == BatchOperation::End {
            let subject = stream.subject.clone().unwrap_or_else(|| Subject::from_static("_"));
            stream.ingest.sent(place, None);
            let (payload, headers) = (Bytes::new(), None);
            return self.publisher.start_send_unpin(OutboundMessage { subject, reply: Some(reply), payload, headers });
        }
        let Some((slot, message)) = stream.ingest.take() else { return Ok(()) };
        let subject = message.subject.clone();
        if self.send(slot, message, reply)?
            && let Some(stream) = self.streams.get_mut(index)
        {
            stream.subject = Some(subject);
            stream.ingest.sent(place, Some(slot));
        }
        Ok(())
    }

    /// Hands a message to the client. Returns false if it can't be sent, which is reported.
    fn send(&mut self, slot: Slot, message: QueuedMessage, reply: Subject) -> Result<bool, PublishError> {
        let QueuedMessage { subject, payload, headers } = message;
        let sent = self.publisher.start_send_unpin(OutboundMessage { subject, reply: Some(reply), payload, headers });
        match sent {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == PublishErrorKind::Send => Err(error),
            Err(error) => {
                self.window.remove(slot);
                self.reports.push_back(Confirmation::Refused(slot, unsendable(error)));
                Ok(false)
            }
        }
    }

    /// Takes an answer, and notes what it means for the outputs.
    pub(super) fn answered(&mut self, message: &Message) {
        let Some(rest) = message.subject.strip_prefix(&self.inbox) else { return };
        match answer::reply_place(rest) {
            Some((index, place)) => self.answered_in_batch(index, place, message),
            None => {
                if let Ok(slot) = rest.parse() {
                    self.answered_alone(slot, message);
                }
            }
        }
    }

    fn answered_alone(&mut self, slot: Slot, message: &Message) {
        let Some(subject) = self.window.remove(slot) else { return };
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            // A stream that comes back may take what is under way behind this one.
            self.streams.refused();
            return self.reports.push_back(apart(slot, anyhow!("no stream keeps `{subject}`")));
        }
        let report = match serde_json::from_slice(&message.payload) {
            Ok(PublishAck { error: Some(refusal), .. }) => {
                self.streams.refused();
                Confirmation::Refused(slot, refusal.meaning(&subject))
            }
            Ok(PublishAck { stream, seq: 1.., duplicate, .. }) => {
                self.streams.confirmed(&stream, &self.connection);
                if duplicate { Confirmation::Known(slot) } else { Confirmation::One(slot) }
            }
            _ => apart(slot, anyhow!("what answers on `{subject}` is not a stream")),
        };
        self.reports.push_back(report);
    }

    fn answered_in_batch(&mut self, index: usize, place: BatchPlace, message: &Message) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let (batch, mut reports) = (place.batch, Vec::new());
        let word = match message.status {
            Some(StatusCode::NO_RESPONDERS) => BatchWord::Gone,
            _ => BatchWord::of(&message.payload, place.operation),
        };
        let is_whole = match word {
            BatchWord::Flow { through, every } => {
                stream.ingest.flow(batch, through, every, &mut reports);
                self.streams.acked(index, &self.connection);
                true
            }
            BatchWord::Ended { count } => stream.ingest.ended(batch, count, &mut reports),
            BatchWord::Gone => !stream.ingest.gone(batch, &mut reports),
            BatchWord::Refused { sequence, refusal } => {
                match stream.ingest.refused(batch, sequence.unwrap_or(place.sequence)) {
                    Some(slot) => {
                        if let Some(subject) = self.window.remove(slot) {
                            self.reports.push_back(Confirmation::Refused(slot, refusal.meaning(&subject)));
                        }
                        false
                    }
                    None => true,
                }
            }
            // A gap is followed by the ack that ends the batch.
            BatchWord::Nothing => true,
        };
        if !is_whole {
            self.streams.refused();
            if let Some(stream) = self.streams.get_mut(index) {
                stream.slow_down();
            }
        }
        for report in reports {
            let (IngestReport::Stored(slot) | IngestReport::Returned(slot)) = report;
            if self.window.remove(slot).is_some() {
                self.reports.push_back(match report {
                    IngestReport::Stored(slot) => Confirmation::One(slot),
                    IngestReport::Returned(slot) => Confirmation::Returned(slot),
                });
            }
        }
    }

    /// Takes out outputs whose subject was denied since the last check, one with each call. Returns
    /// whether there was one.
    pub(super) fn denied(&mut self) -> bool {
        let concerns = |denial: &NoPermission| denial.publish && self.window.find(&denial.subject).is_some();
        let Some(denial) = self.connection.denied_since(self.denials, concerns) else {
            self.denials = self.connection.denials();
            return false;
        };
        if let Some(slot) = self.window.find(&denial.subject) {
            self.window.remove(slot);
            if let Some(stream) = self.streams.holding(slot) {
                stream.ingest.forget(slot);
                stream.slow_down();
            }
            self.reports.push_back(apart(slot, denial.into()));
        }
        true
    }

    /// Takes out an output whose deadline has passed, and with it what waits in the same batch.
    pub(super) fn expired(&mut self, ack_timeout: Duration) {
        let Some((slot, subject)) = self.window.expired(Instant::now()) else { return };
        let concerns = |denial: &NoPermission| match denial.publish {
            true => denial.subject == *subject,
            false => self.inbox.starts_with(denial.subject.trim_end_matches('*')),
        };
        let denial = self.connection.denied_since(0, concerns);
        let mut slots = vec![slot];
        if let Some(stream) = self.streams.holding(slot) {
            slots = stream.ingest.drain();
            stream.slow_down();
            slots.iter().for_each(|slot| drop(self.window.remove(*slot)));
        }
        self.reports.extend(slots.into_iter().map(|slot| match &denial {
            Some(denial) => apart(slot, denial.clone().into()),
            None => apart(slot, anyhow!("no stream confirmed `{subject}` within {ack_timeout:?}")),
        }));
    }
}

/// Waits until the client has room for a message. Cancel safe.
pub(super) async fn writable(publisher: &mut Client) {
    // An error is met again by the next message.
    let _ = poll_fn(|context| publisher.poll_ready_unpin(context)).await;
}

/// Writes a subject into a buffer, and cuts it off.
fn cut(buffer: &mut BytesMut, text: fmt::Arguments<'_>) -> Subject {
    if buffer.capacity() < LONGEST_REPLY {
        buffer.reserve(BUFFER);
    }
    // Writing to a buffer that grows does not fail.
    let _ = buffer.write_fmt(text);
    let bytes = buffer.split().freeze();
    Subject::try_from(bytes).unwrap_or_else(|_| Subject::from(text.to_string()))
}

/// Returns the refusal of a message that the client does not send.
pub(super) fn unsendable(error: PublishError) -> SinkRefusal {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => SinkRefusal::Never("too_large", error.into()),
        PublishErrorKind::InvalidSubject => SinkRefusal::Never("bad_subject", error.into()),
        PublishErrorKind::Send => SinkRefusal::Later(error.into()),
    }
}

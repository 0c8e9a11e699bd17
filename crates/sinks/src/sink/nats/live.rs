//! Connection with the outputs under way on it.

use std::{borrow::Cow, fmt::Write, time::Duration};

use anyhow::anyhow;
use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::BytesMut;
use serde::Deserialize;
use tokio::time::Instant;

use crate::{
    nats::{ConnectError, Connection, NoPermission, code},
    sink::{
        Confirmation, SinkRefusal, Slot,
        nats::{apart, streams::ConfirmedStreams, window::PublishWindow},
    },
};

/// Size of the buffers that reply subjects are cut from instead of being allocated one by one.
const BUFFER: usize = 16 * 1024;
const LONGEST_REPLY: usize = 128;

pub(super) struct LiveConnection {
    pub(super) connection: Connection,
    pub(super) acks: Subscriber,
    pub(super) window: PublishWindow,
    pub(super) streams: ConfirmedStreams,
    /// Prefix of the slot in a reply subject.
    inbox: String,
    buffer: BytesMut,
    /// Number of denials that were checked.
    denials: u64,
}

/// Answer of a stream.
#[derive(Deserialize)]
struct PublishAck<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<PublishRefusal>,
}

#[derive(Deserialize)]
struct PublishRefusal {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl LiveConnection {
    pub(super) async fn new(connection: Connection) -> Result<Self, ConnectError> {
        let inbox = format!("{}.", connection.client().new_inbox());
        let acks = connection.subscribe(format!("{inbox}*")).await?;
        let (window, streams, buffer) = (PublishWindow::default(), ConfirmedStreams::default(), BytesMut::new());
        Ok(Self { connection, acks, window, streams, inbox, buffer, denials: 0 })
    }

    /// Returns the subject on which the stream is to answer.
    pub(super) fn reply(&mut self, slot: Slot) -> Subject {
        if self.buffer.capacity() < LONGEST_REPLY {
            self.buffer.reserve(BUFFER);
        }
        let _ = write!(self.buffer, "{}{slot}", self.inbox);
        let bytes = self.buffer.split().freeze();
        Subject::try_from(bytes).unwrap_or_else(|_| Subject::from(format!("{}{slot}", self.inbox)))
    }

    /// Returns the meaning of an answer for its output. `None` if that is not under way any more.
    pub(super) fn answered(&mut self, message: &Message) -> Option<Confirmation> {
        let slot = message.subject.strip_prefix(&self.inbox)?.parse().ok()?;
        let subject = self.window.remove(slot)?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            // A stream that comes back may take what is under way behind this one.
            self.streams.refused();
            return Some(apart(slot, anyhow!("no stream keeps `{subject}`")));
        }
        Some(match serde_json::from_slice(&message.payload) {
            Ok(PublishAck { error: Some(refusal), .. }) => {
                self.streams.refused();
                Confirmation::Refused(slot, refusal.meaning(&subject))
            }
            Ok(PublishAck { stream, seq: 1.., duplicate, .. }) => {
                self.streams.confirmed(&stream, &self.connection);
                if duplicate { Confirmation::Known(slot) } else { Confirmation::One(slot) }
            }
            _ => apart(slot, anyhow!("what answers on `{subject}` is not a stream")),
        })
    }

    /// Takes out an output whose subject was denied since the last check.
    pub(super) fn denied(&mut self) -> Option<Confirmation> {
        let concerns = |denial: &NoPermission| denial.publish && self.window.find(&denial.subject).is_some();
        match self.connection.denied_since(self.denials, concerns) {
            Some(denial) => {
                let slot = self.window.find(&denial.subject)?;
                self.window.remove(slot);
                Some(apart(slot, denial.into()))
            }
            None => {
                self.denials = self.connection.denials();
                None
            }
        }
    }

    /// Takes out an output whose deadline has passed.
    pub(super) fn expired(&mut self, ack_timeout: Duration) -> Option<Confirmation> {
        let (slot, subject) = self.window.expired(Instant::now())?;
        let concerns = |denial: &NoPermission| match denial.publish {
            true => denial.subject == *subject,
            false => self.inbox.starts_with(denial.subject.trim_end_matches('*')),
        };
        Some(match self.connection.denied_since(0, concerns) {
            Some(denial) => apart(slot, denial.into()),
            None => apart(slot, anyhow!("no stream confirmed `{subject}` within {ack_timeout:?}")),
        })
    }
}

impl PublishRefusal {
    fn meaning(self, subject: &Subject) -> SinkRefusal {
        let Self { err_code, description } = self;
        let why = anyhow!("the stream of `{subject}` says: {description} (error code {err_code})");
        match err_code {
            code::MESSAGE_EXCEEDS_MAXIMUM => SinkRefusal::Never("too_large", why),
            code if code::is_final(code) => SinkRefusal::Never("refused_by_stream", why),
            _ => SinkRefusal::Apart(why),
        }
    }
}

//! Where outputs go. A sink knows how to write and how to hear that the destination has taken responsibility; what to
//! do when it has not is the [`outlet`]'s, the same for all.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{ack::Ticket, event::Headers};

pub mod blocking;
mod chunk;
pub mod dead_letter;
#[cfg(test)]
mod double;
pub mod file;
pub mod folder;
pub mod line;
pub mod nats;
pub mod null;
pub mod outlet;
mod permissions;
mod safe;
pub mod stdout;
pub mod webhook;

/// One output of a route, with the duty to settle its event.
#[derive(Debug)]
pub struct Output {
    /// Holds the event.
    pub ticket: Ticket,
    pub key: Arc<str>,
    /// The route's name: stable over restarts as long as its key, params and sinks stay.
    pub route: Arc<str>,
    /// Position among the outputs of this event and route, from 0.
    pub index: u32,
    pub payload: Bytes,
    /// The filter's own choice; otherwise the event's subject counts.
    pub subject: Option<ByteString>,
    /// The headers that the output leaves with, when they are not the event's own.
    pub headers: Option<Headers>,
    /// Set when this is a dead letter: the reason code under which its event is settled.
    pub dead_letter: Option<&'static str>,
}

impl Output {
    pub fn subject(&self) -> &ByteString {
        self.subject.as_ref().unwrap_or(&self.ticket.event().subject)
    }

    pub fn headers(&self) -> &Headers {
        self.headers.as_ref().unwrap_or(&self.ticket.event().headers)
    }

    /// The deterministic id, the same for every redelivery of the event: destinations drop repeats by it.
    pub fn id(&self) -> OutputId<'_> {
        OutputId(self)
    }
}

/// Writes `EVENT-ID:KEY:ROUTE:INDEX`.
pub struct OutputId<'a>(&'a Output);

impl fmt::Display for OutputId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { ticket, key, route, index, .. } = self.0;
        write!(f, "{}:{key}:{route}:{index}", ticket.event().id)
    }
}

/// Numbers the outputs of one sink in the order in which they were handed over. A repeated try keeps its number.
pub type Slot = u64;

/// What a destination said.
#[derive(Debug)]
pub enum Confirmation {
    /// It has taken this output and every one before it.
    Through(Slot),
    /// It has taken this output.
    One(Slot),
    /// It has not taken this output.
    Refused(Slot, Refusal),
}

/// Why an output was not taken. Named after the reaction.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Try again later: the destination is away, full, or slow.
    #[error("the destination can't take it now")]
    Later(#[source] anyhow::Error),
    /// This output can never be taken. Holds the reason code of its dead letter.
    #[error("the destination will never take it: `{0}`")]
    Never(&'static str, #[source] anyhow::Error),
    /// Whoever read this sink has left, as with a closed pipe: the router ends in good order.
    #[error("the reader has left")]
    Closed,
}

/// A destination. One [`outlet`] owns and drives it, from one task.
pub trait Sink: Send + 'static {
    /// Starts to write one output. May only buffer it; [`Self::confirm`] tells how it ended. An error concerns this
    /// output alone, which then is not confirmed.
    fn write(&mut self, slot: Slot, output: &Output) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Waits for the next word about outputs that were written. Called only while some are unconfirmed. Must be cancel
    /// safe: the outlet drops it when there is more to write.
    fn confirm(&mut self) -> impl Future<Output = Confirmation> + Send;
}

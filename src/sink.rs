//! Where outputs go. A sink knows how to write and how to hear that the destination has taken responsibility; what to
//! do when it has not is the [`outlet`]'s, the same for all.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::OwnedSemaphorePermit;

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
pub mod preview;
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
    /// Outputs that agree in it leave in the order of their events: a hash of the key and the event's ordering value.
    /// `None` where any order will do.
    pub order: Option<u64>,
    /// Set when this is a dead letter: the reason code under which its event is settled.
    pub dead_letter: Option<&'static str>,
    /// Its part of the bytes that its sink may hold.
    pub share: Option<OwnedSemaphorePermit>,
}

impl Output {
    pub fn subject(&self) -> &ByteString {
        self.subject.as_ref().unwrap_or(&self.ticket.event().subject)
    }

    pub fn headers(&self) -> &Headers {
        self.headers.as_ref().unwrap_or(&self.ticket.event().headers)
    }

    /// The bytes that it holds beside its event's.
    fn own_bytes(&self) -> usize {
        let event = &self.ticket.event().payload;
        // The same bytes lie at the same place.
        let is_events = self.payload.as_ptr() == event.as_ptr() && self.payload.len() == event.len();
        let payload = if is_events { 0 } else { self.payload.len() };
        payload
            + self.subject.as_ref().map_or(0, |subject| subject.len())
            + self.headers.as_ref().map_or(0, Headers::size)
    }

    /// The deterministic id, the same for every redelivery of the event: destinations drop repeats by it.
    pub fn id(&self) -> OutputId<'_> {
        OutputId(self)
    }
}

/// Writes `UID:KEY:ROUTE:INDEX`. No content gets into it: keys and routes are named by the configuration.
pub struct OutputId<'a>(&'a Output);

impl fmt::Display for OutputId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { ticket, key, route, index, .. } = self.0;
        write!(f, "{}:{key}:{route}:{index}", ticket.event().uid)
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
    /// It had taken this output before, and drops the repeat.
    Known(Slot),
    /// It has not taken this output.
    Refused(Slot, Refusal),
}

/// Why an output was not taken. Named after the reaction.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Try again later: the sink is away, full, or slow, and takes nothing.
    #[error("the destination can't take it now")]
    Later(#[source] anyhow::Error),
    /// Try again later: the subject, stream or file that this output goes to can't take it. Others may be taken.
    #[error("the destination can't take it now")]
    Apart(#[source] anyhow::Error),
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

    /// Whether of outputs under way together none is taken when an earlier one is not. Otherwise those that must stay in
    /// order are written one by one.
    fn keeps_order(&self) -> bool {
        true
    }

    /// Waits for the next word about outputs that were written. Called only while some are unconfirmed. Must be cancel
    /// safe: the outlet drops it when there is more to write.
    fn confirm(&mut self) -> impl Future<Output = Confirmation> + Send;
}

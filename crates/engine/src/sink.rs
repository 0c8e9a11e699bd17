//! Destinations of outputs. A sink writes outputs and reports for which of them the destination has
//! taken responsibility; retries and the handling of refusals are the [`outlet`]'s, the same for
//! all sinks.

use std::{fmt, sync::Arc, time::Instant};

use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::OwnedSemaphorePermit;

use crate::{ack::Ticket, event::Headers};

pub mod dead_letter;
pub mod double;
pub mod outlet;

/// One output of a route, with the duty to settle its event.
#[derive(Debug)]
pub struct Output {
    /// Share of the duty to settle the event, which it holds.
    pub ticket: Ticket,
    pub key: Arc<str>,
    /// The route's name: stable over restarts as long as its key, params and sinks stay.
    pub route: Arc<str>,
    /// Position among the outputs of this event and route, from 0.
    pub index: u32,
    pub payload: Bytes,
    /// Id chosen by the filter; otherwise the router's own counts.
    pub id: Option<ByteString>,
    /// Subject chosen by the filter; otherwise the event's subject counts.
    pub subject: Option<ByteString>,
    /// Headers that the output leaves with, if they are not the event's own.
    pub headers: Option<Headers>,
    /// Hash of the key and the event's ordering value: outputs with the same hash leave in the
    /// order of their events. `None` if any order will do.
    pub order: Option<u64>,
    /// Reason code under which the event is settled, if this output is a dead letter.
    pub dead_letter: Option<&'static str>,
    /// Share of the bytes that its sink may hold.
    pub share: Option<OwnedSemaphorePermit>,
    /// Time at which its sink's queue has got it, if that is in the sample.
    pub queued: Option<Instant>,
}

impl Output {
    pub fn subject(&self) -> &ByteString {
        self.subject.as_ref().unwrap_or(&self.ticket.event().subject)
    }

    pub fn headers(&self) -> &Headers {
        self.headers.as_ref().unwrap_or(&self.ticket.event().headers)
    }

    /// Bytes that it holds beside its event's.
    fn own_bytes(&self) -> usize {
        let event = &self.ticket.event().payload;
        // A payload passed on unchanged shares the event's buffer, so the address tells.
        let is_events = self.payload.as_ptr() == event.as_ptr() && self.payload.len() == event.len();
        let payload = if is_events { 0 } else { self.payload.len() };
        payload
            + self.id.as_ref().map_or(0, |id| id.len())
            + self.subject.as_ref().map_or(0, |subject| subject.len())
            + self.headers.as_ref().map_or(0, Headers::size)
    }

    /// Deterministic id, the same for every redelivery of the event: destinations drop repeats by
    /// it.
    pub fn id(&self) -> OutputId<'_> {
        OutputId(self)
    }
}

/// Id in the form `UID:KEY:ROUTE:INDEX`, which has no event content, as keys and routes are named
/// by the configuration; or `own:KEY:ID` with the one that the filter has chosen, which can't be
/// that of another key's output, nor one that the router has made.
pub struct OutputId<'a>(&'a Output);

impl fmt::Display for OutputId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Output { ticket, key, route, index, id, .. } = self.0;
        if let Some(id) = id {
            return write!(f, "own:{key}:{id}");
        }
        write!(f, "{}:{key}:{route}:{index}", ticket.event().uid)
    }
}

/// Number of an output of one sink, in the order in which they were handed over. A repeated try
/// keeps its number.
pub type Slot = u64;

/// Report of a destination about written outputs.
#[derive(Debug)]
pub enum Confirmation {
    /// This output and every one before it are taken.
    Through(Slot),
    /// This output is taken.
    One(Slot),
    /// This output had been taken before; the repeat is dropped.
    Known(Slot),
    /// This output is not taken as an earlier one was not, and is to be written again at once. All
    /// that are returned for one reason are reported in order, before anything is written.
    Returned(Slot),
    /// This output is not taken.
    Refused(Slot, SinkRefusal),
}

/// Reason why an output was not taken. Variants are named after the reaction.
#[derive(Debug, thiserror::Error)]
pub enum SinkRefusal {
    /// Temporary for the whole sink, which is away, full, or slow, and takes nothing. Try again
    /// later.
    #[error("the destination can't take it now")]
    Later(#[source] anyhow::Error),
    /// Temporary for the subject, stream or file that this output goes to; others may be taken. Try
    /// again later.
    #[error("the destination can't take it now")]
    Apart(#[source] anyhow::Error),
    /// Permanent: this output can never be taken. Holds the reason code of its dead letter, a word
    /// in lower case with underscores.
    #[error("the destination will never take it: `{0}`")]
    Never(&'static str, #[source] anyhow::Error),
    /// The reader of this sink has left, as with a closed pipe: the router ends in good order.
    #[error("the reader has left")]
    Closed,
}

/// A destination. One [`outlet`] owns and drives it, from one task, with a bounded queue before it,
/// retries and the policy for refusals.
///
/// What is confirmed is settled: the event's source acknowledges it and never sends it again. So an
/// output is confirmed only once the destination is responsible for it, and each that was written
/// is confirmed or refused in the end. Outputs may come again after a crash, under the same
/// [`Output::id`].
pub trait Sink: Send + 'static {
    /// Starts to write one output. May only buffer it; [`Self::confirm`] reports the result. An
    /// error concerns this output alone, which then is not confirmed.
    fn write(&mut self, slot: Slot, output: &Output) -> impl Future<Output = Result<(), SinkRefusal>> + Send;

    /// Returns true if, of outputs under way together, none is taken once an earlier one was not.
    /// Otherwise outputs that must stay in order are written one by one.
    fn keeps_order(&self) -> bool {
        true
    }

    /// Waits for the next report about outputs that were written. Called only while some are
    /// unconfirmed. Must be cancel safe: the outlet drops the future when there is more to write.
    fn confirm(&mut self) -> impl Future<Output = Confirmation> + Send;

    /// Ends what the sink has started, such as processes. Called last, when nothing is under way or
    /// the router gives up what is.
    fn close(self) -> impl Future<Output = ()> + Send
    where
        Self: Sized,
    {
        async {}
    }
}

#[cfg(test)]
mod tests {
    use super::double::output;

    #[test]
    fn an_id_that_a_filter_chooses_is_never_that_of_another_output() {
        let made = output("t", "1", "{}");
        let mut other = output("t", "1", "{}");
        other.key = "other".into();
        let spelled = [made.id().to_string(), other.id().to_string(), "key:1".to_owned()];
        for id in spelled {
            let (mut one, mut two) = (output("t", "2", "{}"), output("t", "3", "{}"));
            (one.id, two.id) = (Some(id.clone().into()), Some(id.into()));
            // One id of one key is one output, whatever event it was made of.
            assert_eq!(one.id().to_string(), two.id().to_string());
            two.key = "other".into();
            let ids = [&made, &other, &one, &two].map(|output| output.id().to_string());
            let distinct: std::collections::HashSet<_> = ids.iter().collect();
            assert_eq!(distinct.len(), ids.len(), "{ids:?}");
        }
    }
}

//! Events that a stream has stored, read in order up to now.

use std::marker::PhantomData;

use jiff::Timestamp;
use trommel_config::config::{RangeBegin, StreamRange};
use trommel_event::event::Headers;
use trommel_nats::StreamHistory;

use crate::{
    client::{ClientError, EventClient},
    family::{EventFamily, EventFilter, MalformedEvent},
};

/// Which of the stored events to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    All,
    /// Those stored at this time or later.
    Since(Timestamp),
    /// The newest ones, this many at most.
    Newest(u64),
}

/// Reader of stored events of one type.
pub struct EventHistory<E> {
    messages: StreamHistory,
    family: PhantomData<fn() -> E>,
}

/// An event as it was stored.
#[derive(Clone, Debug)]
pub struct StoredEvent<E> {
    pub event: Result<E, MalformedEvent>,
    pub subject: String,
    pub headers: Headers,
    pub sequence: u64,
    pub stored_at: Timestamp,
}

impl EventClient {
    /// Reads what is stored of a family, oldest first. Nothing on the server changes by it.
    ///
    /// # Errors
    /// Returns an error if no stream has such events, or if several have.
    pub async fn history<E: EventFamily>(
        &self,
        filter: EventFilter,
        range: HistoryRange,
    ) -> Result<EventHistory<E>, ClientError> {
        let pattern = self.pattern::<E>(&filter);
        let stream = self.stream_of(&pattern).await?;
        let begin = match range {
            HistoryRange::All => RangeBegin::First,
            HistoryRange::Since(time) => RangeBegin::Time(time),
            HistoryRange::Newest(count) => RangeBegin::Newest(count, None),
        };
        let range = StreamRange { stream, subjects: vec![pattern], begin, until: None, to: None, limit: None };
        let messages = StreamHistory::open(self.connection().clone(), range).await?;
        Ok(EventHistory { messages, family: PhantomData })
    }
}

impl<E: EventFamily> EventHistory<E> {
    /// The next event; `None` after the last that was stored when the history was opened. Not
    /// cancel safe.
    ///
    /// # Errors
    /// Returns an error if the stream is gone, or the server has not answered for a minute.
    pub async fn next(&mut self) -> Result<Option<StoredEvent<E>>, ClientError> {
        let Some(message) = self.messages.next().await? else { return Ok(None) };
        Ok(Some(StoredEvent {
            event: E::decode(&message.payload),
            subject: message.subject,
            headers: message.headers,
            sequence: message.sequence,
            stored_at: message.time,
        }))
    }
}

//! Stream that stores messages and takes over the responsibility for them.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt, TryStreamExt, stream};

use super::refusal::RequestRefusal;
use crate::{
    config::{self, EventField, SubjectPlaceholder},
    event::{Event, Headers, Uid},
    nats::{ApiError, Connection, SubjectTemplate, code, header_map},
    poison::ignore_poison,
};

/// Most messages of one request under way at once.
const WINDOW: usize = 64;

pub(super) struct StoringStream {
    connection: Connection,
    subject: Mutex<SubjectTemplate<EventField>>,
    /// True since the stream last failed to store; it is logged only once.
    is_away: AtomicBool,
}

/// Message as received, and the event made of it.
pub(super) struct IncomingMessage {
    pub(super) headers: Headers,
    pub(super) body: bytes::Bytes,
    pub(super) event: Event,
}

impl StoringStream {
    pub(super) fn new(
        connection: Connection,
        subject: config::TextTemplate<SubjectPlaceholder<EventField>>,
        reserved: Option<String>,
    ) -> Self {
        let subject = Mutex::new(SubjectTemplate::new(subject).reserving(reserved));
        Self { connection, subject, is_away: AtomicBool::new(false) }
    }

    /// Stores all messages, in their order unless the connection is lost in between.
    pub(super) async fn store(&self, incoming: Vec<IncomingMessage>) -> Result<(), RequestRefusal> {
        // All of them are checked before the first is sent.
        let mut prepared = Vec::with_capacity(incoming.len());
        for IncomingMessage { headers, body, event } in incoming {
            let mut template = ignore_poison(self.subject.lock());
            let subject = template
                .fill(|field| field.value(&event, &event.subject, &event.headers))
                .map_err(|why| RequestRefusal::bad("bad_subject", why))?;
            let headers = header_map(&headers).map_err(|why| RequestRefusal::bad("bad_header", why))?;
            // Two tenants, or two sources of CloudEvents, may use one id; a client that sends again
            // uses its own.
            let id = Uid::named(&event).to_string();
            prepared.push((subject, headers, id, body));
        }
        if !self.connection.is_connected() {
            // The NATS client would buffer it, and it could be stored after this request has
            // failed.
            return Err(RequestRefusal::stream("the server of the stream is away"));
        }
        let stored = stream::iter(prepared)
            .map(|(subject, headers, id, body)| async move { self.connection.store(subject, headers, &id, body).await })
            .buffered(WINDOW)
            .try_for_each(|_| async { Ok(()) })
            .await;
        if stored.is_ok() {
            self.is_away.store(false, Ordering::Relaxed);
        }
        stored.map_err(|error| self.refused(error))
    }

    fn refused(&self, error: ApiError) -> RequestRefusal {
        let is_too_large =
            matches!(error, ApiError::TooLarge(..)) || error.code() == Some(code::MESSAGE_EXCEEDS_MAXIMUM);
        let why = format!("{:#}", anyhow::Error::new(error));
        if is_too_large {
            return RequestRefusal::too_large("too_large", why);
        }
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = why,
                "the stream takes no events that come in over HTTP, clients are told to come again"
            );
        }
        RequestRefusal::stream("the stream did not take it")
    }
}

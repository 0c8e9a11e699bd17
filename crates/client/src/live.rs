//! Events as they are published, by core NATS: at most once.

use std::marker::PhantomData;

use trommel_event::event::Headers;
use trommel_nats::LiveSubscription;

use crate::{
    client::{ClientError, EventClient},
    family::{EventFamily, EventFilter, MalformedEvent},
};

/// Bytes of events that may wait to be taken.
const BUFFER: u64 = 16 << 20;

/// Subscription to events of one type.
pub struct LiveEvents<E> {
    messages: LiveSubscription,
    family: PhantomData<fn() -> E>,
}

/// An event as it was published.
#[derive(Clone, Debug)]
pub struct LiveEvent<E> {
    pub event: Result<E, MalformedEvent>,
    pub subject: String,
    pub headers: Headers,
}

impl EventClient {
    /// Subscribes to events as they are published, stored or not. At most once: what is published
    /// while the connection is lost does not come, and what is not taken in time is dropped and
    /// counted by [`LiveEvents::dropped`]. At most 16 MiB wait to be taken.
    ///
    /// # Errors
    /// Returns an error if the connection has ended.
    pub async fn subscribe<E: EventFamily>(&self, filter: EventFilter) -> Result<LiveEvents<E>, ClientError> {
        let messages = self.connection().subscribe_live(&[self.pattern::<E>(&filter)], None, BUFFER).await?;
        Ok(LiveEvents { messages, family: PhantomData })
    }
}

impl<E: EventFamily> LiveEvents<E> {
    /// The next event; `None` once the connection has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<LiveEvent<E>> {
        let message = self.messages.next().await?;
        Some(LiveEvent { event: E::decode(&message.payload), subject: message.subject, headers: message.headers })
    }

    /// Events dropped so far because they were not taken in time.
    pub fn dropped(&self) -> u64 {
        self.messages.dropped()
    }
}

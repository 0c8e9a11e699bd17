//! Events from a stream, each until it is acknowledged: at least once.

use std::{marker::PhantomData, time::Duration};

use jiff::Timestamp;
use trommel_event::event::Headers;
use trommel_nats::{ConsumerSettings, DeliveryReceipt, StreamConsumer};

use crate::{
    client::{ClientError, EventClient},
    family::{EventFamily, EventFilter, MalformedEvent},
};

const ACK_WAIT: Duration = Duration::from_secs(30);

/// Builder of a consumer.
#[must_use]
pub struct ConsumerBuilder<E> {
    client: EventClient,
    filter: EventFilter,
    stream: Option<String>,
    durable: Option<String>,
    only_new: bool,
    ack_wait: Duration,
    family: PhantomData<fn() -> E>,
}

/// Reader of a stream's events of one type.
pub struct EventConsumer<E> {
    messages: StreamConsumer,
    family: PhantomData<fn() -> E>,
}

/// An event and the duty to settle it. Without a word, as when the program dies, it is delivered
/// again.
#[derive(Debug)]
pub struct EventDelivery<E> {
    pub event: Result<E, MalformedEvent>,
    pub subject: String,
    pub headers: Headers,
    /// Sequence in the stream.
    pub sequence: u64,
    /// Time at which it was stored.
    pub stored_at: Timestamp,
    /// 1 on the first delivery.
    pub attempt: u32,
    receipt: DeliveryReceipt,
}

impl EventClient {
    /// Reads events from their stream, from its begin unless told otherwise.
    pub fn consume<E: EventFamily>(&self, filter: EventFilter) -> ConsumerBuilder<E> {
        ConsumerBuilder {
            client: self.clone(),
            filter,
            stream: None,
            durable: None,
            only_new: false,
            ack_wait: ACK_WAIT,
            family: PhantomData,
        }
    }
}

impl<E: EventFamily> ConsumerBuilder<E> {
    /// Sets the stream, if several have such subjects.
    pub fn stream(self, stream: impl Into<String>) -> Self {
        Self { stream: Some(stream.into()), ..self }
    }

    /// Sets the name under which the server remembers what is acknowledged: a program that starts
    /// again goes on there, and several that use one name share the events. Without a name the
    /// server forgets the consumer five minutes after it was last read.
    pub fn durable(self, name: impl Into<String>) -> Self {
        Self { durable: Some(name.into()), ..self }
    }

    /// Begins with events that are stored from now on, unless the durable consumer exists.
    pub fn only_new(self) -> Self {
        Self { only_new: true, ..self }
    }

    /// Sets the time after which an event that is not settled is delivered again; 30 s by default.
    pub fn ack_wait(self, wait: Duration) -> Self {
        Self { ack_wait: wait, ..self }
    }

    /// Opens the consumer.
    ///
    /// # Errors
    /// Returns an error if there is no such stream, or if the server refuses the consumer.
    pub async fn open(self) -> Result<EventConsumer<E>, ClientError> {
        let Self { client, filter, stream, durable, only_new, ack_wait, .. } = self;
        let pattern = client.pattern::<E>(&filter);
        let stream = match stream {
            Some(stream) => stream,
            None => client.stream_of(&pattern).await?,
        };
        let settings = ConsumerSettings { stream, durable, subjects: vec![pattern], only_new, ack_wait };
        let messages = StreamConsumer::open(client.connection().clone(), &settings).await?;
        Ok(EventConsumer { messages, family: PhantomData })
    }
}

impl<E: EventFamily> EventConsumer<E> {
    /// The next event. Waits for ever while there is none, and through outages. Cancel safe.
    ///
    /// # Errors
    /// Returns an error if the stream or the consumer is gone.
    pub async fn next(&mut self) -> Result<EventDelivery<E>, ClientError> {
        let message = self.messages.next().await?;
        Ok(EventDelivery {
            event: E::decode(&message.payload),
            subject: message.subject,
            headers: message.headers,
            sequence: message.sequence,
            stored_at: message.time,
            attempt: message.attempt,
            receipt: message.receipt,
        })
    }
}

impl<E> EventDelivery<E> {
    /// Acknowledges the event; returns once the server has noted it. If this is cancelled, the
    /// event may come again.
    ///
    /// # Errors
    /// Returns an error if the server does not confirm it: the event may come again.
    pub async fn ack(self) -> Result<(), ClientError> {
        self.receipt.ack().await.map_err(ClientError::Unconfirmed)
    }

    /// Gives the event back, to be delivered again after this time.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn retry(self, after: Duration) -> Result<(), ClientError> {
        self.receipt.retry(after).await.map_err(ClientError::Unconfirmed)
    }

    /// Ends the event without success: it does not come again.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn reject(self) -> Result<(), ClientError> {
        self.receipt.reject().await.map_err(ClientError::Unconfirmed)
    }
}

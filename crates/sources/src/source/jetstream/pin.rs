//! The pin of a consumer: the server gives its messages to one client of a priority group at a
//! time, and names that client's pin in each of them. As long as it lasts no other router gets any,
//! so that one ack may settle all messages before it.
//!
//! The server does not hold acks against the pin. That is safe, because each router acknowledges
//! only what is settled without a hole from the ack floor on: behind a change of the pin it asks
//! for the floor, and reads what lies between it and the new message from the stream. What an
//! earlier holder still acknowledges is settled all the same.

use std::time::Duration;

use async_nats::{HeaderName, Message};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Priority group of the consumers that a router makes.
pub(super) const GROUP: &str = "trommel";
/// Time without a request of the holder after which the server pins the consumer to another client.
pub(super) const PIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval at which the holder shows itself, whether it has room for messages or not.
const RENEWAL: Duration = Duration::from_millis(1500);
pub(super) const PIN_HEADER: &str = "Nats-Pin-Id";

/// This client's part in a pinned consumer.
#[derive(Debug)]
pub(super) struct ConsumerPin {
    /// Pin of the last message that came.
    id: Option<String>,
    /// Time at which the server last had a request with it.
    renewed: Instant,
    /// Number of the delivery that brought it.
    since: u64,
    /// True since this client has begun with what the last one left open.
    has_entered: bool,
}

impl ConsumerPin {
    pub(super) fn new() -> Self {
        Self { id: None, renewed: Instant::now(), since: u64::MAX, has_entered: false }
    }

    pub(super) fn is_held(&self) -> bool {
        self.id.is_some()
    }

    pub(super) fn is(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }

    /// Notes the pin of a message, and the number of its delivery. Returns whether it is another
    /// pin than that of the last one.
    pub(super) fn note(&mut self, message: &Message, delivery: u64) -> bool {
        let header = HeaderName::from_static(PIN_HEADER);
        let Some(id) = message.headers.as_ref().and_then(|headers| headers.get(header)) else { return false };
        let is_new = !self.is(id.as_str());
        if is_new {
            self.id = Some(id.as_str().to_owned());
            self.since = delivery;
        }
        is_new
    }

    /// Notes that the server does not take the pin any more. Returns whether that is new.
    pub(super) fn lose(&mut self) -> bool {
        (self.since, self.has_entered) = (u64::MAX, false);
        self.id.take().is_some()
    }

    /// Notes that this client begins with what the last one left open. If that is new, returns how
    /// many deliveries up to this one were its own.
    pub(super) fn enter(&mut self, delivery: u64) -> Option<u64> {
        let is_new = !std::mem::replace(&mut self.has_entered, true);
        is_new.then(|| delivery.saturating_add(1).saturating_sub(self.since))
    }

    /// Names group and pin in a request for messages.
    pub(super) fn sign(&mut self, request: &mut Value) {
        request["group"] = GROUP.into();
        if let Some(id) = &self.id {
            request["id"] = id.as_str().into();
            self.renewed = Instant::now();
        }
    }

    /// Request that brings no message and keeps the pin, if it is time for it.
    pub(super) fn renewal(&mut self) -> Option<Value> {
        if self.id.is_none() || self.renewed.elapsed() < RENEWAL {
            return None;
        }
        // Every message is larger.
        let mut request = json!({ "batch": 1, "no_wait": true, "max_bytes": 1 });
        self.sign(&mut request);
        Some(request)
    }
}

//! Consumers that the server pins to one router at a time: the others wait to take over.

use async_nats::Message;
use serde_json::json;

use crate::source::jetstream::{
    consumer::ConsumerInfo,
    pin::{ConsumerPin, GROUP},
    run::JetStreamRun,
    settle::AckState,
};

impl JetStreamRun {
    /// Notes the pin that a message came with. Returns whether it is a new one: another router may
    /// have had the consumer in between.
    pub(super) fn note_pin(&mut self, message: &Message, delivery: u64) -> bool {
        let is_new = self.pull.pin.as_mut().is_some_and(|pin| pin.note(message, delivery));
        if is_new {
            tracing::info!(source = self.origin.source, "the consumer is pinned to this router");
        }
        is_new
    }

    pub(super) fn is_unpinned(&self) {
        tracing::info!(
            source = self.origin.source,
            "the consumer is not pinned to this router any more: it takes over when no other router reads"
        );
    }

    /// Returns whether this router waits for a consumer that may be pinned to another.
    pub(super) fn is_standby(&self) -> bool {
        self.pull.pin.as_ref().is_some_and(|pin| !pin.is_held())
    }

    /// Returns whether it is for this router to finish what the consumer has delivered. A holder
    /// that has ended leaves a consumer without a pin, on which nothing moves.
    pub(super) fn has_consumer(&self, info: &ConsumerInfo) -> bool {
        match (&self.pull.pin, info.pinned()) {
            (None, _) => true,
            (Some(pin), Some(id)) => pin.is(id),
            (Some(_), None) => info.stands_as(self.recovery.info(), 0),
        }
    }

    /// Forgets a pin that the server has given up while the connection was away.
    pub(super) fn check_pin(&mut self, info: &ConsumerInfo) {
        if let Some(pin) = &mut self.pull.pin
            && info.pinned().is_none_or(|id| !pin.is(id))
            && pin.lose()
        {
            self.is_unpinned();
        }
    }

    /// Returns whether it is for this router to finish what the consumer has delivered, and counts
    /// what another one has left open.
    pub(super) fn enters(&mut self, info: &ConsumerInfo) -> bool {
        let is_ours = self.has_consumer(info);
        if is_ours
            && let Some(pin) = &mut self.pull.pin
            && let AckState::Prefix(prefix) = &self.settler.acks
            && let Some(own) = pin.enter(info.delivered.delivery)
        {
            let left_open = info.num_ack_pending.saturating_sub(prefix.open()) as u64;
            self.intake.metrics().taken_over.inc_by(left_open.saturating_sub(own));
        }
        is_ours
    }

    /// Lets another router have the consumer at once. Without the permission it waits until the pin
    /// runs out.
    pub(super) async fn unpin(&mut self) {
        if self.pull.pin.as_ref().is_some_and(ConsumerPin::is_held) {
            let (settings, connection) = (&self.consumer.settings, &self.connection);
            let operation = format!("CONSUMER.UNPIN.{}.{}", settings.stream, settings.durable);
            let request = json!({ "group": GROUP }).to_string();
            // Fails only if the client has ended.
            let _ = connection.client().publish(connection.api_subject(&operation), request.into()).await;
        }
    }
}

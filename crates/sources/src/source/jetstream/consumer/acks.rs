//! Choice of how the messages of a consumer are acknowledged.

use serde_json::{Map, Value, json};

use crate::{
    config::{AckMode, JetStreamSource},
    nats::{ApiError, WantedFields, code},
    source::jetstream::{
        consumer::{ConsumerError, DurableConsumer, config_of},
        pin::{GROUP, PIN_TIMEOUT},
        stream_state::StreamState,
    },
};

/// Way in which the messages of a consumer are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::jetstream) enum AckPolicy {
    /// One ack for each message.
    Each,
    /// One ack for a settled prefix.
    Prefix,
    /// The same on a consumer that the server pins to one client at a time.
    PinnedPrefix,
}

impl AckPolicy {
    /// Returns what the settings ask for, where the server has no say in it.
    pub(in crate::source::jetstream) fn of(settings: &JetStreamSource) -> Self {
        match settings.ack {
            AckMode::All => Self::Prefix,
            AckMode::Explicit | AckMode::Auto => Self::Each,
        }
    }

    /// Fields of a consumer's configuration that it needs.
    pub(super) fn wanted(self) -> WantedFields {
        let policy = if self == Self::Each { "explicit" } else { "all" };
        let mut wanted = vec![("ack_policy", json!(policy))];
        if self == Self::PinnedPrefix {
            wanted.push(("priority_groups", json!([GROUP])));
            wanted.push(("priority_policy", json!("pinned_client")));
            wanted.push(("priority_timeout", json!(PIN_TIMEOUT.as_nanos() as u64)));
        }
        wanted
    }

    /// Policy of a consumer that is there already, whose ack policy can't be changed.
    fn of_existing(config: &Map<String, Value>) -> Self {
        let groups = config.get("priority_groups").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let is_free = groups.iter().all(|group| *group == GROUP);
        if config.get("ack_policy") == Some(&json!("all")) && is_free { Self::PinnedPrefix } else { Self::Each }
    }
}

impl DurableConsumer {
    /// Chooses the ack policy where the settings leave it open: by the consumer if there is one,
    /// and else by what the server can do.
    pub(in crate::source::jetstream) async fn choose_acks(self, stream: &StreamState) -> Result<Self, ConsumerError> {
        if self.settings.ack != AckMode::Auto {
            return Ok(self);
        }
        let acks = match self.read_info().await {
            Ok(info) => AckPolicy::of_existing(&config_of(&info)),
            Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) && stream.can_pin() => AckPolicy::PinnedPrefix,
            Err(error) if error.code() == Some(code::CONSUMER_NOT_FOUND) => AckPolicy::Each,
            Err(source) => return Err(self.unreadable(source)),
        };
        if acks == AckPolicy::Each {
            let JetStreamSource { stream, durable, .. } = &*self.settings;
            tracing::info!(
                stream,
                consumer = durable,
                "each message gets an ack: the consumer is there with that policy, or the server can't pin it"
            );
        }
        Ok(Self { acks, ..self })
    }

    fn unreadable(&self, source: ApiError) -> ConsumerError {
        let JetStreamSource { stream, durable, .. } = &*self.settings;
        ConsumerError::Read { stream: stream.clone(), consumer: durable.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_that_is_there_keeps_its_policy() {
        for (config, expected) in [
            (json!({ "ack_policy": "explicit" }), AckPolicy::Each),
            (json!({ "ack_policy": "none" }), AckPolicy::Each),
            (json!({ "ack_policy": "all" }), AckPolicy::PinnedPrefix),
            (json!({ "ack_policy": "all", "priority_groups": ["trommel"] }), AckPolicy::PinnedPrefix),
            (json!({ "ack_policy": "all", "priority_groups": ["of another"] }), AckPolicy::Each),
        ] {
            assert_eq!(AckPolicy::of_existing(config.as_object().unwrap()), expected, "{config}");
        }
    }
}

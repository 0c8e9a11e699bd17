//! Events of a Helix cluster: typed content, as JSON or Avro, in the envelope that all of them
//! have.

mod avro;
mod envelope;
mod events;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use trommel_event::event::subject_of;

use super::{EventFamily, MalformedEvent, UnencodableEvent, WireFormat};

pub use avro::schemas;
pub use envelope::HelixEnvelope;
pub use events::{AlertEvent, AuditEvent, HealthEvent, NodeEvent, SchedulerEvent, SessionEvent};

/// Source of the envelopes that are written here.
pub const SOURCE: &str = "trommel";

/// An event that a cluster publishes as `DOMAIN.ENTITY.ACTION`.
pub trait HelixEvent: Serialize + DeserializeOwned + Send + 'static {
    /// First token of its subjects behind the prefix.
    const STREAM_DOMAIN: &'static str;
    /// Name of its schema among [`schemas`]; `None` if it is always JSON.
    const SCHEMA: Option<&'static str>;

    /// Id of the run or the call that made the event: the envelope's id.
    fn run_id(&self) -> &str;

    /// Id of the entity that the event is about.
    fn entity(&self) -> &str;

    fn action(&self) -> &str;

    fn timestamp(&self) -> Timestamp;

    /// Metadata, if it can have any. The Avro schemas have no place for it.
    fn metadata(&self) -> Option<&BTreeMap<String, String>>;
}

impl<E: HelixEvent> EventFamily for E {
    const PREFIX: &'static str = "helix";
    const DOMAIN: &'static str = E::STREAM_DOMAIN;

    fn name(&self) -> String {
        subject_of([self.entity(), self.action()])
    }

    fn encode(&self, format: WireFormat) -> Result<Vec<u8>, UnencodableEvent> {
        let payload = match (format, E::SCHEMA) {
            (WireFormat::Avro, Some(schema)) => avro::encode(self, schema)?,
            _ => serde_json::to_vec(self).map_err(|error| UnencodableEvent(error.to_string()))?,
        };
        let envelope = HelixEnvelope {
            id: self.run_id().to_owned(),
            event_type: self.name(),
            source: Some(SOURCE.to_owned()),
            payload,
            timestamp: Some(self.timestamp().to_string()),
        };
        envelope.write()
    }

    fn decode(body: &[u8]) -> Result<Self, MalformedEvent> {
        let payload = HelixEnvelope::read(body)?.payload;
        if trommel_avro::Framing::of(&payload).is_some() {
            return avro::decode(&payload, E::SCHEMA);
        }
        serde_json::from_slice(&payload).map_err(|error| MalformedEvent::from_json(&error))
    }
}

/// Name of the member that has the id of the entity, in the events of a domain.
pub fn entity_member(domain: &str) -> Option<&'static str> {
    Some(match domain {
        "nodes" => "node_id",
        "sessions" => "session_id",
        "audit" => "subject_id",
        "scheduler" | "health" | "alerts" => "entity_id",
        _ => return None,
    })
}

/// Creates a random id: 32 hexadecimal digits.
pub fn random_id() -> String {
    format!("{:032x}", fastrand::u128(..))
}

#[cfg(test)]
mod tests;

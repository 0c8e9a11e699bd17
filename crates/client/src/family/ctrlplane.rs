//! Events of a ctrlplane: `{"id":..,"type":..,"tenant_id":..,"instance_id":..,"actor_id":..,
//! "payload":{..},"timestamp":..}`.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::{EventFamily, MalformedEvent, UnencodableEvent, WireFormat, null_as_empty};

pub mod event_type;
mod type_id;

pub use type_id::{NoTypeId, TypeId};

/// Something that has happened to an instance, a deployment, a tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CtrlplaneEvent {
    pub id: TypeId,
    /// One of [`event_type`], or another.
    #[serde(rename = "type")]
    pub event_type: String,
    #[serde(default)]
    pub tenant_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "optional_id")]
    pub instance_id: Option<TypeId>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor_id: String,
    #[serde(default, skip_serializing_if = "Map::is_empty", deserialize_with = "null_as_empty")]
    pub payload: Map<String, Value>,
    pub timestamp: Timestamp,
}

/// Other libraries write a missing id as empty text.
fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<TypeId>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
}

impl CtrlplaneEvent {
    /// Creates an event of this moment, with a new id.
    pub fn new(event_type: impl Into<String>, tenant: impl Into<String>) -> Self {
        Self {
            id: TypeId::of_event(),
            event_type: event_type.into(),
            tenant_id: tenant.into(),
            instance_id: None,
            actor_id: String::new(),
            payload: Map::new(),
            timestamp: Timestamp::now(),
        }
    }

    /// Sets the instance that it happened to.
    pub fn with_instance(self, instance: TypeId) -> Self {
        Self { instance_id: Some(instance), ..self }
    }

    /// Sets the actor that caused it.
    pub fn with_actor(self, actor: impl Into<String>) -> Self {
        Self { actor_id: actor.into(), ..self }
    }

    pub fn with_payload(self, payload: Map<String, Value>) -> Self {
        Self { payload, ..self }
    }
}

impl EventFamily for CtrlplaneEvent {
    const PREFIX: &'static str = "";
    const DOMAIN: &'static str = "";

    fn name(&self) -> String {
        self.event_type.clone()
    }

    fn encode(&self, _: WireFormat) -> Result<Vec<u8>, UnencodableEvent> {
        if self.event_type.is_empty() {
            return Err(UnencodableEvent("its type is empty, and readers refuse that".to_owned()));
        }
        serde_json::to_vec(self).map_err(|error| UnencodableEvent(error.to_string()))
    }

    fn decode(body: &[u8]) -> Result<Self, MalformedEvent> {
        serde_json::from_slice(body).map_err(|error| MalformedEvent::from_json(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_back() {
        let instance: TypeId = "inst_01h455vb4pex5vsknk084sn02r".parse().unwrap();
        let event = CtrlplaneEvent::new(event_type::INSTANCE_FAILED, "acme").with_instance(instance).with_actor("ada");
        let event = event.with_payload(Map::from_iter([("exit".to_owned(), 137.into())]));
        assert_eq!(CtrlplaneEvent::decode(&event.encode(WireFormat::Json).unwrap()).unwrap(), event);
        assert_eq!((&event.id.to_string()[..4], &*event.name()), ("evt_", "instance.failed"));
        let bare = r#"{"id":"evt_01h455vb4pex5vsknk084sn02q","type":"t","instance_id":"","payload":null,
            "timestamp":"2026-01-02T03:04:05Z"}"#;
        let read = CtrlplaneEvent::decode(bare.as_bytes()).unwrap();
        assert_eq!((read.instance_id, &*read.tenant_id), (None, ""));
        assert!(CtrlplaneEvent::decode(bare.replace("evt_0", "x").as_bytes()).is_err(), "an id that is no TypeID");
        assert!(CtrlplaneEvent::new("", "acme").encode(WireFormat::Json).is_err());
    }
}

//! Events of a jb-mesh: `{"type":..,"node":..,"timestamp":..,"data":{..}}`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{EventFamily, MalformedEvent, UnencodableEvent, WireFormat, null_as_empty};

/// An event of a node, a tool or a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeshEvent {
    /// `tool.installed`, `node.joined`, `user.TOPIC`: the subject behind `events.`.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Node that it comes from.
    #[serde(default)]
    pub node: String,
    pub timestamp: Timestamp,
    #[serde(default, deserialize_with = "null_as_empty")]
    pub data: Map<String, Value>,
}

impl MeshEvent {
    /// Creates an event of this moment.
    pub fn new(event_type: impl Into<String>, node: impl Into<String>, data: Map<String, Value>) -> Self {
        Self { event_type: event_type.into(), node: node.into(), timestamp: Timestamp::now(), data }
    }

    fn of(event_type: &str, node: &str, data: Value) -> Self {
        let data = if let Value::Object(data) = data { data } else { Map::new() };
        Self::new(event_type, node, data)
    }

    pub fn tool_installed(node: &str, tool: &str, version: &str) -> Self {
        Self::of("tool.installed", node, json!({ "tool": tool, "version": version }))
    }

    pub fn tool_configured(node: &str, tool: &str, config: Map<String, Value>) -> Self {
        Self::of("tool.configured", node, json!({ "tool": tool, "config": config }))
    }

    pub fn tool_started(node: &str, tool: &str) -> Self {
        Self::of("tool.started", node, json!({ "tool": tool }))
    }

    pub fn tool_stopped(node: &str, tool: &str, reason: &str) -> Self {
        Self::of("tool.stopped", node, json!({ "tool": tool, "reason": reason }))
    }

    pub fn tool_crashed(node: &str, tool: &str, error: &str, restart_count: u32) -> Self {
        let data = json!({ "tool": tool, "error": error, "restart_count": restart_count });
        Self::of("tool.crashed", node, data)
    }

    pub fn tool_removed(node: &str, tool: &str) -> Self {
        Self::of("tool.removed", node, json!({ "tool": tool }))
    }

    pub fn node_joined(node: &str, capabilities: Map<String, Value>) -> Self {
        Self::of("node.joined", node, json!({ "capabilities": capabilities }))
    }

    pub fn node_left(node: &str, reason: &str) -> Self {
        Self::of("node.left", node, json!({ "reason": reason }))
    }

    pub fn node_health(node: &str, status: &str, resources: Map<String, Value>) -> Self {
        Self::of("node.health", node, json!({ "status": status, "resources": resources }))
    }

    /// Creates an event of a user's own topic, which may have several tokens.
    pub fn user(node: &str, topic: &str, data: Map<String, Value>) -> Self {
        Self::new(format!("user.{topic}"), node, data)
    }
}

impl EventFamily for MeshEvent {
    const PREFIX: &'static str = "events";
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
    fn every_constructor_makes_an_event_that_is_read_back() {
        let data = Map::from_iter([("a".to_owned(), json!(1))]);
        let events = [
            (MeshEvent::tool_installed("n", "t", "1"), "tool.installed", json!({ "tool": "t", "version": "1" })),
            (
                MeshEvent::tool_configured("n", "t", data.clone()),
                "tool.configured",
                json!({ "tool": "t", "config": { "a": 1 } }),
            ),
            (MeshEvent::tool_started("n", "t"), "tool.started", json!({ "tool": "t" })),
            (MeshEvent::tool_stopped("n", "t", "r"), "tool.stopped", json!({ "tool": "t", "reason": "r" })),
            (
                MeshEvent::tool_crashed("n", "t", "e", 3),
                "tool.crashed",
                json!({ "tool": "t", "error": "e", "restart_count": 3 }),
            ),
            (MeshEvent::tool_removed("n", "t"), "tool.removed", json!({ "tool": "t" })),
            (MeshEvent::node_joined("n", data.clone()), "node.joined", json!({ "capabilities": { "a": 1 } })),
            (MeshEvent::node_left("n", "r"), "node.left", json!({ "reason": "r" })),
            (
                MeshEvent::node_health("n", "ok", data.clone()),
                "node.health",
                json!({ "status": "ok", "resources": { "a": 1 } }),
            ),
            (MeshEvent::user("n", "a.b", data), "user.a.b", json!({ "a": 1 })),
        ];
        for (event, event_type, data) in events {
            assert_eq!((&*event.name(), &Value::from(event.data.clone())), (event_type, &data));
            assert_eq!(MeshEvent::decode(&event.encode(WireFormat::Json).unwrap()).unwrap(), event);
        }
        assert!(MeshEvent::new("", "n", Map::new()).encode(WireFormat::Json).is_err());
        let bare = r#"{"type":"node.left","timestamp":"2026-03-14T10:00:00+02:00","data":null}"#;
        assert!(MeshEvent::decode(bare.as_bytes()).unwrap().data.is_empty());
        assert!(MeshEvent::decode(b"{}").is_err());
    }
}

//! Content of the events of a Helix cluster, in the order of their schemas' fields.

use std::collections::{BTreeMap, HashSet};

use apache_avro::{
    AvroSchema, Schema,
    schema::{Name, NamespaceRef},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::HelixEvent;

/// Schema of a timestamp: nanoseconds since 1970.
fn nanoseconds(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    Schema::Long
}

/// Schema of metadata, which [`super::schemas`] leaves out.
fn no_schema(_: &mut HashSet<Name>, _: NamespaceRef) -> Schema {
    Schema::Null
}

/// A node has joined, left, failed or said that it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct NodeEvent {
    pub run_id: String,
    pub node_id: String,
    #[avro(with = nanoseconds)]
    pub timestamp: Timestamp,
    /// What happened: `heartbeat`, `join`, `leave`, `failure`.
    #[serde(default)]
    #[avro(default = r#""""#)]
    pub action: String,
    /// More to know. Has no place in the Avro schema.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[avro(with = no_schema, default = "null")]
    pub metadata: BTreeMap<String, String>,
}

/// A session was created, attached, detached or terminated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct SessionEvent {
    pub run_id: String,
    pub session_id: String,
    pub action: String,
    #[avro(with = nanoseconds)]
    pub timestamp: Timestamp,
}

/// Work was assigned, preempted or queued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct SchedulerEvent {
    pub run_id: String,
    /// The scheduled unit, such as a task.
    pub entity_id: String,
    pub action: String,
    #[avro(with = nanoseconds)]
    pub timestamp: Timestamp,
}

/// An actor did something to a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, AvroSchema)]
pub struct AuditEvent {
    pub run_id: String,
    pub actor: String,
    pub subject_id: String,
    pub action: String,
    #[avro(with = nanoseconds)]
    pub timestamp: Timestamp,
}

/// Result of a probe, or a threshold that was crossed. Always JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    pub run_id: String,
    pub entity_id: String,
    pub action: String,
    pub timestamp: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// An alert was fired, resolved or escalated. Always JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEvent {
    pub run_id: String,
    pub entity_id: String,
    pub action: String,
    pub timestamp: Timestamp,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Constructor of an event, and what the envelope takes from it.
macro_rules! helix_event {
    ($event:ident, $domain:literal, $schema:expr, $entity:ident, [$($given:ident),*], [$($more:ident),*]) => {
        impl $event {
            /// Creates an event of this moment, with a random run id.
            pub fn new($($given: impl Into<String>,)* $entity: impl Into<String>, action: impl Into<String>) -> Self {
                Self {
                    run_id: super::random_id(),
                    $($given: $given.into(),)*
                    $entity: $entity.into(),
                    action: action.into(),
                    timestamp: Timestamp::now(),
                    $($more: BTreeMap::new(),)*
                }
            }
        }

        impl HelixEvent for $event {
            const STREAM_DOMAIN: &'static str = $domain;
            const SCHEMA: Option<&'static str> = $schema;

            fn run_id(&self) -> &str {
                &self.run_id
            }

            fn entity(&self) -> &str {
                &self.$entity
            }

            fn action(&self) -> &str {
                &self.action
            }

            fn timestamp(&self) -> Timestamp {
                self.timestamp
            }

            fn metadata(&self) -> Option<&BTreeMap<String, String>> {
                None$(.or(Some(&self.$more)))*
            }
        }
    };
}

helix_event!(NodeEvent, "nodes", Some("helix-node-v2"), node_id, [], [metadata]);
helix_event!(SessionEvent, "sessions", Some("helix-session"), session_id, [], []);
helix_event!(SchedulerEvent, "scheduler", Some("helix-scheduler"), entity_id, [], []);
helix_event!(AuditEvent, "audit", Some("helix-audit"), subject_id, [actor], []);
helix_event!(HealthEvent, "health", None, entity_id, [], [metadata]);
helix_event!(AlertEvent, "alerts", None, entity_id, [], [metadata]);

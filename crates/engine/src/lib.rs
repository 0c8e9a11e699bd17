//! The way of an event from its source to the queues of its sinks: registry, lanes, the walk
//! through a route, outlets, dead letters. Knows the traits of sinks, and no destination.

use trommel_avro as avro;
use trommel_config::{config, schema, signature};
use trommel_core::{ack, fate, health, metrics, schema_registry, show, stop, telemetry};
use trommel_event::{condition, endpoint, event, field, json};
use trommel_filter::filter;
use trommel_fleet as fleet;
use trommel_nats as nats;
use trommel_sync::{backoff, fence, poison, timer};

pub mod dead_letters;
pub mod pipeline;
pub mod registry;
pub mod sink;
pub mod trial;
pub mod walk;

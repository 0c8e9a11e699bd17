//! What all parts of a router share: the duty to settle an event, stopping, counters, recent
//! events, spans, and the client for HTTP requests that leave the machine.

use trommel_avro as avro;
use trommel_config::{address, config, credential};
use trommel_event::{event, text};
use trommel_sync::{backoff, fence, poison, timer};

pub mod ack;
pub mod fate;
pub mod health;
pub mod metrics;
pub mod open_files;
pub mod outgoing;
pub mod pause;
pub mod recent;
pub mod schema_registry;
pub mod show;
pub mod stop;
pub mod summary;
pub mod tap;
pub mod telemetry;

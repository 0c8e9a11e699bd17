//! Sources of events: JetStream, lines, replays, dead letters, the bus, HTTP.

use trommel_avro as avro;
use trommel_bus as bus;
use trommel_config::{config, credential, signature};
use trommel_core::{ack, health, metrics, open_files, pause, stop};
use trommel_engine::{dead_letters, pipeline};
use trommel_event::{event, field, json};
use trommel_nats as nats;
use trommel_sync::{backoff, fence, poison, timer};

pub mod listener;
pub mod source;

//! Destinations of outputs: stdout, files, folders, NATS, webhooks, programs; what each would
//! write, and what each should hold.

use trommel_avro as avro;
use trommel_bus as bus;
use trommel_config::{config, signature};
use trommel_core::{health, metrics, outgoing, stop};
use trommel_engine::dead_letters;
use trommel_event::{event, json, text};
use trommel_nats as nats;
use trommel_sync::{backoff, poison, timer};

pub mod sink;
pub mod verify;
pub mod webhook;

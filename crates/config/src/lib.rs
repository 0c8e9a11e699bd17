//! The checked configuration of a router and what it is made of: schemas of outputs, signatures,
//! secrets. Reads TOML; names no broker, no engine and no HTTP client.

use trommel_avro as avro;
use trommel_bus as bus;
use trommel_event::{condition, endpoint, event, field, json, text};
use trommel_sync::{backoff, poison};

pub mod address;
pub mod config;
pub mod credential;
pub mod ownership;
pub mod schema;
pub mod signature;

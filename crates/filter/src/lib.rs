//! The host of filters: WebAssembly components, their limits, their pools, and the API that they
//! may call.

use trommel_config::{config, credential};
use trommel_core::{metrics, outgoing, telemetry};
use trommel_event::{condition, endpoint, event, field, json, projection, text};
use trommel_nats as nats;
use trommel_sync::{backoff, poison};

pub mod api;
pub mod filter;

//! trommel: an event router between JetStream subscriptions and output sinks that runs WebAssembly
//! components on every event.
//!
//! The data flows one way. A [`source`] turns messages into [`event`]s and hands each to its
//! [`pipeline::Intake`], together with the duty to settle it ([`ack`]). Lanes take the events
//! through the keys of the [`registry`] in force: conditions, `matches` and `process` of a
//! [`filter`], then the queues of the [`sink`]s. When every sink has confirmed, the duty is done
//! and the source acknowledges. [`app`] assembles a router from a checked [`config`]. A program
//! that embeds a router publishes to it on a [`bus`].

pub use trommel_avro as avro;
pub use trommel_bus as bus;
pub use trommel_client as client;
pub use trommel_config::{address, config, credential, ownership, schema, signature};
pub use trommel_core::{
    ack, fate, health, metrics, open_files, outgoing, pause, recent, schema_registry, show, stop, summary, tap,
    telemetry,
};
pub use trommel_engine::{dead_letters, pipeline, registry, trial, walk};
pub use trommel_event::{condition, endpoint, event, field, json, projection, text};
pub use trommel_filter::{api, filter};
pub use trommel_fleet as fleet;
pub use trommel_folder as folder;
pub use trommel_nats as nats;
pub use trommel_sinks::{sink, verify, webhook};
pub use trommel_sources::{listener, source};
pub use trommel_sync::{backoff, fence, poison, timer};

pub mod admin;
pub mod app;
pub mod cli;
pub mod control;
pub mod feed;
pub mod prelude;
pub mod self_service;

//! Encodings, envelopes and the bus.

#![allow(
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may print what it was given"
)]

#[path = "../common/flow.rs"]
mod flow;
#[path = "../common/nats.rs"]
mod nats;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/router.rs"]
mod router;
#[path = "../common/stand_in.rs"]
mod stand_in;

mod avro_fastavro;
mod avro_keys;
mod bus;
mod bus_envelope;
mod bus_sink;
mod bus_source;
mod client;
mod core_nats;
mod event_families;
mod helix_cluster;
mod schema_registry;

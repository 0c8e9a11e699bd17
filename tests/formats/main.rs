//! Encodings, envelopes and the bus.

#[path = "../common/flow.rs"]
mod flow;
#[path = "../common/nats.rs"]
mod nats;
#[path = "../common/router.rs"]
mod router;

mod avro_fastavro;
mod avro_keys;
mod bus;
mod bus_envelope;
mod bus_source;
mod event_families;

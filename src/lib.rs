//! trommel: an event router that stands between JetStream subscriptions and output sinks and runs WebAssembly
//! components on every event.

pub mod ack;
pub mod config;
pub mod event;
pub mod field;
pub mod json;
pub mod metrics;
pub mod pipeline;
pub mod registry;
pub mod sink;
pub mod source;
pub mod stop;

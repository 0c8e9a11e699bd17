//! trommel: an event router that stands between JetStream subscriptions and output sinks and runs WebAssembly
//! components on every event.

pub mod ack;
pub mod config;
pub mod event;
pub mod metrics;
pub mod sink;
pub mod stop;

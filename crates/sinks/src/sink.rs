//! Sinks, one module each, beside the trait that they implement.

pub use trommel_engine::sink::*;

pub mod blocking;
pub mod bus;
mod chunk;
pub mod exec;
pub mod file;
pub mod folder;
pub mod nats;
pub mod null;
mod permissions;
pub mod preview;
mod safe;
pub mod stdout;
pub mod webhook;

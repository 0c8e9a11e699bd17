//! What becomes of events when everything goes wrong. Short here; by hand, for hours, with larger
//! `TORTURE_EVENTS` and `TORTURE_KILLS`, or `TORTURE_MESSAGES` for the odd ones. A run says its
//! seed, and `TORTURE_SEED` repeats it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]
#![allow(clippy::print_stderr, reason = "a run says its seed and what it has seen")]

mod account;
mod disk;
mod faults;
mod load;
#[path = "../common/nats.rs"]
mod nats;
mod odd;
mod oddities;
#[path = "../common/proxy.rs"]
mod proxy;
mod receiver;
#[path = "../common/router.rs"]
mod router;
mod router_process;
mod settings;
mod sightings;
#[path = "../common/sinks.rs"]
mod sinks;
mod tail;
mod torture;

/// A number that the environment gives.
fn given<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

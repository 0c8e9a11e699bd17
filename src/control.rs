//! The control socket: how other processes of the same user attach to a running router, ask how it is, and stop it.
//!
//! A router's folder has one socket, in a folder of its own that only the user may enter. Over it go JSON objects, one a
//! line ([`protocol`]). A consumer that attaches becomes a route of the next generation; what the route lets out goes
//! into a ring that drops what has waited longest, so that a consumer that stops reading slows nobody else (X2) and costs a
//! bounded number of bytes.

pub mod client;
mod consumer;
mod lines;
mod link;
mod place;
pub mod protocol;
mod ring;
mod server;

pub use link::Link;
pub use place::{Place, PlaceError};
pub use server::{Control, View};

//! The control socket, by which other processes of the same user attach to a running router, ask
//! for its status, and control it. What operators ask for is carried out by the control plane
//! (`plane`), for the admin listener too.
//!
//! A router's folder has one socket, in a folder of its own that only the user may enter. Messages
//! on it are JSON objects, one a line ([`protocol`]). An attached consumer becomes a route of the
//! next generation; the route's outputs go into a ring that drops the oldest, so that a consumer
//! that stops reading delays no other (X2) and costs a bounded number of bytes.

mod attach;
mod audit;
pub mod client;
mod consumer;
mod drain;
mod feed;
mod lines;
mod link;
mod log_switch;
pub mod operation;
mod pauses;
mod place;
mod plane;
pub mod protocol;
mod ring;
mod server;

pub use attach::{AttachedKey, ConsumerDesk, KeyNews, KeyRequest, ListedFollower, MAX_BUFFER};
pub use link::ControlLink;
pub use log_switch::LogSwitch;
pub use place::{PlaceError, SocketPlace};
pub use plane::{ControlPlane, ORDERS, PlaneParts};
pub use ring::WaitingOutput;
pub use server::{ControlSocket, ControlView};

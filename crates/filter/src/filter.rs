//! Filters: users' WebAssembly components, and the host that runs them.
//!
//! A [`Host`] loads the bytes of a component into a [`Filter`]; a route asks it for a
//! [`RouteSubscription`]. For every event the route's [`Conditions`](crate::condition::Conditions)
//! are tested natively, then a lane's [`Matcher`] calls the guest's `matches`, then
//! [`Filter::process`] returns the [`Verdict`].
//!
//! Every component is linked twice. *Match* instances can call nothing, so `matches` is pure by
//! construction; they are called synchronously, one per lane. *Process* instances have the granted
//! imports, are called asynchronously, pooled and reused. An instance whose call failed in any way
//! is dropped.
//!
//! The rest of the router sees the types of this file and no others: nothing of wasmtime, nothing
//! of one version of the contract. A version of the contract is one module (`v0_1`) that converts
//! to these types.

use bytes::Bytes;
use bytestring::ByteString;
use std::time::Duration;

mod account;
mod batch;
mod cache;
mod compiler;
mod cost;
mod error;
mod granted;
mod health;
mod host;
mod idle;
mod inspect;
mod instance;
mod journal;
mod lifecycle;
mod loaded;
mod sandbox;
mod state;
mod subscription;
mod survey;
mod v0_1;

pub use cache::is_trusted;
pub use compiler::{CompilerLimits, MemoryReservations, compile_apart, compile_here};
pub use error::{BreakReason, BrokenCall, CallError, CallFault, LoadError, ProcessError};
pub use granted::Caller;
pub use host::{Host, digest};
pub use inspect::{ComponentForm, has_lifecycle};
pub use loaded::{Filter, Matcher};
pub use subscription::{CallLimits, RouteSubscription};
pub use survey::{ComponentSurvey, survey};
#[cfg(fuzzing)]
pub use v0_1::checked_emission;

/// The versions of the contract that components may be built against, the oldest first.
pub const CONTRACTS: &[&str] = v0_1::VERSIONS;

/// The values of a route's params, sorted by name.
pub type Params = Vec<(String, String)>;

/// A filter's description of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub name: String,
    /// The filter's own version, for people and logs.
    pub version: String,
    pub description: String,
    pub hooks: FilterHooks,
    pub match_reads: EventFields,
    pub process_reads: EventFields,
    /// Requested capabilities; the configuration decides which are granted.
    pub capabilities: Vec<String>,
}

/// Hooks that a filter implements. A hook that is not named is never called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterHooks {
    pub normalize_params: bool,
    pub conditions: bool,
    pub matches: bool,
    pub process: bool,
}

/// The parts of an event that a filter reads. Only these are copied into it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFields {
    pub id: bool,
    pub subject: bool,
    pub source_time: bool,
    pub headers: bool,
    pub payload: bool,
}

/// A filter's decision about an event, returned by `process`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Discard the event.
    Drop,
    /// Send the event on as it is.
    Keep,
    /// Send the event on with this payload.
    Replace(Bytes),
    /// Send these outputs instead, in this order. Never empty.
    Emit(Vec<Emission>),
}

/// One output made by a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    pub payload: Bytes,
    /// Subject in place of the event's own. Always valid.
    pub subject: Option<ByteString>,
    /// Headers added to the event's; an existing header of the same name is replaced.
    pub headers: Vec<(ByteString, ByteString)>,
}

/// An error returned by the guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The event can never be processed: it goes straight to the dead letters.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A temporary error: retry after this time.
    #[error("to be tried again in {0:?}: {1}")]
    Retry(Duration, String),
    /// Retry by the key's policy, then dead letter.
    #[error("it failed: {0}")]
    Failed(String),
    /// The filter itself can't go on: it is quarantined, and the event is kept.
    #[error("the filter can't go on: {0}")]
    Broken(String),
}

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

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use bytestring::ByteString;

mod account;
mod batch;
mod cache;
mod compiler;
mod cost;
mod engine;
mod error;
mod functions;
mod granted;
mod guest;
mod health;
mod host;
mod idle;
mod inspect;
mod instance;
mod interest;
mod journal;
mod lifecycle;
mod loaded;
mod manifest;
mod measures;
mod outputs;
mod pace;
mod sandbox;
mod state;
mod still_clock;
mod subscription;
mod survey;
mod v0_1;
mod v0_2;

pub use cache::is_trusted;
pub use compiler::{CompilerLimits, MemoryReservations, compile_apart, compile_here};
pub use engine::{CodeCache, CodeQuality, MATCHER_STACK};
pub use error::{BreakReason, BrokenCall, CallError, CallFault, LoadError, MatchError, ProcessError};
pub use granted::Caller;
pub use host::{Host, digest};
pub use inspect::{ComponentForm, has_lifecycle};
pub use loaded::{Filter, Matcher};
pub use manifest::{EventFields, FilterHooks, FilterNeeds, Manifest};
pub use measures::MetricDeclaration;
#[cfg(fuzzing)]
pub use outputs::checked_emission;
pub use state::StateStore;
pub use subscription::{CallLimits, RouteSubscription};
pub use survey::{ComponentSurvey, survey};

/// The versions of the contract that components may be built against, the oldest first.
pub const CONTRACTS: &[&str] = &guest::VERSIONS;

/// The values of a route's params, sorted by name.
pub type Params = Vec<(String, String)>;

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
    /// The only sink that it goes to; `None` for all of the route.
    pub sink: Option<Arc<str>>,
    /// Id in place of the router's own. Never empty.
    pub id: Option<ByteString>,
    /// Time before which it is not sent, in Unix milliseconds.
    pub not_before: Option<u64>,
    /// Subject in place of the event's own. Always valid.
    pub subject: Option<ByteString>,
    /// Headers added to the event's, in place of those of the same name, or removed from them where
    /// there is no value.
    pub headers: Vec<(ByteString, Option<ByteString>)>,
    pub fate: EmissionFate,
}

impl Emission {
    /// Creates an output that goes to all sinks, with the event's own subject and headers.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        let (payload, fate) = (payload.into(), EmissionFate::Send);
        Self { payload, sink: None, id: None, not_before: None, subject: None, headers: Vec::new(), fate }
    }
}

/// What becomes of an emission.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EmissionFate {
    #[default]
    Send,
    /// It becomes a dead letter.
    Bury(FailureCause),
}

/// Why something could not be done, in the words of the filter's author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureCause {
    /// Word to tell such cases apart by: lower case letters, digits and underscores.
    pub code: Option<Box<str>>,
    /// For people.
    pub detail: String,
}

impl From<String> for FailureCause {
    fn from(detail: String) -> Self {
        Self { code: None, detail }
    }
}

/// An error returned by the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub cause: FailureCause,
}

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The event can never be processed: it goes straight to the dead letters.
    Malformed,
    /// A temporary error: retry after this time.
    Retry(Duration),
    /// Retry by the key's policy, then dead letter.
    Failed,
    /// No error: ask again after this time, however often.
    Defer(Duration),
    /// The filter itself can't go on: it is quarantined, and the event is kept.
    Broken,
}

impl Failure {
    /// Creates a failure without a code.
    pub fn new(kind: FailureKind, detail: String) -> Self {
        Self { kind, cause: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            FailureKind::Malformed => f.write_str("malformed: ")?,
            FailureKind::Retry(after) => write!(f, "to be tried again in {after:?}: ")?,
            FailureKind::Failed => f.write_str("it failed: ")?,
            FailureKind::Defer(after) => write!(f, "to be asked again in {after:?}: ")?,
            FailureKind::Broken => f.write_str("the filter can't go on: ")?,
        }
        f.write_str(&self.cause.detail)
    }
}

impl std::error::Error for Failure {}

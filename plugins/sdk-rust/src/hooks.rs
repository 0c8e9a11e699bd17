//! The hooks that a filter may have, each a trait.

use serde::de::DeserializeOwned;

use crate::{
    Fields, Result,
    bindings::trommel::filter::types::{Emission, Outcome, Params},
};

/// For a filter that is not its params, but made of them. Without it the filter's type is read from
/// them by serde.
pub trait FromParams: Sized {
    type Params: DeserializeOwned;

    /// Called once per route and instance, in instances that can call nothing too.
    ///
    /// # Errors
    /// Why the route is refused.
    fn from_params(key: &str, params: Self::Params) -> Result<Self>;
}

/// The params to use in place of those that a user wrote.
pub trait Normalize {
    /// Called once per route, at the start. May call what was granted.
    ///
    /// # Errors
    /// Why the route is refused.
    fn normalize(key: &str, params: Params) -> Result<Params>;
}

/// Match as data, which the router tests itself: an event that fails it costs no call.
pub trait Conditions {
    /// An expression in the language of `where`; [`field`](crate::field) helps to write it. Empty for
    /// every event. Asked once per route, may call nothing.
    fn condition(&self) -> String;
}

/// Match as code, for what conditions can't say.
pub trait Matches {
    /// What it looks at: a struct with `#[derive(Fields)]`, or [`Event`](crate::Event) with what
    /// `reads` names. Nothing else is handed over.
    type Reads<'a>: Fields<'a>;

    /// Fields that the params decide, behind those of `Reads`.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the event is wanted. Called for every event that the condition holds for, alone or in
    /// batches; may call nothing but the log and telemetry. An event that `Reads` can't be read from
    /// is not wanted.
    fn matches(&self, event: Self::Reads<'_>) -> bool;
}

/// What becomes of an event. Without it what matched is kept as it is.
pub trait Process {
    /// What it looks at, as with [`Matches::Reads`].
    type Reads<'a>: Fields<'a>;

    /// Fields that the params decide, behind those of `Reads`.
    fn reads(&self) -> Vec<String> {
        Vec::new()
    }

    /// Names of the sinks that emissions choose. The router refuses a route that lacks one.
    fn sinks(&self) -> Vec<String> {
        Vec::new()
    }

    /// Called for every event that matched, alone or in batches. May call what was granted. An event
    /// that `Reads` can't be read from is malformed.
    ///
    /// # Errors
    /// What the router does about each kind stands with [`Failure`](crate::Failure).
    fn process(&self, event: Self::Reads<'_>) -> Result<Outcome>;
}

/// Outputs that no event brings about: the end of a window, a digest.
pub trait Tick {
    /// The time between two calls, such as `"10s"`.
    const INTERVAL: &'static str;

    /// Called once an interval, with the time in Unix milliseconds, whether events come or not, and
    /// only when all outputs of the tick before have arrived: what those were made of is safe to
    /// forget then, and not before. May call what was granted. A tick that fails is called again.
    ///
    /// # Errors
    /// As [`Process::process`].
    fn tick(&self, now: u64) -> Result<Vec<Emission>>;
}

/// For a filter that holds something upstream while anyone consumes. Exported by
/// `export!(Name, lifecycle)`.
pub trait Lifecycle: Sized {
    /// Called for the first consumer of a subscription. The token, if any, is handed to
    /// [`Self::cleanup`].
    ///
    /// # Errors
    /// Why it can't be consumed.
    fn pre_consume(self, key: &str) -> Result<Option<String>>;

    /// Called when the last consumer has left.
    ///
    /// # Errors
    /// Why it is still held.
    fn cleanup(self, key: &str, token: &str) -> Result<()>;
}

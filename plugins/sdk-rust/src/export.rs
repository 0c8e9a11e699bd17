//! The hooks that a filter may have, and what stands between them and the contract.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::{
    Condition, Event, Failure, Fields, Outcome, Params, Result,
    bindings::{
        exports::trommel::filter::{
            filter::{Guest, GuestSubscription},
            filter_batch::{self, EventBatch, GuestBatch},
        },
        lifecycle::exports::trommel::filter::lifecycle,
        trommel::filter::types::{self, Hooks},
    },
    columns::Columns,
    panics::log_panics,
    params,
};

/// Match as data, which the router tests itself: an event that fails them costs no call.
pub trait Conditions {
    /// Any list, all of its conditions. No list at all passes everything. Asked once per route, may call nothing.
    fn conditions(&self) -> Vec<Vec<Condition>>;
}

/// Match as code, for what conditions can't say.
pub trait Matches {
    /// What `matches` looks at beside the event type. Nothing else is handed over.
    const READS: Fields;

    /// Whether the event is wanted. Called for every event that passed the conditions; may call nothing but the log.
    fn matches(&self, event: &Event) -> bool;
}

/// What becomes of an event. Without it what matched is kept as it is.
pub trait Process {
    /// What `process` looks at beside the event type. Nothing else is handed over.
    const READS: Fields;

    /// Called for every event that matched. May call what was granted.
    ///
    /// # Errors
    /// What the router does about each kind stands with [`Failure`].
    fn process(&self, event: &Event) -> Result<Outcome>;
}

/// The params to use in place of those that a user wrote.
pub trait Normalize {
    /// Called once per route, at the start. May call what was granted. Without it params must be such that the filter
    /// can be made of them.
    ///
    /// # Errors
    /// Why the route is refused.
    fn normalize(key: &str, params: Params) -> Result<Params>;
}

/// For a filter that holds something upstream while anyone consumes. Exported by `export!(Name, lifecycle)`.
pub trait Lifecycle: Sized {
    /// Called for the first consumer of a subscription. The token, if any, is handed to [`Self::cleanup`].
    ///
    /// # Errors
    /// Why nobody may consume.
    fn pre_consume(self, key: &str) -> Result<Option<String>>;

    /// Called when the last consumer has left, whoever that is.
    ///
    /// # Errors
    /// Why it is still held.
    fn cleanup(self, key: &str, token: &str) -> Result<()>;
}

/// Makes a component of a filter: `export!(Large)`. The hooks are those whose traits the type implements. Behind its
/// name stand what else it wants: `api` and `state`, to be granted by the user, and `lifecycle`, to export
/// [`Lifecycle`](crate::Lifecycle).
#[macro_export]
macro_rules! export {
    ($filter:ident $(, $more:ident)* $(,)?) => {
        const _: () = {
            #[allow(unused_imports, reason = "only those that the filter has no hook for")]
            use $crate::macros::probe::*;

            impl $crate::macros::Exported for $filter {
                const MANIFEST: $crate::macros::Manifest = $crate::macros::Manifest {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                    description: env!("CARGO_PKG_DESCRIPTION"),
                    has_conditions: Hook::<$filter>::HAS_CONDITIONS,
                    match_reads: Hook::<$filter>::MATCH_READS,
                    process_reads: Hook::<$filter>::PROCESS_READS,
                    wishes: &[$($crate::__wish!($more)),*],
                };

                fn normalize(key: &str, params: $crate::Params) -> $crate::Result<$crate::Params> {
                    Hook::<$filter>::normalize(key, params)
                }

                fn conditions(&self) -> Vec<Vec<$crate::Condition>> {
                    Hook::<$filter>::conditions(self)
                }

                fn matches(&self, event: &$crate::Event) -> bool {
                    Hook::<$filter>::matches(self, event)
                }

                fn process(&self, event: &$crate::Event) -> $crate::Result<$crate::Outcome> {
                    Hook::<$filter>::process(self, event)
                }
            }

            type Exported = $crate::macros::Border<$filter>;
            $crate::bindings::export_filter!(Exported with_types_in $crate::bindings);
            $($crate::__export_more!($more Exported);)*
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __wish {
    (api) => {
        Some("api")
    };
    (state) => {
        Some("state")
    };
    (lifecycle) => {
        None
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_more {
    (lifecycle $exported:ident) => {
        $crate::bindings::lifecycle::export_lifecycle!($exported with_types_in $crate::bindings::lifecycle);
    };
    ($wish:ident $exported:ident) => {};
}

/// A filter with all hooks, those that it does not have filled in. Implemented by [`export!`].
pub trait Exported: DeserializeOwned + 'static {
    const MANIFEST: Manifest;

    fn normalize(key: &str, params: Params) -> Result<Params>;
    fn conditions(&self) -> Vec<Vec<Condition>>;
    fn matches(&self, event: &Event) -> bool;
    fn process(&self, event: &Event) -> Result<Outcome>;
}

/// What a filter says of itself.
pub struct Manifest {
    pub name: &'static str,
    pub version: &'static str,
    pub description: &'static str,
    pub has_conditions: bool,
    /// `None` without the hook.
    pub match_reads: Option<Fields>,
    /// `None` without the hook.
    pub process_reads: Option<Fields>,
    pub wishes: &'static [Option<&'static str>],
}

/// Finds the hooks of a type: `Hook::<T>::matches` is the function below where `T` has the hook, because functions of a
/// type go before those of a trait; else that of a trait in [`probe`].
pub struct Hook<T>(PhantomData<T>);

impl<T: Conditions> Hook<T> {
    pub const HAS_CONDITIONS: bool = true;

    pub fn conditions(filter: &T) -> Vec<Vec<Condition>> {
        filter.conditions()
    }
}

impl<T: Matches> Hook<T> {
    pub const MATCH_READS: Option<Fields> = Some(T::READS);

    pub fn matches(filter: &T, event: &Event) -> bool {
        filter.matches(event)
    }
}

impl<T: Process> Hook<T> {
    pub const PROCESS_READS: Option<Fields> = Some(T::READS);

    pub fn process(filter: &T, event: &Event) -> Result<Outcome> {
        filter.process(event)
    }
}

impl<T: Normalize> Hook<T> {
    pub fn normalize(key: &str, params: Params) -> Result<Params> {
        T::normalize(key, params)
    }
}

/// What stands in for a hook that a type does not have.
pub mod probe {
    use super::{Condition, DeserializeOwned, Event, Fields, Outcome, Params, Result, params};

    pub use super::Hook;

    pub trait NoConditions<T> {
        const HAS_CONDITIONS: bool = false;

        fn conditions(_filter: &T) -> Vec<Vec<Condition>> {
            Vec::new()
        }
    }

    pub trait NoMatches<T> {
        const MATCH_READS: Option<Fields> = None;

        fn matches(_filter: &T, _event: &Event) -> bool {
            true
        }
    }

    pub trait NoProcess<T> {
        const PROCESS_READS: Option<Fields> = None;

        fn process(_filter: &T, _event: &Event) -> Result<Outcome> {
            Ok(Outcome::Keep)
        }
    }

    pub trait NoNormalize<T: DeserializeOwned> {
        fn normalize(_key: &str, given: Params) -> Result<Params> {
            params::read::<T>(&given)?;
            Ok(given)
        }
    }

    impl<T> NoConditions<T> for Hook<T> {}
    impl<T> NoMatches<T> for Hook<T> {}
    impl<T> NoProcess<T> for Hook<T> {}
    impl<T: DeserializeOwned> NoNormalize<T> for Hook<T> {}
}

/// A filter as the contract has it.
pub struct Border<F>(PhantomData<F>);

/// A route's filter, both for single events and for batches. The router refuses a route whose params
/// `normalize-params` refused. Should one come here all the same, nothing goes out unseen: `process` says what is wrong.
pub struct Route<F>(Result<F>);

impl<F: Exported> Guest for Border<F> {
    type Subscription = Route<F>;

    fn describe() -> types::Manifest {
        let Manifest { name, version, description, has_conditions, match_reads, process_reads, wishes } = F::MANIFEST;
        let mut hooks = Hooks::NORMALIZE_PARAMS;
        hooks.set(Hooks::CONDITIONS, has_conditions);
        hooks.set(Hooks::MATCHES, match_reads.is_some());
        hooks.set(Hooks::PROCESS, process_reads.is_some());
        types::Manifest {
            name: name.to_owned(),
            version: version.to_owned(),
            description: description.to_owned(),
            hooks,
            match_reads: match_reads.unwrap_or(Fields::empty()),
            process_reads: process_reads.unwrap_or(Fields::empty()),
            capabilities: wishes.iter().flatten().map(|&wish| wish.to_owned()).collect(),
        }
    }

    fn normalize_params(key: String, params: Params) -> Result<Params, types::Failure> {
        log_panics();
        Ok(F::normalize(&key, params)?)
    }
}

impl<F: Exported> GuestSubscription for Route<F> {
    fn new(_key: String, params: Params) -> Self {
        log_panics();
        Self(params::read(&params))
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        self.0.as_ref().map(F::conditions).unwrap_or_default()
    }

    fn matches(&self, event: types::Event) -> bool {
        self.wants(&Event::from(&event))
    }

    fn process(&self, event: types::Event) -> Result<types::Outcome, types::Failure> {
        let filter = self.0.as_ref().map_err(|refused| types::Failure::Broken(refused.to_string()))?;
        Ok(filter.process(&Event::from(&event))?.into())
    }
}

impl<F: Exported> filter_batch::Guest for Border<F> {
    type Batch = Route<F>;
}

impl<F: Exported> GuestBatch for Route<F> {
    fn new(_key: String, params: Params) -> Self {
        log_panics();
        Self(params::read(&params))
    }

    fn matches(&self, events: EventBatch) -> Vec<u64> {
        let columns = Columns::new(&events.arena, &events.index);
        let mut answers = vec![0; columns.len().div_ceil(64)];
        for event in 0..columns.len() {
            let wanted = self.wants(&Event::from(columns.row(event)));
            answers[event / 64] |= u64::from(wanted) << (event % 64);
        }
        answers
    }
}

impl<F: Exported> Route<F> {
    fn wants(&self, event: &Event) -> bool {
        self.0.as_ref().map_or(true, |filter| filter.matches(event))
    }
}

impl<F: Exported + Lifecycle> lifecycle::Guest for Border<F> {
    fn pre_consume(key: String, params: Params) -> Result<Option<String>, types::Failure> {
        log_panics();
        Ok(params::read::<F>(&params)?.pre_consume(&key)?)
    }

    fn cleanup(key: String, params: Params, token: String) -> Result<(), types::Failure> {
        log_panics();
        Ok(params::read::<F>(&params)?.cleanup(&key, &token)?)
    }
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Malformed(why) => Self::Malformed(why),
            Failure::Retry(after, why) => Self::Retry((after.as_millis().try_into().unwrap_or(u32::MAX), why)),
            Failure::Failed(why) => Self::Failed(why),
            Failure::Broken(why) => Self::Broken(why),
        }
    }
}

//! Finds the hooks of a type: `Hook::<T>::matches` is the function below where `T` has the hook,
//! because functions of a type go before those of a trait; else that of a trait in [`absent`].

use std::marker::PhantomData;

use crate::{
    Conditions, Event, Fields, FromParams, Matches, Normalize, Process, Result, Tick,
    bindings::trommel::filter::types::{Emission, Outcome, Params},
    params,
};

pub struct Hook<T>(PhantomData<T>);

impl<T: FromParams> Hook<T> {
    pub fn create(key: &str, given: &Params) -> Result<T> {
        T::from_params(key, params::read(given)?)
    }
}

impl<T: Normalize> Hook<T> {
    pub const NORMALIZES: bool = true;

    pub fn normalize(key: &str, params: Params) -> Result<Params> {
        T::normalize(key, params)
    }
}

impl<T: Conditions> Hook<T> {
    pub fn condition(filter: &T) -> String {
        filter.condition()
    }
}

impl<T: Matches> Hook<T> {
    pub const MATCHES: bool = true;

    pub fn match_reads(filter: &T) -> Vec<String> {
        names(<T::Reads<'_> as Fields>::NAMES, filter.reads())
    }

    pub fn matches(filter: &T, event: &Event<'_>) -> bool {
        T::Reads::read(event).is_ok_and(|event| filter.matches(event))
    }
}

impl<T: Process> Hook<T> {
    pub const PROCESSES: bool = true;

    pub fn process_reads(filter: &T) -> Vec<String> {
        names(<T::Reads<'_> as Fields>::NAMES, filter.reads())
    }

    pub fn sinks(filter: &T) -> Vec<String> {
        filter.sinks()
    }

    pub fn process(filter: &T, event: &Event<'_>) -> Result<Outcome> {
        filter.process(T::Reads::read(event)?)
    }
}

impl<T: Tick> Hook<T> {
    pub const INTERVAL: Option<&'static str> = Some(T::INTERVAL);

    pub fn tick(filter: &T, now: u64) -> Result<Vec<Emission>> {
        filter.tick(now)
    }
}

fn names(known: &[&str], more: Vec<String>) -> Vec<String> {
    known.iter().map(|&name| name.to_owned()).chain(more).collect()
}

/// What stands in for a hook that a type does not have.
pub mod absent {
    use serde::de::DeserializeOwned;

    use super::{Emission, Event, Outcome, Params, Result, params};

    pub use super::Hook;

    pub trait NoFromParams<T: DeserializeOwned> {
        fn create(_key: &str, given: &Params) -> Result<T> {
            params::read(given)
        }
    }

    pub trait NoNormalize {
        const NORMALIZES: bool = false;

        fn normalize(_key: &str, given: Params) -> Result<Params> {
            Ok(given)
        }
    }

    pub trait NoConditions<T> {
        fn condition(_filter: &T) -> String {
            String::new()
        }
    }

    pub trait NoMatches<T> {
        const MATCHES: bool = false;

        fn match_reads(_filter: &T) -> Vec<String> {
            Vec::new()
        }

        fn matches(_filter: &T, _event: &Event<'_>) -> bool {
            true
        }
    }

    pub trait NoProcess<T> {
        const PROCESSES: bool = false;

        fn process_reads(_filter: &T) -> Vec<String> {
            Vec::new()
        }

        fn sinks(_filter: &T) -> Vec<String> {
            Vec::new()
        }

        fn process(_filter: &T, _event: &Event<'_>) -> Result<Outcome> {
            Ok(Outcome::Keep)
        }
    }

    pub trait NoTick<T> {
        const INTERVAL: Option<&'static str> = None;

        fn tick(_filter: &T, _now: u64) -> Result<Vec<Emission>> {
            Ok(Vec::new())
        }
    }

    impl<T: DeserializeOwned> NoFromParams<T> for Hook<T> {}
    impl<T> NoNormalize for Hook<T> {}
    impl<T> NoConditions<T> for Hook<T> {}
    impl<T> NoMatches<T> for Hook<T> {}
    impl<T> NoProcess<T> for Hook<T> {}
    impl<T> NoTick<T> for Hook<T> {}
}

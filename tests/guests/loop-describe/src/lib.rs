//! A filter that never says what it is.

use std::hint::black_box;

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

struct LoopDescribe;

impl Guest for LoopDescribe {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        let mut step = 0_u64;
        loop {
            step = black_box(step.wrapping_add(1));
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription;

impl GuestSubscription for Subscription {
    fn new(_key: String, _params: Params) -> Self {
        Self
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn process(&self, _event: Event) -> Result<Outcome, Failure> {
        Ok(Outcome::Keep)
    }
}

export!(LoopDescribe);

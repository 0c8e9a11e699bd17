//! Replaces the payload by the filter's version and the event's id, so that a test sees which version an event went
//! through. Built as `stamp-v1` and `stamp-v2`, which differ in nothing but their version.

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use trommel::filter::types::{Fields, Hooks};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

const VERSION: &str = env!("CARGO_PKG_VERSION_MAJOR");

struct Stamp;

impl Guest for Stamp {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "stamp".to_owned(),
            version: VERSION.to_owned(),
            description: "Stamps events with its version".to_owned(),
            hooks: Hooks::PROCESS,
            match_reads: Fields::empty(),
            process_reads: Fields::ID,
            capabilities: Vec::new(),
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

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let id = event.id.unwrap_or_default();
        let stamped = serde_json::json!({ "stamp": format!("v{VERSION}"), "id": id });
        Ok(Outcome::Replace(stamped.to_string().into_bytes()))
    }
}

export!(Stamp);

//! The cheapest filter with a `matches` of its own: reads the event's type and the payload's length, keeps all that
//! match. The price of a call is measured with it.
//!
//! Params: `type`, the wanted event type; empty means any. `max`, the largest wanted payload in bytes.

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use trommel::filter::types::{Fields, Hooks};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

struct MatchType;

impl Guest for MatchType {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "match-type".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Matches on the type and the payload's length".to_owned(),
            hooks: Hooks::MATCHES,
            match_reads: Fields::PAYLOAD,
            process_reads: Fields::empty(),
            capabilities: Vec::new(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription {
    event_type: String,
    max: usize,
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        let param = |name| params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        Self { event_type: param("type").to_owned(), max: param("max").parse().unwrap_or(usize::MAX) }
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, event: Event) -> bool {
        let wanted = self.event_type.is_empty() || event.event_type == self.event_type;
        wanted && event.payload.is_some_and(|payload| payload.len() <= self.max)
    }

    fn process(&self, _event: Event) -> Result<Outcome, Failure> {
        Ok(Outcome::Keep)
    }
}

export!(MatchType);

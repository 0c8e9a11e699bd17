//! Parses every payload twice, as a filter that matches and rewrites JSON does: `matches` looks at one field,
//! `process` changes one and writes the whole again. What such a filter costs is measured with it.
//!
//! Params: `field`, a JSON pointer that must be there; empty means any JSON. `process` sets the member `relayed` to
//! the attempt.

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use serde_json::Value;
use trommel::filter::types::{Fields, Hooks};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

struct RelayJson;

impl Guest for RelayJson {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "relay-json".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Matches on a JSON field and rewrites the payload".to_owned(),
            hooks: Hooks::MATCHES | Hooks::PROCESS,
            match_reads: Fields::PAYLOAD,
            process_reads: Fields::PAYLOAD,
            capabilities: Vec::new(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription {
    field: String,
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        let field = params.into_iter().find(|(name, _)| name == "field").map(|(_, value)| value);
        Self { field: field.unwrap_or_default() }
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, event: Event) -> bool {
        parse(&event).is_ok_and(|value| value.pointer(&self.field).is_some())
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        match parse(&event).map_err(|error| Failure::Malformed(error.to_string()))? {
            Value::Object(mut members) => {
                members.insert("relayed".to_owned(), event.attempt.into());
                Ok(Outcome::Replace(Value::Object(members).to_string().into_bytes()))
            }
            _ => Ok(Outcome::Drop),
        }
    }
}

fn parse(event: &Event) -> serde_json::Result<Value> {
    serde_json::from_slice(event.payload.as_deref().unwrap_or_default())
}

export!(RelayJson);

//! Calls the API by version 0.2 of the contract. Params: `api`, `method`, `path`, and `header`, written `NAME=VALUE`; the body
//! is the payload.

use exports::trommel::filter::filter::{
    Emission, Event, EventBatch, Failure, Guest, GuestSubscription, Interest, Outcome, Params,
};
use trommel::filter::api;

wit_bindgen::generate!({ path: "../../../wit/v0.2.0", world: "filter-component" });

struct Caller;

impl Guest for Caller {
    type Subscription = Subscription;

    fn describe() -> String {
        r#"{"name":"fields-caller","version":"1.0.0","hooks":["process"],"grants":[{"name":"api","reason":"to call it"}]}"#
            .to_owned()
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription(Params);

impl Subscription {
    fn param(&self, name: &str) -> String {
        self.0.iter().find(|(key, _)| key == name).map_or_else(String::new, |(_, value)| value.clone())
    }
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Result<Self, Failure> {
        Ok(Self(params))
    }

    fn interest(&self) -> Interest {
        let process_reads = vec!["payload".to_owned()];
        Interest { condition: String::new(), match_reads: Vec::new(), process_reads, sinks: Vec::new() }
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn matches_batch(&self, _events: EventBatch) -> Vec<u64> {
        Vec::new()
    }

    /// Replaces the payload by the answer: status, the header `x-yours`, the bytes.
    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let header = self.param("header");
        let headers = header.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = api::Request {
            api: Some(self.param("api")).filter(|name| !name.is_empty()),
            method: self.param("method"),
            path: self.param("path"),
            headers: headers.into_iter().collect(),
            body: event.into_iter().next().flatten().filter(|body| !body.is_empty()),
        };
        let said = match api::call(&request) {
            Ok(api::Response { status, headers, body }) => {
                let own = headers.iter().find(|(name, _)| name == "x-yours").map(|(_, value)| value.as_str());
                format!("{status} {own:?} {body:?}")
            }
            Err(error) => format!("{error:?}"),
        };
        Ok(Outcome::Replace(said.into()))
    }

    fn tick(&self, _now: u64) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }

    fn process_batch(&self, _events: EventBatch) -> Vec<Result<Outcome, Failure>> {
        Vec::new()
    }
}

export!(Caller);

//! Calls the API as its params say and sends on what it was told, one line a call.
//!
//! Params: `method`, `path` and `body` (absent means none) of the call; `times` to make it, 1 by default; `where`, one of
//! `normalize-params`, `matches` and `process`, the default. With `patient`, an answer 404 is taken for "not there yet":
//! the event is to come again 500 ms later, twice at most, and then goes on without details.

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use trommel::filter::{
    api::{self, ApiError},
    types::{Fields, Hooks},
};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

struct Caller;

impl Guest for Caller {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "caller".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Calls the API and sends on the answer".to_owned(),
            hooks: Hooks::NORMALIZE_PARAMS | Hooks::MATCHES | Hooks::PROCESS,
            match_reads: Fields::empty(),
            process_reads: Fields::empty(),
            capabilities: vec!["api".to_owned()],
        }
    }

    /// Adds the param `answer`.
    fn normalize_params(key: String, mut params: Params) -> Result<Params, Failure> {
        let wish = Subscription::new(key, params.clone());
        if wish.place == "normalize-params" {
            params.push(("answer".to_owned(), wish.lines()));
        }
        Ok(params)
    }
}

struct Subscription {
    method: String,
    path: String,
    body: Option<String>,
    times: u32,
    place: String,
    is_patient: bool,
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        let param = |name| params.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Self {
            method: param("method").unwrap_or_default(),
            path: param("path").unwrap_or_default(),
            body: param("body"),
            times: param("times").and_then(|times| times.parse().ok()).unwrap_or(1),
            place: param("where").unwrap_or_default(),
            is_patient: param("patient").is_some(),
        }
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, _event: Event) -> bool {
        self.place != "matches" || self.call().is_ok()
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        if self.is_patient {
            return match self.call() {
                Ok(details) => Ok(Outcome::Replace(details.into_bytes())),
                Err(ApiError::Status((404, _))) if event.attempt < 3 => {
                    Err(Failure::Retry((500, "there are no details yet".to_owned())))
                }
                Err(_) => Ok(Outcome::Keep),
            };
        }
        Ok(Outcome::Replace(self.lines().into_bytes()))
    }
}

impl Subscription {
    fn call(&self) -> Result<String, ApiError> {
        api::call(&self.method, &self.path, self.body.as_deref())
    }

    fn lines(&self) -> String {
        let line = |_| match self.call() {
            Ok(answer) => format!("ok: {answer}"),
            Err(ApiError::Denied(why)) => format!("denied: {why}"),
            Err(ApiError::Budget) => "budget".to_owned(),
            Err(ApiError::Timeout) => "timeout".to_owned(),
            Err(ApiError::Status((status, body))) => format!("status {status}: {body}"),
            Err(ApiError::Failed(why)) => format!("failed: {why}"),
        };
        (0..self.times).map(line).collect::<Vec<_>>().join("\n")
    }
}

export!(Caller);

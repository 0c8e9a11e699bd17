//! `redact`: blots out the values of JSON members whose names tell of secrets (J23).
//!
//! This file is the border to the router; what is blotted out stands in [`secrets`].

mod secrets;

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use secrets::Secrets;
use trommel::filter::types::{Fields, Hooks};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-component",
    additional_derives: [PartialEq],
});

struct Redact;

impl Guest for Redact {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            hooks: Hooks::NORMALIZE_PARAMS | Hooks::PROCESS,
            match_reads: Fields::empty(),
            process_reads: Fields::PAYLOAD,
            capabilities: Vec::new(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        secrets(&params).map_err(Failure::Malformed)?;
        Ok(params)
    }
}

/// The params, parsed. The router refuses a route whose params `normalize-params` refused; should one come here all
/// the same, nothing goes out unredacted: `process` says what is wrong.
struct Subscription(Result<Secrets, String>);

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        Self(secrets(&params))
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let secrets = self.0.as_ref().map_err(|problem| Failure::Broken(problem.clone()))?;
        let payload = event.payload.unwrap_or_default();
        let redacted = secrets.redact(&payload).map_err(|error| {
            // What can't be read can't be redacted, so it does not go on.
            Failure::Malformed(format!("the payload is not JSON: {error}"))
        })?;
        Ok(redacted.map_or(Outcome::Keep, Outcome::Replace))
    }
}

fn secrets(params: &Params) -> Result<Secrets, String> {
    let (mut names, mut also, mut except, mut replacement) = ("", "", "", "");
    for (name, value) in params {
        match name.as_str() {
            "names" => names = value,
            "also" => also = value,
            "except" => except = value,
            "replacement" => replacement = value,
            _ => {
                return Err(format!(
                    "`redact` has no param `{name}`: it knows `names`, `also`, `except` and `replacement`"
                ));
            }
        }
    }
    Secrets::new(names, also, except, replacement)
}

export!(Redact);

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription(name: &str, value: &str) -> Subscription {
        Subscription::new("logins".to_owned(), vec![(name.to_owned(), value.to_owned())])
    }

    fn process(subscription: &Subscription, payload: &str) -> Result<Outcome, Failure> {
        subscription.process(Event {
            event_type: "login".to_owned(),
            id: None,
            subject: None,
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers: None,
            payload: Some(payload.as_bytes().to_vec()),
        })
    }

    #[test]
    fn secrets_are_replaced_and_the_rest_is_kept() {
        let subscription = subscription("also", "ssn");
        let redacted = process(&subscription, r#"{"user":"ada","SSN":1}"#).unwrap();
        assert_eq!(redacted, Outcome::Replace(br#"{"user":"ada","SSN":"[REDACTED]"}"#.to_vec()));
        assert_eq!(process(&subscription, r#"{"user": "ada"}"#).unwrap(), Outcome::Keep);
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for payload in ["", "password=1", r#"{"password":"#] {
            assert!(matches!(process(&subscription("names", ""), payload), Err(Failure::Malformed(_))), "{payload}");
        }
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (name, value, expected) in [
            ("name", "x", "`redact` has no param `name`: it knows `names`, `also`, `except` and `replacement`"),
            ("also", "ssn, _", "`also`: `_` has nothing to look for, `-` and `_` are ignored"),
        ] {
            let params = vec![(name.to_owned(), value.to_owned())];
            let refused = Redact::normalize_params("logins".to_owned(), params);
            assert!(matches!(&refused, Err(Failure::Malformed(message)) if message == expected), "{refused:?}");
            assert!(matches!(process(&subscription(name, value), "{}"), Err(Failure::Broken(_))));
        }
    }
}

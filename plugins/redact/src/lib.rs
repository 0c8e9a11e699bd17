//! `redact`: blots out the values of JSON members whose names tell of secrets (J23).
//!
//! What is blotted out stands in [`secrets`].

#[path = "../../border.rs"]
mod border;
mod secrets;

use border::{Filter, Rules};
use secrets::Secrets;
use trommel::filter::types::{Event, Failure, Hooks, Outcome, Params};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-component",
    additional_derives: [PartialEq],
});

struct Redact(Secrets);

impl Rules for Redact {
    const HOOKS: Hooks = Hooks::PROCESS;

    fn new(params: &Params) -> Result<Self, String> {
        let [names, also, except, replacement] = border::known(params, ["names", "also", "except", "replacement"])?;
        Secrets::new(names, also, except, replacement).map(Self)
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let payload = event.payload.unwrap_or_default();
        let redacted = self.0.redact(&payload).map_err(|error| {
            // What can't be read can't be redacted, so it does not go on.
            Failure::Malformed(format!("the payload is not JSON: {error}"))
        })?;
        Ok(redacted.map_or(Outcome::Keep, Outcome::Replace))
    }
}

type Exported = Filter<Redact>;
export!(Exported);

#[cfg(test)]
mod tests {
    use super::{
        border::{
            Subscription,
            test::{event, params},
        },
        exports::trommel::filter::filter::{Guest, GuestSubscription},
        *,
    };

    fn subscription(name: &str, value: &str) -> Subscription<Redact> {
        Subscription::new("logins".to_owned(), params(&[(name, value)]))
    }

    fn process(subscription: &Subscription<Redact>, payload: &str) -> Result<Outcome, Failure> {
        subscription.process(event("login", "l-1", None, payload))
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
            let refused = Exported::normalize_params("logins".to_owned(), params(&[(name, value)]));
            assert!(matches!(&refused, Err(Failure::Malformed(message)) if message == expected), "{refused:?}");
            assert!(matches!(process(&subscription(name, value), "{}"), Err(Failure::Broken(_))));
        }
    }
}

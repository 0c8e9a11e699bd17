//! `redact`: blots out the values of JSON members whose names tell of secrets (J23).
//!
//! What is blotted out stands in [`secrets`].

mod secrets;

use secrets::Secrets;
use serde::Deserialize;
use trommel_filter::{Failure, Fields, FromParams, Outcome, Process, Result, export};

struct Redact(Secrets);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    names: String,
    also: String,
    except: String,
    replacement: String,
}

impl FromParams for Redact {
    type Params = Written;

    fn from_params(_key: &str, Written { names, also, except, replacement }: Written) -> Result<Self> {
        Secrets::new(&names, &also, &except, &replacement).map(Self).map_err(Failure::malformed)
    }
}

#[derive(Fields)]
struct Document<'a> {
    payload: &'a [u8],
}

impl Process for Redact {
    type Reads<'a> = Document<'a>;

    fn process(&self, Document { payload }: Document) -> Result<Outcome> {
        let redacted = self.0.redact(payload).map_err(|error| {
            // What can't be read can't be redacted, so it does not go on.
            Failure::malformed(format!("the payload is not JSON: {error}"))
        })?;
        Ok(redacted.map_or(Outcome::Keep, Outcome::Replace))
    }
}

export!(Redact);

#[cfg(test)]
mod tests {
    use trommel_filter::{
        FailureKind,
        testing::{TestEvent, TestRoute},
    };

    use super::*;

    fn process(name: &str, value: &str, payload: &str) -> Result<Outcome> {
        TestRoute::<Redact>::new(&[(name, value)])?.process(&TestEvent::new(payload))
    }

    #[test]
    fn secrets_are_replaced_and_the_rest_is_kept() {
        let redacted = process("also", "ssn", r#"{"user":"ada","SSN":1}"#);
        assert_eq!(redacted, Ok(Outcome::replace(r#"{"user":"ada","SSN":"[REDACTED]"}"#)));
        assert_eq!(process("also", "ssn", r#"{"user": "ada"}"#), Ok(Outcome::Keep));
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        for payload in ["", "password=1", r#"{"password":"#] {
            assert_eq!(process("names", "", payload).unwrap_err().kind, FailureKind::Malformed, "{payload}");
        }
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (name, value, expected) in [
            ("name", "x", "`name` is not a param: there are `names`, `also`, `except` and `replacement`"),
            ("also", "ssn, _", "`also`: `_` has nothing to look for, `-` and `_` are ignored"),
        ] {
            assert_eq!(process(name, value, "{}"), Err(Failure::malformed(expected)));
        }
    }
}

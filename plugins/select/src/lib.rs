//! `select`: passes the events that fit, with the fields that are wanted.
//!
//! What is kept of them stands in [`fields`]; the router itself tests which fit.

mod fields;

use fields::Selection;
use serde::Deserialize;
use trommel_filter::{Conditions, Event, Failure, FromParams, Outcome, Process, Result, export};

struct Select {
    condition: String,
    /// `None` when the payload stays as it is.
    selection: Option<Selection>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    r#where: String,
    keep: String,
    rename: String,
}

impl FromParams for Select {
    type Params = Written;

    fn from_params(_key: &str, Written { r#where: condition, keep, rename }: Written) -> Result<Self> {
        let selection = Selection::parse(&keep, &rename).map_err(Failure::malformed)?;
        Ok(Self { condition, selection })
    }
}

impl Conditions for Select {
    fn condition(&self) -> String {
        self.condition.clone()
    }
}

impl Process for Select {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        self.selection.iter().map(|_| "payload".to_owned()).collect()
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        match &self.selection {
            Some(selection) => selection.apply(event.payload()?).map(Outcome::Replace).map_err(Failure::malformed),
            None => Ok(Outcome::Keep),
        }
    }
}

export!(Select);

#[cfg(test)]
mod tests {
    use trommel_filter::{
        FailureKind,
        testing::{TestEvent, TestRoute},
    };

    use super::*;

    fn route(given: &[(&str, &str)]) -> Result<TestRoute<Select>> {
        TestRoute::new(given)
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (name, value, expected) in [
            ("were", "/a", "`were` is not a param: there are `where`, `keep` and `rename`"),
            ("keep", "a", "`keep`: `a` is no JSON pointer, write `/a`"),
        ] {
            assert_eq!(route(&[(name, value)]).unwrap_err(), Failure::malformed(expected));
        }
    }

    #[test]
    fn without_keep_and_rename_nothing_is_read() {
        let route = route(&[("where", "/a"), ("keep", "")]).unwrap();
        assert_eq!(route.process(&TestEvent::new("not JSON")).unwrap(), Outcome::Keep);
        assert_eq!(route.interest().condition, "/a");
        assert!(route.interest().process_reads.is_empty());
    }

    #[test]
    fn events_that_cannot_be_selected_from_are_malformed() {
        let route = route(&[("keep", "/a")]).unwrap();
        for payload in ["", "not JSON"] {
            assert_eq!(route.process(&TestEvent::new(payload)).unwrap_err().kind, FailureKind::Malformed);
        }
        assert_eq!(route.process(&TestEvent::new(r#"{"a":1.10,"b":2}"#)), Ok(Outcome::replace(r#"{"a":1.10}"#)));
    }
}

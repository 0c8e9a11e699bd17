//! `select`: passes the events that fit, with the fields that are wanted.
//!
//! This file is the border to the router; what the params mean stands in [`conditions`] and [`fields`].

mod conditions;
mod fields;

use exports::trommel::filter::filter::{Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params};
use fields::Selection;
use trommel::filter::types::{Condition, Fields, Hooks};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-component",
    additional_derives: [PartialEq],
});

struct Select;

impl Guest for Select {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
            hooks: Hooks::NORMALIZE_PARAMS | Hooks::CONDITIONS | Hooks::PROCESS,
            match_reads: Fields::empty(),
            process_reads: Fields::PAYLOAD,
            capabilities: Vec::new(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Rules::new(&params).map_err(Failure::Malformed)?;
        Ok(params)
    }
}

/// The params, parsed. The router refuses a route whose params `normalize-params` refused; should one come here all
/// the same, it passes nothing on unseen: `process` says what is wrong.
struct Subscription(Result<Rules, String>);

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        Self(Rules::new(&params))
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        self.0.as_ref().map(|rules| rules.any_of.clone()).unwrap_or_default()
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let rules = self.0.as_ref().map_err(|problem| Failure::Broken(problem.clone()))?;
        let Some(selection) = &rules.selection else {
            return Ok(Outcome::Keep);
        };
        let payload = event.payload.unwrap_or_default();
        selection.apply(&payload).map(Outcome::Replace).map_err(Failure::Malformed)
    }
}

struct Rules {
    any_of: Vec<Vec<Condition>>,
    /// `None` when the payload stays as it is.
    selection: Option<Selection>,
}

impl Rules {
    fn new(params: &Params) -> Result<Self, String> {
        let (mut condition, mut keep, mut rename) = ("", "", "");
        for (name, value) in params {
            match name.as_str() {
                "where" => condition = value,
                "keep" => keep = value,
                "rename" => rename = value,
                _ => return Err(format!("`select` has no param `{name}`: it knows `where`, `keep` and `rename`")),
            }
        }
        Ok(Self { any_of: conditions::parse(condition)?, selection: Selection::parse(keep, rename)? })
    }
}

export!(Select);

#[cfg(test)]
mod tests {
    use super::*;

    fn params(params: &[(&str, &str)]) -> Params {
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn event(payload: &str) -> Event {
        Event {
            event_type: "order.created".to_owned(),
            id: None,
            subject: None,
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers: None,
            payload: Some(payload.as_bytes().to_vec()),
        }
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (name, value, expected) in [
            ("were", "/a", "`select` has no param `were`: it knows `where`, `keep` and `rename`"),
            ("where", "/a => 1", "`where`, line 1, column 4: `=>` is no operator, write `>=`"),
            ("keep", "a", "`keep`: `a` is no JSON pointer, write `/a`"),
        ] {
            let refused = Select::normalize_params("orders".to_owned(), params(&[(name, value)]));
            assert!(matches!(&refused, Err(Failure::Malformed(message)) if message == expected), "{refused:?}");
        }
    }

    #[test]
    fn good_params_come_back_as_they_are() {
        let given = params(&[("keep", "/id"), ("rename", "/a=/b"), ("where", "/a >= 1 || subject ^= x")]);
        assert_eq!(Select::normalize_params("orders".to_owned(), given.clone()).unwrap(), given);
    }

    #[test]
    fn without_keep_and_rename_the_payload_is_not_even_parsed() {
        let subscription = Subscription::new("orders".to_owned(), params(&[("where", "/a"), ("keep", "")]));
        assert_eq!(subscription.process(event("not JSON")).unwrap(), Outcome::Keep);
        assert_eq!(subscription.conditions().len(), 1);
    }

    #[test]
    fn events_that_cannot_be_selected_from_are_malformed() {
        let subscription = Subscription::new("orders".to_owned(), params(&[("keep", "/a")]));
        assert!(matches!(subscription.process(event("not JSON")), Err(Failure::Malformed(_))));
        assert!(matches!(subscription.process(event("")), Err(Failure::Malformed(_))));
    }

    #[test]
    fn params_that_were_never_checked_stop_the_filter() {
        let subscription = Subscription::new("orders".to_owned(), params(&[("where", "/a =")]));
        assert!(matches!(subscription.process(event("{}")), Err(Failure::Broken(_))));
    }
}

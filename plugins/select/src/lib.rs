//! `select`: passes the events that fit, with the fields that are wanted.
//!
//! What the params mean stands in [`conditions`] and [`fields`].

#[path = "../../border.rs"]
mod border;
mod conditions;
mod fields;

use border::{Filter, Rules};
use fields::Selection;
use trommel::filter::types::{Condition, Event, Failure, Hooks, Outcome, Params};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-component",
    additional_derives: [PartialEq],
});

struct Select {
    any_of: Vec<Vec<Condition>>,
    /// `None` when the payload stays as it is.
    selection: Option<Selection>,
}

impl Rules for Select {
    const HOOKS: Hooks = Hooks::CONDITIONS.union(Hooks::PROCESS);

    fn new(params: &Params) -> Result<Self, String> {
        let [condition, keep, rename] = border::known(params, ["where", "keep", "rename"])?;
        Ok(Self { any_of: conditions::parse(condition)?, selection: Selection::parse(keep, rename)? })
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        self.any_of.clone()
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let Some(selection) = &self.selection else {
            return Ok(Outcome::Keep);
        };
        let payload = event.payload.unwrap_or_default();
        selection.apply(&payload).map(Outcome::Replace).map_err(Failure::Malformed)
    }
}

type Exported = Filter<Select>;
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

    fn subscription(given: &[(&str, &str)]) -> Subscription<Select> {
        Subscription::new("orders".to_owned(), params(given))
    }

    fn process(subscription: &Subscription<Select>, payload: &str) -> Result<Outcome, Failure> {
        subscription.process(event("order.created", "o-1", None, payload))
    }

    #[test]
    fn bad_params_refuse_the_route() {
        for (name, value, expected) in [
            ("were", "/a", "`select` has no param `were`: it knows `where`, `keep` and `rename`"),
            ("where", "/a => 1", "`where`, line 1, column 4: `=>` is no operator, write `>=`"),
            ("keep", "a", "`keep`: `a` is no JSON pointer, write `/a`"),
        ] {
            let refused = Exported::normalize_params("orders".to_owned(), params(&[(name, value)]));
            assert!(matches!(&refused, Err(Failure::Malformed(message)) if message == expected), "{refused:?}");
        }
    }

    #[test]
    fn good_params_come_back_as_they_are() {
        let given = params(&[("keep", "/id"), ("rename", "/a=/b"), ("where", "/a >= 1 || subject ^= x")]);
        assert_eq!(Exported::normalize_params("orders".to_owned(), given.clone()).unwrap(), given);
    }

    #[test]
    fn without_keep_and_rename_the_payload_is_not_even_parsed() {
        let subscription = subscription(&[("where", "/a"), ("keep", "")]);
        assert_eq!(process(&subscription, "not JSON").unwrap(), Outcome::Keep);
        assert_eq!(subscription.conditions().len(), 1);
    }

    #[test]
    fn events_that_cannot_be_selected_from_are_malformed() {
        let subscription = subscription(&[("keep", "/a")]);
        assert!(matches!(process(&subscription, "not JSON"), Err(Failure::Malformed(_))));
        assert!(matches!(process(&subscription, ""), Err(Failure::Malformed(_))));
    }

    #[test]
    fn params_that_were_never_checked_stop_the_filter() {
        let subscription = subscription(&[("where", "/a =")]);
        assert!(matches!(process(&subscription, "{}"), Err(Failure::Broken(_))));
    }
}

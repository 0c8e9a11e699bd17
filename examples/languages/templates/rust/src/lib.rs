//! my-filter: passes orders of at least `min`, and marks them.

use serde::Deserialize;
use trommel_filter::{Edits, Fields, Matches, Outcome, Process, Result, export, log};

/// One route: its params, parsed once. What does not fit refuses the route.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MyFilter {
    #[serde(default = "hundred")]
    min: i64,
}

fn hundred() -> i64 {
    100
}

/// What is read of an event. Nothing else is handed over, and nothing else is parsed.
#[derive(Fields)]
struct Order {
    #[field("/amount")]
    amount: i64,
}

impl Matches for MyFilter {
    type Reads<'a> = Order;

    /// Called for every event of the key, very often, alone or in batches. It only decides. An event without an amount
    /// does not match.
    fn matches(&self, order: Order) -> bool {
        order.amount >= self.min
    }
}

impl Process for MyFilter {
    type Reads<'a> = Order;

    /// Called for what matched. An error with `?` makes a dead letter, one of `api` or `state` after more tries; `Failure`
    /// says other things.
    fn process(&self, order: Order) -> Result<Outcome> {
        log::debug(format_args!("an order of {}", order.amount));
        // All else of the payload stays as it was written.
        Edits::new().set("/large", true).into()
    }
}

export!(MyFilter);

/// `cargo test` needs no Wasm.
#[cfg(test)]
mod tests {
    use trommel_filter::testing::{TestEvent, TestRoute};

    use super::*;

    #[test]
    fn large_orders_are_marked() {
        let route = TestRoute::<MyFilter>::new(&[("min", "200")]).unwrap();
        let order = TestEvent::new(r#"{"amount":250}"#);
        assert!(route.matches(&order));
        assert_eq!(route.process(&order), Edits::new().set("/large", true).into());
        assert!(!route.matches(&TestEvent::new(r#"{"amount":150}"#)));
    }
}

//! my-filter: passes orders of at least `min`, and of them only what is wanted.

use serde::{Deserialize, Serialize};
use trommel_filter::{Event, Fields, Matches, Outcome, Process, Result, export, log};

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

#[derive(Deserialize, Serialize)]
struct Order {
    amount: i64,
    #[serde(default)]
    large: bool,
}

impl Matches for MyFilter {
    /// What is not asked for is not handed over, and costs nothing.
    const READS: Fields = Fields::PAYLOAD;

    /// Called for every event of the key, very often. It can call nothing: it only decides.
    fn matches(&self, event: &Event) -> bool {
        event.json::<Order>().is_ok_and(|order| order.amount >= self.min)
    }
}

impl Process for MyFilter {
    const READS: Fields = Fields::PAYLOAD;

    /// Called for what matched. An error with `?` makes a dead letter, one of `api` or `state` after more tries; `Failure` says other things.
    fn process(&self, event: &Event) -> Result<Outcome> {
        let order: Order = event.json()?;
        log::debug(format_args!("an order of {}", order.amount));
        Outcome::replace_json(&Order { large: true, ..order })
    }
}

export!(MyFilter);

/// `cargo test` needs no Wasm.
#[test]
fn large_orders_are_marked() {
    let filter: MyFilter = trommel_filter::testing::filter(&[("min", "200")]).unwrap();
    let order = Event::new("order.created").with_payload(r#"{"amount":250}"#);
    assert!(filter.matches(&order));
    assert_eq!(filter.process(&order), Ok(Outcome::replace(r#"{"amount":250,"large":true}"#)));
}

//! Most of what the kit for Rust has: a condition, `process` with the store, the log, params that are checked, and the
//! hooks for the first consumer and the last.
//!
//! Params: `min_amount`, the smallest amount that passes; `region`, part of the token that is handed to the last hook; in
//! the region `nowhere` it panics.

use serde::Deserialize;
use trommel_filter::{
    Conditions, Edits, Emission, Failure, Fields, Lifecycle, Outcome, Process, Result, export, field, log, state,
};

#[derive(Deserialize)]
struct Subscriber {
    min_amount: u64,
    region: String,
}

#[derive(Fields)]
struct Order<'a> {
    #[field("/amount")]
    amount: u64,
    id: &'a str,
}

impl Conditions for Subscriber {
    fn condition(&self) -> String {
        field("/amount").at_least(self.min_amount)
    }
}

impl Process for Subscriber {
    type Reads<'a> = Order<'a>;

    fn process(&self, order: Order) -> Result<Outcome> {
        assert!(self.region != "nowhere", "no such region: {}", self.region);
        let seen = state::increment("seen", 1, None)?;
        log::info(format_args!("{} is number {seen}", order.id));
        match seen {
            1 => Edits::new().set("/seen", seen).into(),
            _ => {
                let counted = serde_json::json!({ "amount": order.amount, "seen": seen });
                Ok(Emission::json(&counted)?.subject("counted").header("region", &*self.region).into())
            }
        }
    }
}

impl Lifecycle for Subscriber {
    fn pre_consume(self, key: &str) -> Result<Option<String>> {
        Ok(Some(format!("{key}/{}", self.region)))
    }

    fn cleanup(self, key: &str, token: &str) -> Result<()> {
        match token == format!("{key}/{}", self.region) {
            true => Ok(()),
            false => Err(Failure::failed(format!("`{token}` is not mine"))),
        }
    }
}

export!(Subscriber, state = "counts events", lifecycle);

//! All that the kit for Rust has: conditions, `process` with the store, the log, params that are checked, and the hooks
//! for the first consumer and the last.
//!
//! Params: `min_amount`, the smallest amount that passes; `region`, part of the token that is handed to the last hook; in
//! the region `nowhere` it panics.

use serde::{Deserialize, Serialize};
use trommel_filter::{
    Condition, Conditions, Emission, Event, Failure, Fields, Lifecycle, Outcome, Process, Result, export, field, log,
    state,
};

#[derive(Deserialize)]
struct Subscriber {
    min_amount: u64,
    region: String,
}

#[derive(Deserialize, Serialize)]
struct Order {
    amount: u64,
    #[serde(default)]
    seen: i64,
}

impl Conditions for Subscriber {
    fn conditions(&self) -> Vec<Vec<Condition>> {
        vec![vec![field("/amount").at_least(self.min_amount)]]
    }
}

impl Process for Subscriber {
    const READS: Fields = Fields::PAYLOAD.union(Fields::ID);

    fn process(&self, event: &Event) -> Result<Outcome> {
        let order: Order = event.json()?;
        assert!(self.region != "nowhere", "no such region: {}", self.region);
        let seen = state::add("seen", 1, None)?;
        log::info(format_args!("{} is number {seen}", event.id().unwrap_or_default()));
        let counted = Order { seen, ..order };
        Ok(match seen {
            1 => Outcome::replace_json(&counted)?,
            _ => Outcome::Emit(vec![
                Emission::json(&counted)?.with_subject("counted").with_header("region", &*self.region),
            ]),
        })
    }
}

impl Lifecycle for Subscriber {
    fn pre_consume(self, key: &str) -> Result<Option<String>> {
        Ok(Some(format!("{key}/{}", self.region)))
    }

    fn cleanup(self, key: &str, token: &str) -> Result<()> {
        match token == format!("{key}/{}", self.region) {
            true => Ok(()),
            false => Err(Failure::Failed(format!("`{token}` is not mine"))),
        }
    }
}

export!(Subscriber, state, lifecycle);

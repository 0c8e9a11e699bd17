//! `match-type` written with the kit for Rust, and so asked in batches too. The price of both is measured with it.
//!
//! Params: `type`, the wanted event type; absent means any. `max`, the largest wanted payload in bytes.

use serde::Deserialize;
use trommel_filter::{Event, Fields, Matches, export};

#[derive(Deserialize)]
struct MatchBatch {
    r#type: Option<String>,
    max: Option<usize>,
}

impl Matches for MatchBatch {
    const READS: Fields = Fields::PAYLOAD;

    fn matches(&self, event: &Event) -> bool {
        let wanted = self.r#type.as_ref().is_none_or(|wanted| event.event_type() == wanted);
        wanted && event.payload().is_some_and(|payload| self.max.is_none_or(|max| payload.len() <= max))
    }
}

export!(MatchBatch);

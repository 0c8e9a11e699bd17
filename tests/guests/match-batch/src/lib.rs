//! `match-type` written with the kit for Rust, and so asked in batches too. The price of both is measured with it.
//!
//! Params: `type`, the wanted event type; absent means any. `max`, the largest wanted payload in bytes.

use serde::Deserialize;
use trommel_filter::{Fields, Matches, export};

#[derive(Deserialize)]
struct MatchBatch {
    r#type: Option<String>,
    max: Option<usize>,
}

#[derive(Fields)]
struct Size<'a> {
    event_type: &'a str,
    payload: &'a [u8],
}

impl Matches for MatchBatch {
    type Reads<'a> = Size<'a>;

    fn matches(&self, Size { event_type, payload }: Size) -> bool {
        let wanted = self.r#type.as_ref().is_none_or(|wanted| event_type == wanted);
        wanted && self.max.is_none_or(|max| payload.len() <= max)
    }
}

export!(MatchBatch);

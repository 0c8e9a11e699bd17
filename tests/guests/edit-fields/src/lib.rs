//! Reads two fields and sets a third, without parsing anything. The price of a call of version 0.2 is measured with it.

use exports::trommel::filter::filter::{
    Emission, Event, EventBatch, Failure, Guest, GuestSubscription, Interest, Outcome, Params,
};
use trommel::filter::types::{Change, Edit};

wit_bindgen::generate!({ path: "../../../wit/v0.2.0", world: "filter-pure" });

struct EditFields;

impl Guest for EditFields {
    type Subscription = Subscription;

    fn describe() -> String {
        r#"{"name":"edit-fields","version":"1.0.0","hooks":["process","process-batch"]}"#.to_owned()
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription;

/// Sets `/total` to the length of both values.
fn total(first: Option<&[u8]>, second: Option<&[u8]>) -> Result<Outcome, Failure> {
    let (Some(first), Some(second)) = (first, second) else { return Ok(Outcome::Keep) };
    let total = (first.len() + second.len()).to_string().into_bytes();
    Ok(Outcome::Edit(vec![Edit { field: "/total".to_owned(), change: Change::Set(total) }]))
}

impl GuestSubscription for Subscription {
    fn new(_key: String, _params: Params) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn interest(&self) -> Interest {
        let process_reads = vec!["/customer/id".to_owned(), "/last".to_owned()];
        Interest { condition: String::new(), match_reads: Vec::new(), process_reads, sinks: Vec::new() }
    }

    fn matches(&self, _event: Event) -> bool {
        true
    }

    fn matches_batch(&self, _events: EventBatch) -> Vec<u64> {
        Vec::new()
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        total(event[0].as_deref(), event[1].as_deref())
    }

    fn tick(&self, _now: u64) -> Result<Vec<Emission>, Failure> {
        Ok(Vec::new())
    }

    fn process_batch(&self, EventBatch { arena, index }: EventBatch) -> Vec<Result<Outcome, Failure>> {
        let (numbers, _) = index.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize);
        assert_eq!(numbers.next(), Some(2), "the layout");
        let events = numbers.next().unwrap_or_default();
        numbers.next();
        let mut value = || match (numbers.next()?, numbers.next()?) {
            (0xffff_ffff, _) => None,
            (offset, length) => arena.get(offset..)?.get(..length),
        };
        (0..events).map(|_| total(value(), value())).collect()
    }
}

export!(EditFields);

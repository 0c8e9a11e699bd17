//! Asked alone it wants the events whose payload begins with `{"yes"`; asked in batches it does what its param `mode` says.

use exports::trommel::filter::{
    filter::{Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params},
    filter_batch::{self, EventBatch, GuestBatch},
};
use trommel::filter::types::{Fields, Hooks};

wit_bindgen::generate!({ path: "../../../wit/v0.1.1", world: "filter-batched" });

const YES: &[u8] = br#"{"yes""#;

struct BatchLiar;

impl Guest for BatchLiar {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "batch-liar".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Does not keep the contract for batches".to_owned(),
            hooks: Hooks::MATCHES,
            match_reads: Fields::PAYLOAD,
            process_reads: Fields::empty(),
            capabilities: Vec::new(),
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        Ok(params)
    }
}

struct Subscription;

impl GuestSubscription for Subscription {
    fn new(_key: String, _params: Params) -> Self {
        Self
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        Vec::new()
    }

    fn matches(&self, event: Event) -> bool {
        event.payload.is_some_and(|payload| payload.starts_with(YES))
    }

    fn process(&self, _event: Event) -> Result<Outcome, Failure> {
        Ok(Outcome::Keep)
    }
}

impl filter_batch::Guest for BatchLiar {
    type Batch = Batch;
}

struct Batch {
    mode: String,
}

impl GuestBatch for Batch {
    fn new(_key: String, params: Params) -> Self {
        let mode = params.into_iter().find(|(name, _)| name == "mode");
        Self { mode: mode.map(|(_, mode)| mode).unwrap_or_default() }
    }

    fn matches(&self, events: EventBatch) -> Vec<u64> {
        match &*self.mode {
            "all" => vec![u64::MAX],
            "short" => Vec::new(),
            "long" => vec![u64::MAX; 2],
            "trap" => unreachable!(),
            "loop" => loop {
                std::hint::black_box(());
            },
            "hog" => {
                std::hint::black_box(vec![1_u8; 1 << 30]);
                vec![u64::MAX]
            }
            // Set bits where there is no event.
            _ => {
                let EventBatch { arena, index } = events;
                let number = |at: usize| u32::from_le_bytes(index[4 * at..][..4].try_into().unwrap()) as usize;
                let (count, stride) = (number(1), number(2));
                let mut answer = u64::MAX << (count % 64);
                for event in 0..count {
                    let payload = 4 + event * stride + 8;
                    let (offset, length) = (number(payload), number(payload + 1));
                    answer |= u64::from(arena[offset..offset + length].starts_with(YES)) << event;
                }
                vec![answer]
            }
        }
    }
}

export!(BatchLiar);

//! Wants about every other event, by a checksum of all that it is handed: it answers otherwise as soon as one byte does
//! not come through. Written with the kit for Rust.
//!
//! Params: `salt`, a number that changes which events these are. An event whose payload begins with
//! `{"trap"` or `{"loop"` breaks it.

use serde::Deserialize;
use trommel_filter::{Event, Matches, export};

#[derive(Deserialize)]
struct Parity {
    #[serde(default)]
    salt: u64,
}

/// Some are there in every event, some in none.
const READS: [&str; 10] = [
    "payload",
    "event-type",
    "id",
    "subject",
    "source-time",
    "observed-at",
    "attempt",
    "tenant",
    "header:a",
    "header:é",
];

impl Matches for Parity {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        READS.map(str::to_owned).into()
    }

    fn matches(&self, event: Event) -> bool {
        let payload = event.payload().unwrap_or_default();
        if payload.starts_with(br#"{"trap""#) {
            unreachable!();
        }
        while payload.starts_with(br#"{"loop""#) {
            std::hint::black_box(());
        }
        let mut sum = Checksum(self.salt);
        for name in READS {
            sum.part(event.bytes(name).unwrap_or_default());
        }
        sum.0.count_ones() % 2 == 0
    }
}

/// FNV-1a.
struct Checksum(u64);

impl Checksum {
    fn part(&mut self, part: Option<&[u8]>) {
        self.bytes(&[u8::from(part.is_some())]);
        self.bytes(part.unwrap_or_default());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

export!(Parity);

//! Dead letters that are to go through once more: nothing that stands in a file, but what commands are asked for.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DeadLetter, Envelope};
use crate::signature::LetterSigner;

/// Dead letters as a source.
#[derive(Clone, Debug, PartialEq)]
pub struct LetterSource {
    /// Where they are.
    pub from: DeadLetter,
    pub which: Which,
    /// Tells those that the router wrote.
    pub signer: LetterSigner,
    /// The others are retried, too.
    pub accept_unproven: bool,
    /// Those of the router's sources, by name: they open again what could not be opened.
    pub envelopes: BTreeMap<String, Envelope>,
    /// Letters stay where they are, whatever becomes of their events.
    pub keep: bool,
}

/// Which dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those with these ids.
    These(Vec<u64>),
    Like(Alike),
}

/// What dead letters have in common. What is not given may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alike {
    pub reason: Option<String>,
    pub key: Option<String>,
    /// Stored then or later.
    pub since: Option<Timestamp>,
    /// Stored before then.
    pub until: Option<Timestamp>,
}

impl Alike {
    /// Whether any dead letter will do.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

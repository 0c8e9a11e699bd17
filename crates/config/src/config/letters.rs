//! Dead letters to process once more. Requested by commands, never declared in a file.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{DeadLetterTarget, EnvelopeFormat};
use crate::signature::LetterSigner;

/// Dead letters as a source.
#[derive(Clone, Debug, PartialEq)]
pub struct LetterSource {
    /// Storage of the letters.
    pub from: DeadLetterTarget,
    pub which: LetterChoice,
    /// Verifies that the router wrote a letter.
    pub signer: LetterSigner,
    /// Letters without that proof are retried, too.
    pub accept_unproven: bool,
    /// Envelopes of the router's sources, by name: they decode again what could not be decoded.
    pub envelopes: BTreeMap<String, EnvelopeFormat>,
    /// True if letters stay where they are, whatever the outcome of their events.
    pub keep: bool,
}

/// Selection of dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterChoice {
    /// The letters with these ids.
    These(Vec<u64>),
    Like(LetterFilter),
}

/// Filter of dead letters by common properties. A property that is not given may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Its reason, or the code that the filter's author gave it.
    pub reason: Option<String>,
    pub key: Option<String>,
    /// Earliest time at which it was stored.
    pub since: Option<Timestamp>,
    /// Time before which it was stored.
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// Returns whether it matches every dead letter.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

//! Index of a stretch's dead letters by event, key, route and sink.

use std::collections::HashSet;

use super::{OutputDigest, OutputPlace, output_table::event_hash};
use crate::dead_letters::DeadLetter;

/// Set of the events, keys, routes and sinks that have dead letters. A letter takes 16 bytes.
#[derive(Debug, Default)]
pub struct LetterIndex(HashSet<OutputDigest>);

impl LetterIndex {
    /// Adds a letter. One of an early version, which does not name its event, is left out.
    pub fn add(&mut self, letter: &DeadLetter) {
        let Some(uid) = letter.uid.as_ref().and_then(|uid| uid.parse().ok()) else { return };
        self.0.insert(OutputDigest::letter(event_hash(&uid), &letter.key, &letter.route, &letter.sink));
    }

    /// Returns whether a letter accounts for this place: its own, or one about the whole route, key
    /// or event.
    pub(super) fn has(&self, event: u64, place: &OutputPlace) -> bool {
        let OutputPlace { key, route, sink, .. } = place;
        let names: [[&str; 3]; 4] = [[key, route, sink], [key, route, ""], [key, "", ""], ["", "", ""]];
        names.iter().any(|[key, route, sink]| self.0.contains(&OutputDigest::letter(event, key, route, sink)))
    }
}

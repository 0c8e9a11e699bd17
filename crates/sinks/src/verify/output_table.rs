//! Table of the outputs that a stretch should have led to. An output takes 48 bytes here, whatever
//! its size.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex},
};

use super::{LetterIndex, OutputDigest};
use crate::{
    config::OnFailure,
    event::{Event, Uid},
    poison::ignore_poison,
};

/// Origin and destination of an output.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutputPlace {
    pub source: String,
    pub key: Arc<str>,
    pub route: Arc<str>,
    pub sink: Arc<str>,
    /// Webhook that a delivery is for; empty for all other sinks.
    pub webhook: String,
    /// True if its digest is made of its id, so that no other output has the same.
    pub has_id: bool,
}

#[derive(Debug)]
struct ExpectedOutput {
    digest: OutputDigest,
    /// Hash of the event's unique id.
    event: u64,
    sequence: u64,
    place: u32,
    index: u32,
    /// Time at which its stream stored the event, in seconds since 1970.
    stored: u32,
    /// Number of times it was found; of outputs with one digest the first counts for all.
    found: u32,
}

#[derive(Debug)]
struct ExpectedLetter {
    event: u64,
    sequence: u64,
    place: u32,
    reason: String,
}

/// Recording of the outputs of a run over the stretch. Its sinks share it.
#[derive(Debug, Default)]
pub struct OutputRecording(Mutex<OutputTable>);

impl OutputRecording {
    pub(super) fn output(&self, place: OutputPlace, event: &Event, index: u32, digest: OutputDigest, found: u32) {
        let mut table = ignore_poison(self.0.lock());
        let place = table.place(place);
        let stored = u32::try_from(event.observed_at / 1_000_000_000).unwrap_or(u32::MAX);
        let (event, sequence) = (event_hash(&event.uid), event.sequence);
        table.outputs.push(ExpectedOutput { digest, event, sequence, place, index, stored, found });
    }

    pub(super) fn letter(&self, place: OutputPlace, event: &Event, reason: &str) {
        let mut table = ignore_poison(self.0.lock());
        let place = table.place(place);
        let (event, sequence) = (event_hash(&event.uid), event.sequence);
        table.letters.push(ExpectedLetter { event, sequence, place, reason: reason.to_owned() });
    }

    /// Counts an output that can't be verified.
    pub(super) fn unverifiable(&self, why: String) {
        let mut table = ignore_poison(self.0.lock());
        *table.unchecked.entry(why).or_default() += 1;
    }

    /// Returns everything that was noted.
    pub fn into_table(self) -> OutputTable {
        let mut table = ignore_poison(self.0.into_inner());
        table.outputs.sort_unstable_by_key(|output| (output.digest, output.sequence));
        table
    }
}

/// Hashes an event's unique id, the same in the table and for letters.
pub(super) fn event_hash(uid: &Uid) -> u64 {
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    hasher.finish()
}

/// Outputs expected at the sinks, and how many of them were found.
#[derive(Debug, Default)]
pub struct OutputTable {
    /// Outputs, sorted by digest once the recording has ended.
    outputs: Vec<ExpectedOutput>,
    letters: Vec<ExpectedLetter>,
    places: Vec<OutputPlace>,
    place_numbers: HashMap<OutputPlace, u32>,
    /// Number of outputs that can't be verified, by reason.
    unchecked: BTreeMap<String, u64>,
    /// For sinks that do not keep everything: the second from which on they do, and why.
    kept_since: HashMap<String, (u32, String)>,
}

/// Deviation from the expected outputs.
#[derive(Debug, PartialEq, Eq)]
pub enum VerifyFinding<'a> {
    /// An output is neither at its sink nor in the dead letters.
    MissingOutput { place: &'a OutputPlace, sequence: u64, index: u32 },
    /// An event should be a dead letter, and there is none.
    MissingLetter { place: &'a OutputPlace, sequence: u64, reason: &'a str },
    /// An output is at its sink more often than it should be.
    Double { place: &'a OutputPlace, sequence: u64, index: u32, times: u32 },
}

/// Totals of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyTotals {
    pub outputs: u64,
    pub at_sinks: u64,
    /// Outputs and whole events found in the dead letters.
    pub in_letters: u64,
    pub gaps: u64,
    pub doubles: u64,
    /// Number of outputs that can't be verified, by reason.
    pub unchecked: BTreeMap<String, u64>,
}

impl OutputTable {
    fn place(&mut self, place: OutputPlace) -> u32 {
        if let Some(number) = self.place_numbers.get(&place) {
            return *number;
        }
        // The folder's routes and sinks bound the number.
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.place_numbers.insert(place.clone(), number);
        self.places.push(place);
        number
    }

    /// Notes that a digest was found at a sink. Unexpected ones are ignored.
    pub fn find(&mut self, digest: OutputDigest) {
        let first = self.outputs.partition_point(|output| output.digest < digest);
        if let Some(output) = self.outputs.get_mut(first).filter(|output| output.digest == digest) {
            output.found = output.found.saturating_add(1);
        }
    }

    /// Notes that a sink, or one webhook, may lack outputs from before `second`.
    pub fn keeps_since(&mut self, sink: &str, second: u32, why: String) {
        let known = self.kept_since.entry(sink.to_owned()).or_insert((second, why.clone()));
        if second > known.0 {
            *known = (second, why);
        }
    }

    /// Calls `each` with every deviation, in the order of the events. `policy` returns a sink's
    /// policy.
    pub fn settle(
        &self,
        letters: &LetterIndex,
        policy: impl Fn(&str) -> OnFailure,
        mut each: impl FnMut(VerifyFinding<'_>),
    ) -> VerifyTotals {
        let mut totals = VerifyTotals {
            outputs: self.outputs.len() as u64,
            unchecked: self.unchecked.clone(),
            ..VerifyTotals::default()
        };
        let mut findings = Vec::new();
        for same in self.outputs.chunk_by(|one, next| one.digest == next.digest) {
            let [first, ..] = same else { continue };
            let (found, wanted) = (first.found as usize, same.len());
            // The outputs of an event that its producer has repeated may be there once or more
            // often.
            let missing =
                if self.places[first.place as usize].has_id && found > 0 { 0 } else { wanted.saturating_sub(found) };
            totals.at_sinks += (wanted - missing) as u64;
            for output in &same[wanted - missing..] {
                let place = &self.places[output.place as usize];
                if letters.has(output.event, place) {
                    totals.in_letters += 1;
                } else if let Some(why) = self.excuse(output, place, &policy) {
                    *totals.unchecked.entry(why).or_default() += 1;
                } else {
                    totals.gaps += 1;
                    findings.push(self.missing(output));
                }
            }
            if found > wanted {
                totals.doubles += 1;
                let place = &self.places[first.place as usize];
                let times = first.found;
                findings.push(VerifyFinding::Double { place, sequence: first.sequence, index: first.index, times });
            }
        }
        for letter in &self.letters {
            let place = &self.places[letter.place as usize];
            if letters.has(letter.event, place) {
                totals.in_letters += 1;
            } else if letter.reason == "quarantined" {
                let why = format!("key `{}`: its filter broke too often to say what it would do", place.key);
                *totals.unchecked.entry(why).or_default() += 1;
            } else {
                totals.gaps += 1;
                let (sequence, reason) = (letter.sequence, &*letter.reason);
                findings.push(VerifyFinding::MissingLetter { place, sequence, reason });
            }
        }
        findings.sort_by(|one, other| order(one).cmp(&order(other)));
        findings.into_iter().for_each(&mut each);
        totals
    }

    fn missing(&self, output: &ExpectedOutput) -> VerifyFinding<'_> {
        let place = &self.places[output.place as usize];
        VerifyFinding::MissingOutput { place, sequence: output.sequence, index: output.index }
    }

    /// Returns the reason why an output may be missing without a fault.
    fn excuse(
        &self,
        output: &ExpectedOutput,
        place: &OutputPlace,
        policy: impl Fn(&str) -> OnFailure,
    ) -> Option<String> {
        let mut kept = [&*place.sink, &place.webhook].into_iter().filter_map(|name| self.kept_since.get(name));
        if let Some((_, why)) = kept.find(|(second, _)| output.stored < *second) {
            return Some(why.clone());
        }
        (policy(&place.sink) == OnFailure::Skip)
            .then(|| format!("sink `{}`: `on_failure = \"skip\"` allows that outputs are missing", place.sink))
    }
}

fn order<'a>(finding: &VerifyFinding<'a>) -> (&'a str, u64, &'a str, u32) {
    match finding {
        VerifyFinding::MissingOutput { place, sequence, index }
        | VerifyFinding::Double { place, sequence, index, .. } => (&place.source, *sequence, &place.sink, *index),
        VerifyFinding::MissingLetter { place, sequence, .. } => (&place.source, *sequence, &place.sink, 0),
    }
}

#[cfg(test)]
mod tests;

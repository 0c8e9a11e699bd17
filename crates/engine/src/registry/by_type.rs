//! Index of entries by regular expressions on the event type, and of those for event types that
//! none is found in (L129).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use crate::{event::TypePattern, poison::ignore_poison};

/// Most event types whose entries are remembered. Then all are forgotten: there are few types,
/// unless an upstream makes them up.
const REMEMBERED: usize = 1024;
/// Longest event type that is remembered, in bytes.
const LONGEST: usize = 256;

#[derive(Debug, Default)]
pub(super) struct ByType {
    patterns: Vec<(TypePattern, usize)>,
    rest: Vec<usize>,
    /// Results of earlier searches, as every expression costs time.
    found: Mutex<HashMap<Box<str>, Arc<[usize]>>>,
}

impl ByType {
    pub(super) fn insert(&mut self, pattern: TypePattern, entry: usize) {
        self.patterns.push((pattern, entry));
    }

    /// Adds an entry for the event types that no expression is found in.
    pub(super) fn insert_rest(&mut self, entry: usize) {
        self.rest.push(entry);
    }

    /// Calls `each` for every entry that takes the event type. Costs nothing if there are no
    /// entries.
    pub(super) fn look_up(&self, event_type: &str, each: impl FnMut(usize)) {
        if self.patterns.is_empty() {
            self.rest.iter().copied().for_each(each);
            return;
        }
        if event_type.len() > LONGEST {
            self.search(event_type).into_iter().for_each(each);
            return;
        }
        let known = ignore_poison(self.found.lock()).get(event_type).cloned();
        let found = known.unwrap_or_else(|| {
            let entries: Arc<[usize]> = self.search(event_type).into();
            let mut found = ignore_poison(self.found.lock());
            if found.len() >= REMEMBERED {
                found.clear();
            }
            found.insert(event_type.into(), Arc::clone(&entries));
            entries
        });
        found.iter().copied().for_each(each);
    }

    fn search(&self, event_type: &str) -> Vec<usize> {
        let matching = self.patterns.iter().filter(|(pattern, _)| pattern.matches(event_type));
        let entries: Vec<_> = matching.map(|(_, entry)| *entry).collect();
        if entries.is_empty() { self.rest.clone() } else { entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(index: &ByType, event_type: &str) -> Vec<usize> {
        let mut all = Vec::new();
        index.look_up(event_type, |entry| all.push(entry));
        all
    }

    fn index() -> ByType {
        let mut index = ByType::default();
        for (entry, pattern) in [r"^im\.", "message", r"^contact\."].into_iter().enumerate() {
            index.insert(pattern.parse().unwrap(), entry);
        }
        index.insert_rest(7);
        index.insert_rest(8);
        index
    }

    /// L129: every expression that is found counts, and the rest is for types that none is found
    /// in. The same when asked again.
    #[test]
    fn every_match_counts_and_the_rest_falls_through() {
        let index = index();
        for _ in 0..2 {
            assert_eq!(found(&index, "im.message.receive_v1"), [0, 1]);
            assert_eq!(found(&index, "mail.message"), [1]);
            assert_eq!(found(&index, "vc.meeting"), [7, 8]);
            assert_eq!(found(&index, &"x".repeat(LONGEST + 1)), [7, 8]);
        }
        let mut alone = ByType::default();
        assert_eq!(found(&alone, "t"), [0_usize; 0]);
        alone.insert_rest(1);
        assert_eq!(found(&alone, "t"), [1], "without expressions everything falls through");
    }

    /// Types made up by an upstream don't fill the memory.
    #[test]
    fn what_is_remembered_is_bounded() {
        let index = index();
        for number in 0..3 * REMEMBERED {
            assert_eq!(found(&index, &format!("im.{number}")), [0]);
            assert!(index.found.lock().unwrap().len() <= REMEMBERED);
        }
        found(&index, &"x".repeat(LONGEST + 1));
        assert!(index.found.lock().unwrap().keys().all(|event_type| event_type.len() <= LONGEST));
    }
}

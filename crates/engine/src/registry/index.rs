//! Index over all keys: the cost of a look-up depends on the length of the subject, not on the
//! number of keys.

use std::collections::HashMap;

use crate::event::Pattern;

/// Finds entries by subject pattern and event type; if both are given, both must match (X10).
#[derive(Debug, Default)]
pub struct KeyIndex {
    any_type: PatternIndex,
    by_type: HashMap<String, PatternIndex>,
}

#[derive(Debug, Default)]
struct PatternIndex {
    /// Patterns without wildcards, found in one step.
    exact: HashMap<Box<str>, Vec<usize>>,
    wild: TrieNode,
}

/// A node of a trie over the tokens of patterns with wildcards.
#[derive(Debug, Default)]
struct TrieNode {
    literals: HashMap<Box<str>, TrieNode>,
    any: Option<Box<TrieNode>>,
    /// Entries whose pattern ends here.
    ends: Vec<usize>,
    /// Entries whose pattern goes on with `>`.
    tails: Vec<usize>,
}

impl KeyIndex {
    /// Adds an entry. Without a pattern it takes every subject.
    pub fn insert(&mut self, subject: Option<&Pattern>, event_type: Option<&str>, entry: usize) {
        let patterns = match event_type {
            Some(event_type) => self.by_type.entry(event_type.to_owned()).or_default(),
            None => &mut self.any_type,
        };
        let mut node = &mut patterns.wild;
        let Some(pattern) = subject else {
            node.tails.push(entry);
            return;
        };
        if !pattern.has_wildcard() {
            patterns.exact.entry(pattern.as_str().into()).or_default().push(entry);
            return;
        }
        for token in pattern.tokens() {
            match token {
                ">" => {
                    node.tails.push(entry);
                    return;
                }
                "*" => node = node.any.get_or_insert_default(),
                literal => node = node.literals.entry(literal.into()).or_default(),
            }
        }
        node.ends.push(entry);
    }

    /// Calls `found` once for every entry that matches.
    pub fn look_up(&self, subject: &str, event_type: &str, mut found: impl FnMut(usize)) {
        self.any_type.look_up(subject, &mut found);
        if let Some(patterns) = self.by_type.get(event_type) {
            patterns.look_up(subject, &mut found);
        }
    }
}

impl PatternIndex {
    fn look_up(&self, subject: &str, found: &mut impl FnMut(usize)) {
        if let Some(entries) = self.exact.get(subject) {
            entries.iter().copied().for_each(&mut *found);
        }
        self.wild.look_up(Some(subject), found);
    }
}

impl TrieNode {
    fn look_up(&self, rest: Option<&str>, found: &mut impl FnMut(usize)) {
        let Some(rest) = rest else {
            self.ends.iter().copied().for_each(found);
            return;
        };
        self.tails.iter().copied().for_each(&mut *found);
        if self.literals.is_empty() && self.any.is_none() {
            return;
        }
        let (token, rest) = match rest.split_once('.') {
            Some((token, rest)) => (token, Some(rest)),
            None => (rest, None),
        };
        if let Some(node) = self.literals.get(token) {
            node.look_up(rest, found);
        }
        if let Some(node) = &self.any {
            node.look_up(rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(index: &KeyIndex, subject: &str, event_type: &str) -> Vec<usize> {
        let mut all = Vec::new();
        index.look_up(subject, event_type, |entry| all.push(entry));
        all.sort_unstable();
        all
    }

    /// X10: subject and event type that are given must both match.
    #[test]
    fn subject_and_event_type_must_both_match() {
        let mut index = KeyIndex::default();
        let pattern: Pattern = "orders.*".parse().unwrap();
        index.insert(Some(&pattern), None, 0);
        index.insert(None, Some("created"), 1);
        index.insert(Some(&pattern), Some("created"), 2);
        assert_eq!(found(&index, "orders.1", "created"), [0, 1, 2]);
        assert_eq!(found(&index, "orders.1", "deleted"), [0]);
        assert_eq!(found(&index, "bills.1", "created"), [1]);
        assert_eq!(found(&index, "bills.1", "deleted"), [0usize; 0]);
    }

    proptest! {
        /// The trie agrees with matching every pattern on its own.
        #[test]
        fn look_up_finds_what_matches(
            patterns in prop::collection::vec("(a|b|\\*)(\\.(a|b|\\*)){0,3}(\\.>)?", 1..20),
            subject in "(a|b|c)(\\.(a|b|c)){0,4}",
        ) {
            let patterns: Vec<Pattern> = patterns.iter().map(|text| text.parse().unwrap()).collect();
            let mut index = KeyIndex::default();
            for (entry, pattern) in patterns.iter().enumerate() {
                index.insert(Some(pattern), None, entry);
            }
            let expected: Vec<usize> = (0..patterns.len()).filter(|&entry| patterns[entry].matches(&subject)).collect();
            prop_assert_eq!(found(&index, &subject, ""), expected);
        }
    }
}

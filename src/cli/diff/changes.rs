//! Changes of what becomes of messages, between two folders.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{
    cli::{
        cases::diff::text_diff,
        dry_router::{MessageEnd, sent},
        test::{compare::shown, row::end_fields},
    },
    folder::{CaseEnd, PAYLOADS},
    text::line,
};

/// Kind of a change, by what it means for who waits for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It becomes a dead letter that it was not.
    NewDeadLetter,
    /// Something came out, and nothing does.
    NotSent,
    /// Nothing came out, and something does.
    NewlySent,
    /// It goes to other destinations.
    Elsewhere,
    /// It goes to the same destinations with other content.
    OtherContent,
}

/// A message with other ends.
pub struct MessageChange {
    pub kind: ChangeKind,
    before: Vec<CaseEnd>,
    after: Vec<CaseEnd>,
}

/// The row of an example.
#[derive(Serialize)]
pub struct ChangeRow<'a> {
    message: &'a str,
    change: &'static str,
    old: Vec<Json>,
    new: Vec<Json>,
}

/// Number of messages by the change.
#[derive(Default)]
pub struct ChangeCount {
    same: u64,
    changed: BTreeMap<ChangeKind, u64>,
}

impl ChangeKind {
    const ALL: [Self; 5] = [Self::NewDeadLetter, Self::NotSent, Self::NewlySent, Self::Elsewhere, Self::OtherContent];

    fn word(self) -> &'static str {
        match self {
            Self::NewDeadLetter => "new_dead_letter",
            Self::NotSent => "not_sent",
            Self::NewlySent => "newly_sent",
            Self::Elsewhere => "elsewhere",
            Self::OtherContent => "other_content",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NewDeadLetter => "become new dead letters",
            Self::NotSent => "are no longer sent anywhere",
            Self::NewlySent => "are sent, and were not",
            Self::Elsewhere => "go elsewhere",
            Self::OtherContent => "go where they went, with other content",
        }
    }
}

impl MessageChange {
    /// Returns how the ends differ, if they do. Which keys let a message go counts only where it is
    /// all that differs between something and nothing.
    pub fn new(before: &[MessageEnd], after: &[MessageEnd]) -> Option<Self> {
        let [old, new] = [before, after].map(|ends| by_place(ends).into_iter().map(compared).collect::<Vec<_>>());
        if old == new {
            return None;
        }
        let dead = |ends: &[MessageEnd]| ends.iter().filter(|end| end.all.kind().0 == "dead_letter").count();
        let destinations = |ends: &[MessageEnd]| {
            let mut places: Vec<_> = sent(ends).map(|end| place(&end.all)).collect();
            places.sort_unstable();
            places
        };
        let kind = match (old.is_empty(), new.is_empty()) {
            _ if dead(after) > dead(before) => ChangeKind::NewDeadLetter,
            (false, true) => ChangeKind::NotSent,
            (true, false) => ChangeKind::NewlySent,
            _ if destinations(before) == destinations(after) => ChangeKind::OtherContent,
            _ => ChangeKind::Elsewhere,
        };
        let [before, after] = [before, after].map(told);
        Some(Self { kind, before, after })
    }

    pub fn text(&self, name: &str) -> String {
        let all = |ends: &Vec<CaseEnd>| ends.iter().map(shown).collect::<Vec<_>>().join("\n");
        let mut texts = [&self.before, &self.after].map(all);
        if texts[0] == texts[1] {
            // Bytes differ that mean the same.
            texts = [&self.before, &self.after].map(|ends| CaseEnd::toml(ends));
        }
        let mut text = format!("{}: {}\n", line(name), self.kind.word().replace('_', " "));
        for changed in text_diff(&texts[0], &texts[1]).lines() {
            // Writing to a string can't fail.
            let _ = writeln!(text, "  {}", line(changed));
        }
        text
    }

    pub fn row<'a>(&self, message: &'a str) -> ChangeRow<'a> {
        let [old, new] = [&self.before, &self.after].map(|ends| ends.iter().map(end_fields).collect());
        ChangeRow { message, change: self.kind.word(), old, new }
    }
}

impl ChangeCount {
    pub fn add(&mut self, kind: Option<ChangeKind>) {
        match kind {
            Some(kind) => *self.changed.entry(kind).or_default() += 1,
            None => self.same += 1,
        }
    }

    /// Number of messages with this change.
    pub fn of(&self, kind: ChangeKind) -> u64 {
        self.changed.get(&kind).copied().unwrap_or_default()
    }

    pub fn changed(&self) -> u64 {
        self.changed.values().sum()
    }

    pub fn text(&self) -> String {
        let mut text = format!("{} messages, {} with the same ends\n", self.same + self.changed(), self.same);
        for (kind, count) in &self.changed {
            // Writing to a string can't fail.
            let _ = writeln!(text, "{count:>8} {}", kind.words());
        }
        text
    }

    pub fn json(&self) -> Json {
        let mut counts = Map::new();
        counts.insert("messages".to_owned(), (self.same + self.changed()).into());
        counts.insert("same".to_owned(), self.same.into());
        counts.extend(ChangeKind::ALL.map(|kind| (kind.word().to_owned(), self.of(kind).into())));
        Json::Object(counts)
    }
}

/// The ends that are shown: of an event that is let go, why.
fn told(ends: &[MessageEnd]) -> Vec<CaseEnd> {
    let why = |end: &MessageEnd| end.brief.clone().with("because", end.all.text("because"));
    let sent: Vec<_> = by_place(ends).into_iter().map(why).collect();
    if sent.is_empty() { ends.iter().map(why).collect() } else { sent }
}

/// The ends by where they lead: the order in which keys are declared makes no difference.
fn by_place(ends: &[MessageEnd]) -> Vec<&MessageEnd> {
    let mut ends: Vec<_> = sent(ends).collect();
    ends.sort_by_cached_key(|end| place(&end.all));
    ends
}

/// What is compared of an end: not the names of key and route, nor the words of a reason.
fn compared(end: &MessageEnd) -> Vec<(&'static str, &Json)> {
    end.all.fields().filter(|(name, _)| !matches!(*name, "key" | "route" | "because")).collect()
}

/// Where an end leads.
fn place(end: &CaseEnd) -> String {
    let is_content = |name: &str| PAYLOADS.contains(&name) || matches!(name, "headers" | "key" | "route" | "because");
    end.fields().filter(|(name, _)| !is_content(name)).map(|(name, value)| format!("{name}={value} ")).collect()
}

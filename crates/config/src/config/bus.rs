//! `[[source]]` of type `bus`.

use super::{SourceKind, problem::Place, table::Table, unique::Unique};
use crate::{
    bus::{DEFAULT_BUFFER, MAX_BUFFER, Policy},
    event::Pattern,
};

/// A subscription to the bus of the program that embeds the router.
#[derive(Clone, Debug, PartialEq)]
pub struct BusSource {
    pub pattern: Pattern,
    /// Longest queue of waiting envelopes.
    pub buffer: usize,
    /// Policy for a full queue.
    pub policy: Policy,
    /// Position of its declaration, for errors if the folder is run without such a program.
    pub place: Place,
}

pub(super) fn bus(table: &mut Table<'_>, _: &mut Unique) -> Option<SourceKind> {
    let pattern = table.parsed("pattern", str::parse).unwrap_or_else(Pattern::all);
    let buffer = table.positive("buffer", MAX_BUFFER).map_or(DEFAULT_BUFFER, |buffer| buffer.get());
    Some(SourceKind::Bus(BusSource { pattern, buffer, policy: policy(table), place: table.place() }))
}

fn policy(table: &mut Table<'_>) -> Policy {
    let words = [
        ("drop_newest", Policy::DropNewest),
        ("drop_oldest", Policy::DropOldest),
        ("block", Policy::Block),
        ("sample", Policy::Sample(1.0)),
    ];
    let policy = table.choice("policy", &words);
    if let Some(Policy::Sample(everything)) = policy {
        return Policy::Sample(table.required("sample", Table::share).unwrap_or(everything));
    }
    if table.share("sample").is_some() {
        let hint = "add `policy = \"sample\"`, or leave it out".to_owned();
        table.error(table.place_of("sample"), "`sample` means nothing with this `policy`", Some(hint));
    }
    policy.unwrap_or_default()
}

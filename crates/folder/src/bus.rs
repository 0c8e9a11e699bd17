//! `[[source]]` of type `bus`.

use crate::{
    config::{BusSource, SourceKind},
    event::Pattern,
    table::TomlTable,
    unique::ClaimedValues,
};
use trommel_bus::{DEFAULT_BUFFER, MAX_BUFFER, OverflowPolicy};

pub(crate) fn bus(table: &mut TomlTable<'_>, _: &mut ClaimedValues) -> Option<SourceKind> {
    let pattern = table.parsed("pattern", str::parse).unwrap_or_else(Pattern::all);
    let buffer = table.positive("buffer", MAX_BUFFER).map_or(DEFAULT_BUFFER, |buffer| buffer.get());
    Some(SourceKind::Bus(BusSource { pattern, buffer, policy: policy(table), place: table.place() }))
}

fn policy(table: &mut TomlTable<'_>) -> OverflowPolicy {
    let words = [
        ("drop_newest", OverflowPolicy::DropNewest),
        ("drop_oldest", OverflowPolicy::DropOldest),
        ("block", OverflowPolicy::Block),
        ("sample", OverflowPolicy::Sample(1.0)),
    ];
    let policy = table.choice("policy", &words);
    if let Some(OverflowPolicy::Sample(everything)) = policy {
        return OverflowPolicy::Sample(table.required("sample", TomlTable::share).unwrap_or(everything));
    }
    if table.share("sample").is_some() {
        let hint = "add `policy = \"sample\"`, or leave it out".to_owned();
        table.error(table.place_of("sample"), "`sample` means nothing with this `policy`", Some(hint));
    }
    policy.unwrap_or_default()
}

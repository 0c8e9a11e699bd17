//! `[[source]]` and `[[sink]]` of type `bus`, and of type `program`.

use crate::{
    config::{BusSink, BusSource, SinkKind, SourceKind, template::subject, values},
    event::Pattern,
    file::SinkFiles,
    table::TomlTable,
    unique::ClaimedValues,
};
use trommel_bus::{DEFAULT_BUFFER, MAX_BUFFER, OverflowPolicy};

pub(crate) fn bus(table: &mut TomlTable<'_>, _: &mut ClaimedValues) -> Option<SourceKind> {
    let bus = table.parsed("bus", values::name);
    let pattern = table.parsed("pattern", str::parse).unwrap_or_else(Pattern::all);
    let buffer = table.positive("buffer", MAX_BUFFER).map_or(DEFAULT_BUFFER, |buffer| buffer.get());
    Some(SourceKind::Bus(BusSource { bus, pattern, buffer, policy: policy(table), place: table.place() }))
}

pub(crate) fn sink(table: &mut TomlTable<'_>, _: &mut SinkFiles) -> Option<SinkKind> {
    let bus = table.parsed("bus", values::name);
    let subject = table.required("subject", |table, field| table.parsed(field, subject));
    Some(SinkKind::Bus(BusSink { bus, subject: subject?, place: table.place() }))
}

/// Reads a source of the embedding program. It makes its events itself, so that there is no
/// envelope to open.
pub(crate) fn program(table: &mut TomlTable<'_>, _: &mut ClaimedValues) -> Option<SourceKind> {
    for field in ["envelope", "id", "event_type", "subject", "source_time"] {
        if table.has(field) {
            let message = format!("`{field}` means nothing here: a source of type `program` makes its events itself");
            table.error(table.place_of(field), message, Some("leave it out".to_owned()));
        }
    }
    Some(SourceKind::Program(table.place()))
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

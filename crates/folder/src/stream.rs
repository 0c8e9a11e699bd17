//! `[[stream]]`: a stream that the router creates and updates.

use std::time::Duration;

use crate::{
    config::{
        Compression, DiscardPolicy, ExternalApi, Placement, Republish, Retention, Storage, StreamConfig, StreamLimit,
        SubjectTransform, UpstreamStart, UpstreamStream, values,
    },
    event::Pattern,
    partitions,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
};

/// Reads a stream. One that a preset has too is merged with it, field by field.
pub(crate) fn stream(
    table: &mut TomlTable<'_>,
    names: &mut ClaimedValues,
    presets: &[PlacedValue<StreamConfig>],
) -> Option<PlacedValue<StreamConfig>> {
    let name = names.named(table, "stream", values::server_name);
    let preset = presets.iter().map(|stream| &stream.value).find(|stream| Some(&stream.name) == name.as_ref());
    let subjects = table.list("subjects", values::server_pattern);
    let mirror = table.table("mirror", upstream);
    let mut copied = ClaimedValues::default();
    let sources = table.tables("sources", |table| source(table, &mut copied));
    check_subjects(table, subjects.as_deref(), sources.is_empty(), preset.is_some());
    let inherited = preset.filter(|_| mirror.is_none() && subjects.is_none()).map(|preset| preset.subjects.clone());
    let (parting, partitions) = partitions::of_stream(table).unzip();
    let stream = StreamConfig {
        name: String::new(),
        subjects: subjects.or(inherited).unwrap_or_default(),
        description: table.text("description"),
        retention: table.choice(
            "retention",
            &[("limits", Retention::Limits), ("interest", Retention::Interest), ("workqueue", Retention::WorkQueue)],
        ),
        storage: table.choice("storage", &[("file", Storage::File), ("memory", Storage::Memory)]),
        replicas: replicas(table).or(preset.and_then(|preset| preset.replicas)),
        max_age: max_age(table).or(preset.and_then(|preset| preset.max_age)),
        max_msgs: table.bound("max_msgs", count),
        max_bytes: table.bound("max_bytes", TomlTable::size),
        max_msg_size: table.bound("max_msg_size", message_size),
        max_msgs_per_subject: table.bound("max_msgs_per_subject", count),
        max_consumers: table.bound("max_consumers", count),
        discard: table.choice("discard", &[("old", DiscardPolicy::Old), ("new", DiscardPolicy::New)]),
        duplicate_window: table.duration("duplicate_window"),
        compression: table.choice("compression", &[("none", Compression::None), ("s2", Compression::S2)]),
        allow_direct: table.flag("allow_direct"),
        allow_atomic: table.flag("allow_atomic"),
        allow_msg_ttl: table.flag("allow_msg_ttl"),
        deny_delete: table.flag("deny_delete"),
        deny_purge: table.flag("deny_purge"),
        subject_transform: table.table("subject_transform", transform).flatten().or(parting),
        partitions,
        republish: table.table("republish", republish).flatten(),
        mirror: mirror.flatten(),
        sources: sources.into_iter().flatten().collect(),
        placement: table.table("placement", placement).flatten(),
        at_creation: preset.and_then(|preset| preset.at_creation.clone()),
    };
    let inherited = stream.at_creation.as_ref().and_then(|preset| preset.max_age);
    if let (Some(window), Some(StreamLimit::Most(age))) = (stream.duplicate_window, stream.max_age.or(inherited))
        && window > age
    {
        let hint = "a message that is gone is not looked for: give it at most as long".to_owned();
        table.error(table.place_of("duplicate_window"), "`duplicate_window` is longer than `max_age`", Some(hint));
    }
    let name = name?;
    let is_itself = |upstream: &UpstreamStream| upstream.name == name && upstream.external.is_none();
    if stream.mirror.iter().chain(&stream.sources).any(is_itself) {
        table.error(table.place(), format!("stream `{name}` copies itself"), Some("name another stream".into()));
    }
    Some(PlacedValue { value: StreamConfig { name, ..stream }, place: table.place() })
}

pub(crate) fn replicas(table: &mut TomlTable<'_>) -> Option<usize> {
    table.positive("replicas", 5).map(|replicas| replicas.get())
}

pub(crate) fn max_age(table: &mut TomlTable<'_>) -> Option<StreamLimit<Duration>> {
    table.bound("max_age", TomlTable::duration)
}

/// Checks that a stream listens to subjects, copies other streams, or both, and that a mirror
/// copies one stream and nothing else.
fn check_subjects(table: &TomlTable<'_>, subjects: Option<&[Pattern]>, copies_none: bool, has_preset: bool) {
    if table.has("mirror") {
        for other in ["subjects", "sources"].into_iter().filter(|other| table.has(other)) {
            let hint = "leave one of them out, or copy the stream with `sources`, which may be beside `subjects`";
            table.error(table.place_of(other), format!("a mirror has no `{other}`"), Some(hint.into()));
        }
    } else if copies_none && !table.has("subjects") && !has_preset {
        let hint = "name what it keeps, or the stream to copy with `mirror` or `sources`".to_owned();
        table.error(table.place(), "`subjects` is missing", Some(hint));
    } else if copies_none && subjects.is_some_and(<[_]>::is_empty) {
        let hint = "name what it keeps, as in `subjects = [\"orders.>\"]`".to_owned();
        table.error(table.place_of("subjects"), "the stream keeps nothing", Some(hint));
    }
}

fn count(table: &mut TomlTable<'_>, field: &'static str) -> Option<u64> {
    table.count_from(field, 1)
}

/// Reads the size of one message, which the server counts in 31 bits.
fn message_size(table: &mut TomlTable<'_>, field: &'static str) -> Option<u64> {
    let size = table.size(field)?;
    if size > i32::MAX as u64 {
        table.error(table.place_of(field), format!("`{field}` is at most 2147483647 bytes"), None);
        return None;
    }
    Some(size)
}

fn republish(table: &mut TomlTable<'_>) -> Option<Republish> {
    let src = table.parsed("src", values::server_pattern);
    let dest = table.required("dest", |table, field| table.parsed(field, values::server_pattern));
    let headers_only = table.flag("headers_only");
    Some(Republish { src, dest: dest?.as_str().to_owned(), headers_only })
}

fn source(table: &mut TomlTable<'_>, copied: &mut ClaimedValues) -> Option<UpstreamStream> {
    let source = upstream(table)?;
    let filter = source.filter_subject.as_ref().map(|filter| format!(" with filter `{filter}`"));
    let of = source.external.as_ref().map(|external| format!(" of `{}`", external.api));
    let what = format!("source `{}`{}{}", source.name, of.unwrap_or_default(), filter.unwrap_or_default());
    copied.claim(table, &what, table.place(), what.clone());
    Some(source)
}

fn upstream(table: &mut TomlTable<'_>) -> Option<UpstreamStream> {
    let name = table.required("name", |table, field| table.parsed(field, values::server_name));
    let filter_subject = table.parsed("filter_subject", values::server_pattern);
    let transforms = table.tables("subject_transforms", transform);
    if !transforms.is_empty() && table.has("filter_subject") {
        let hint = "each transform picks by its `src`: leave one of them out".to_owned();
        let message = "`filter_subject` and `subject_transforms` both say what is copied";
        table.error(table.place_of("filter_subject"), message, Some(hint));
    }
    let external = table.table("external", external).flatten();
    let sequence = table.count_from("start_seq", 1).map(UpstreamStart::Sequence);
    let time = table.time("start_time").map(UpstreamStart::Time);
    if table.has("start_seq") && table.has("start_time") {
        let hint = "give `start_seq` or `start_time`".to_owned();
        table.error(table.place_of("start_time"), "a copy starts in one place", Some(hint));
    }
    let subject_transforms = transforms.into_iter().flatten().collect();
    Some(UpstreamStream { name: name?, filter_subject, subject_transforms, start: sequence.or(time), external })
}

fn external(table: &mut TomlTable<'_>) -> Option<ExternalApi> {
    let api = table.required("api", |table, field| table.parsed(field, values::server_subject));
    let deliver = table.parsed("deliver", values::server_subject);
    Some(ExternalApi { api: api?, deliver })
}

fn transform(table: &mut TomlTable<'_>) -> Option<SubjectTransform> {
    let src = table.required("src", |table, field| table.parsed(field, values::server_pattern));
    let dest = table.required("dest", |table, field| table.parsed(field, values::server_pattern));
    Some(SubjectTransform { src: src?, dest: dest?.as_str().to_owned() })
}

fn placement(table: &mut TomlTable<'_>) -> Option<Placement> {
    let cluster = table.parsed("cluster", values::literal);
    let tags = table.list("tags", values::literal);
    if !table.has("cluster") && tags.as_ref().map_or(!table.has("tags"), Vec::is_empty) {
        let hint = "give it a `cluster`, `tags`, or both".to_owned();
        table.error(table.place(), "the placement names no server", Some(hint));
    }
    Some(Placement { cluster, tags: tags.unwrap_or_default() })
}

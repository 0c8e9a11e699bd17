//! `[[sink]]` and `[dead_letter]`.

use std::{path::Path, time::Duration};

use crate::{
    bus,
    config::{
        AvroEncoding, DEAD_FILE, DEAD_LETTERS, DeadLetterTarget, FilePath, FolderSink, NatsSink, OnFailure, PathPart,
        SINK_RETRY, SinkConfig, SinkKind, StreamConfig, WriterSubject,
        template::{file_name, subject},
        values,
    },
    exec::exec,
    file::{self, SinkFiles, file},
    limits::retry,
    secret,
    signature::Secret,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
    webhook,
};
use trommel_avro::{Framing, container::ContainerCodec};

const WINDOW: usize = 1024;
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const DEAD_STREAM: &str = "TROMMEL_DEAD";
const DEAD_SUBJECT: &str = "trommel.dead";

/// Names and resources that sinks may not share.
#[derive(Default)]
pub(crate) struct SinkClaims {
    pub(crate) names: ClaimedValues,
    files: SinkFiles,
    /// Kinds of sinks that may be declared once.
    alone: ClaimedValues,
}

pub(crate) fn sink(table: &mut TomlTable<'_>, taken: &mut SinkClaims) -> Option<PlacedValue<SinkConfig>> {
    let name = taken.names.named(table, "sink", sink_name);
    let on_failure = table.choice(
        "on_failure",
        &[
            ("retry", OnFailure::Retry),
            ("dead_letter", OnFailure::DeadLetter),
            ("skip", OnFailure::Skip),
            ("stop", OnFailure::Stop),
        ],
    );
    let retry = retry(table, SINK_RETRY);
    type SinkReader = fn(&mut TomlTable<'_>, &mut SinkFiles) -> Option<SinkKind>;
    let kinds: [(&str, SinkReader); 9] = [
        ("stdout", |_, _| Some(SinkKind::Stdout)),
        ("file", file),
        ("folder", |table, _| folder(table)),
        ("nats", |table, _| nats(table)),
        ("webhook", webhook::sink),
        ("bus", bus::sink),
        ("program", |table, _| Some(SinkKind::Program(table.place()))),
        ("exec", |table, _| exec(table)),
        ("null", |_, _| Some(SinkKind::Null)),
    ];
    let encode = encode(table);
    let kind = match table.required("type", |table, field| table.choice(field, &kinds)) {
        Some(kind) => kind(table, &mut taken.files),
        None => {
            table.ignore_rest();
            None
        }
    };
    if let Some(kind) = &kind
        && let Some(encode) = &encode
    {
        check_encode(table, encode, kind);
    }
    if let Some(SinkKind::Webhook(_)) = kind {
        taken.alone.claim(table, "webhook", table.place(), "a sink of type `webhook`".to_owned());
    }
    let on_failure = on_failure.unwrap_or(OnFailure::Retry);
    Some(PlacedValue {
        value: SinkConfig { name: name?, on_failure, retry, encode, kind: kind? },
        place: table.place(),
    })
}

fn sink_name(text: &str) -> Result<String, &'static str> {
    if text == DEAD_LETTERS { Err("the sink of the dead letters has this name") } else { values::name(text) }
}

/// Checks that a sink of this kind can write this encoding.
fn check_encode(table: &TomlTable<'_>, encode: &AvroEncoding, kind: &SinkKind) {
    let refuse = |field: &str, message: &str, hint: &str| {
        table.error(table.place_of(field), message, Some(hint.to_owned()));
    };
    match (kind, encode.framing) {
        (SinkKind::File(_, file) | SinkKind::Files(_, file), Framing::Bare) => {
            let record = &file.record;
            let settings = [
                ("redact", !record.redact.is_empty()),
                ("max_field", record.max_field.is_some()),
                ("max_record", record.max_record.is_some()),
            ];
            for (field, _) in settings.into_iter().filter(|(_, is_given)| *is_given) {
                let hint = "leave it out, or let a filter change the outputs";
                refuse(field, &format!("`{field}` changes lines of JSON, and this sink writes records of Avro"), hint);
            }
            if let SinkKind::Files(template, _) = kind
                && template.names.iter().flatten().any(|part| matches!(part, PathPart::Pointer(_)))
            {
                let hint = "use `{subject}`, `{event_type}`, `{key}`, `{date}` or `{header:NAME}`";
                refuse("path", "JSON pointers look into JSON, and this sink writes Avro", hint);
            }
        }
        (SinkKind::Folder(_), _)
        | (SinkKind::Nats(_) | SinkKind::Program(_), Framing::SingleObject | Framing::Confluent) => {}
        (SinkKind::Nats(_), Framing::Bare) => {
            refuse("encode", "a message is no file", "write `encode = \"avro\"`, or `\"confluent\"`");
        }
        (SinkKind::File(..) | SinkKind::Files(..), _) => {
            let hint = "write `encode = \"avro-file\"` for a container file; sinks of type `nats` and `folder` write each output by itself";
            refuse("encode", "Avro has no lines: this sink can't write it", hint);
        }
        _ => {
            let hint = "sinks of type `nats` and `folder` write each output by itself, and `file` takes `encode = \"avro-file\"`";
            refuse("encode", "Avro has no lines: this sink can't write it", hint);
        }
    }
}

/// Reads `encode`, `writer_schema` or `writer_subject`, and `codec`.
fn encode(table: &mut TomlTable<'_>) -> Option<AvroEncoding> {
    let framings = [("avro", Framing::SingleObject), ("confluent", Framing::Confluent), ("avro-file", Framing::Bare)];
    let framing = table.choice("encode", &framings);
    let codec = table.choice("codec", &ContainerCodec::ALL);
    if table.has("codec") && framing.is_none_or(|framing| framing != Framing::Bare) {
        let hint = "add `encode = \"avro-file\"`, or leave it out".to_owned();
        table.error(table.place_of("codec"), "`codec` compresses the blocks of Avro files", Some(hint));
    }
    let schema = table.text("writer_schema");
    let name = table.text("writer_subject");
    let version = table.count_from::<u32>("writer_version", 1);
    let named = ["writer_schema", "writer_subject"].into_iter().find(|field| table.has(field));
    match (table.has("encode"), named) {
        (true, None) => {
            let hint = "name the schema with `writer_schema`, as in `schemas/order.avsc`: `order`; or with `writer_subject` its subject in the schema registry".to_owned();
            table.error(table.place_of("encode"), "it is not said which Avro schema to write by", Some(hint));
        }
        (false, Some(named)) => {
            let hint = "add `encode = \"avro\"`, or `\"confluent\"` for that framing".to_owned();
            table.error(table.place_of(named), format!("`{named}` without `encode` means nothing"), Some(hint));
        }
        _ => {}
    }
    if table.has("writer_schema") && table.has("writer_subject") {
        let hint = "leave out one of them".to_owned();
        let message = "the schema to write by is `writer_schema` or that of `writer_subject`, not both";
        table.error(table.place_of("writer_subject"), message, Some(hint));
        return None;
    }
    if table.has("writer_version") && !table.has("writer_subject") {
        let message = "`writer_version` is a version of `writer_subject`, which is not given";
        table.error(table.place_of("writer_version"), message, None);
    }
    let place = table.place_of(named.unwrap_or("encode"));
    let subject = name.map(|name| WriterSubject { name, version });
    let schema = if subject.is_some() { String::new() } else { schema? };
    Some(AvroEncoding { schema, subject, framing: framing?, codec: codec.unwrap_or_default(), place })
}

fn folder(table: &mut TomlTable<'_>) -> Option<SinkKind> {
    let path = table.required("path", TomlTable::path);
    let name = table.parsed("file_name", file_name);
    let pretty = table.flag("pretty").unwrap_or(false);
    let fsync = file::fsync(table);
    Some(SinkKind::Folder(FolderSink { path: path?, name, pretty, fsync, container: None }))
}

fn nats(table: &mut TomlTable<'_>) -> Option<SinkKind> {
    let subject = table.required("subject", |table, field| table.parsed(field, subject));
    let jetstream = table.flag("jetstream").unwrap_or(true);
    let message_id = table.flag("message_id").unwrap_or(true);
    // The server throttles a stream with 100,000 publishes under way.
    let window = table.positive("window", 50_000).map_or(WINDOW, |window| window.get());
    let ack_timeout = table.duration("ack_timeout").unwrap_or(ACK_TIMEOUT);
    Some(SinkKind::Nats(NatsSink { subject: subject?, jetstream, message_id, window, ack_timeout }))
}

/// The default destination of dead letters: a stream if there is a server, else a file.
pub(crate) fn default_dead_letter(dir: &Path, has_server: bool) -> DeadLetterTarget {
    if has_server {
        DeadLetterTarget::Stream { stream: DEAD_STREAM.into(), subject: DEAD_SUBJECT.into() }
    } else {
        DeadLetterTarget::File(dir.join(DEAD_FILE))
    }
}

/// Checks a declared stream of dead letters. It may be declared for the sake of its limits, but it
/// must then store the letters.
pub(crate) fn check_dead_stream(
    table: &TomlTable<'_>,
    streams: &[PlacedValue<StreamConfig>],
    dead_letter: &DeadLetterTarget,
) {
    let DeadLetterTarget::Stream { stream: name, subject } = dead_letter else { return };
    let declared = streams.iter().find(|stream| stream.value.name == *name);
    let keeps = |stream: &StreamConfig| stream.subjects.iter().any(|kept| kept.matches(&format!("{subject}.reason")));
    if let Some(PlacedValue { place, .. }) = declared.filter(|declared| !keeps(&declared.value)) {
        let message = format!("dead letters go to `{name}`, which does not keep them");
        table.error(place.clone(), message, Some(format!("add `{subject}.>` to its `subjects`")));
    }
}

/// Reads the destination of dead letters, and the secrets that sign them.
pub(crate) fn dead_letter(
    table: &mut TomlTable<'_>,
    has_server: bool,
    taken: &mut SinkClaims,
) -> (Option<DeadLetterTarget>, Vec<Secret>) {
    (destination(table, has_server, taken), secret::secrets(table).unwrap_or_default())
}

/// Reads the destination. Returns `None` if neither is given, or if it is invalid.
fn destination(table: &mut TomlTable<'_>, has_server: bool, taken: &mut SinkClaims) -> Option<DeadLetterTarget> {
    let file = table.path("file");
    let stream = table.parsed("stream", values::server_name);
    let subject = table.parsed("subject", values::server_subject);
    let to_stream = table.has("stream") || table.has("subject");
    if table.has("file") && to_stream {
        table.error(table.place_of("file"), "dead letters go to a `file` or to a `stream`, not to both", None);
    }
    if to_stream && !has_server {
        table.error(table.place(), "a stream of dead letters needs a server", Some(crate::settings::NO_SERVER.into()));
    }
    if let Some(file) = file {
        taken.files.claim(table, "file", FilePath::One(file.clone()));
        return Some(DeadLetterTarget::File(file));
    }
    to_stream.then(|| DeadLetterTarget::Stream {
        stream: stream.unwrap_or_else(|| DEAD_STREAM.into()),
        subject: subject.unwrap_or_else(|| DEAD_SUBJECT.into()),
    })
}

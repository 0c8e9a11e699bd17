//! `[[source]]`.

use std::time::Duration;

use crate::{
    bus::{bus, program},
    config::{
        AckMode, AvroFileSource, ClientAuth, DeliverPolicy, EnvelopeFormat, JetStreamSource, LinesSource, NatsSource,
        Problem, SourceConfig, SourceKind, values,
    },
    field::Field,
    http::http,
    partitions, signature,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
};

const ACK_WAIT: Duration = Duration::from_secs(30);
const BATCH: usize = 500;

/// Names and inputs that sources may not share.
#[derive(Default)]
pub(crate) struct SourceClaims {
    names: ClaimedValues,
    inputs: ClaimedValues,
}

pub(crate) fn source(table: &mut TomlTable<'_>, taken: &mut SourceClaims) -> Option<PlacedValue<SourceConfig>> {
    let name = taken.names.name(table, "source");
    let expect_every = table.duration("expect_every");
    let envelope = envelope(table);
    type SourceReader = fn(&mut TomlTable<'_>, &mut ClaimedValues) -> Option<SourceKind>;
    let kinds: [(&str, SourceReader); 7] = [
        ("jetstream", jetstream),
        ("nats", nats),
        ("lines", lines),
        ("avro-file", avro_file),
        ("bus", bus),
        ("http", http),
        ("program", program),
    ];
    let kind = match table.required("type", |table, field| table.choice(field, &kinds)) {
        Some(kind) => kind(table, &mut taken.inputs),
        None => {
            table.ignore_rest();
            None
        }
    };
    if let (Some(EnvelopeFormat::Lark { verify_header: true }), Some(SourceKind::Lines(_) | SourceKind::AvroFile(_))) =
        (&envelope, &kind)
    {
        let message = "`verify_header` compares with the message's headers, and what is in files has none";
        table.error(table.place_of("verify_header"), message, None);
    }
    if let (Some(envelope), Some(SourceKind::Http(http))) = (&envelope, &kind) {
        match http.auth {
            Some(ClientAuth::Signature(_)) => check_signed(table, envelope),
            Some(ClientAuth::Lark(_)) => check_lark(table, envelope),
            _ => {}
        }
    }
    Some(PlacedValue {
        value: SourceConfig { name: name?, expect_every, envelope: envelope?, kind: kind? },
        place: table.place(),
    })
}

/// Reports fields of unsigned headers: a signature covers the id, the time and the body of a
/// request, so that nothing else in its head may decide anything.
fn check_signed(table: &TomlTable<'_>, envelope: &EnvelopeFormat) {
    let is_covered =
        |name: &str| [signature::ID, signature::TIMESTAMP].iter().any(|known| known.eq_ignore_ascii_case(name));
    match envelope {
        EnvelopeFormat::Plain { id, event_type, subject, source_time } => {
            let fields = [("id", id), ("event_type", event_type), ("subject", subject), ("source_time", source_time)];
            for (field, given) in fields {
                if let Some(Field::Header(name)) = given
                    && !is_covered(name)
                {
                    let hint =
                        format!("the body is covered, and so are `{}` and `{}`", signature::ID, signature::TIMESTAMP);
                    let message = format!("no signature covers the header `{name}`: it could be changed on the way");
                    table.error(table.place_of(field), message, Some(hint));
                }
            }
        }
        EnvelopeFormat::Lark { verify_header: true } => {
            let message = "`verify_header` compares with the message's headers, and no signature covers them";
            table.error(table.place_of("verify_header"), message, None);
        }
        _ => {}
    }
}

/// Reports an envelope that can't be read from requests of Lark.
fn check_lark(table: &TomlTable<'_>, envelope: &EnvelopeFormat) {
    match envelope {
        EnvelopeFormat::Lark { verify_header: false } => {}
        EnvelopeFormat::Lark { verify_header: true } => check_signed(table, envelope),
        _ => {
            let message = "a source with a `lark_app` takes events of Lark, which have an envelope of their own";
            table.error(table.place_of("envelope"), message, Some("set `envelope = \"lark\"`".to_owned()));
        }
    }
}

fn envelope(table: &mut TomlTable<'_>) -> Option<EnvelopeFormat> {
    type FormatReader = fn(&mut TomlTable<'_>) -> EnvelopeFormat;
    let kinds: [(&str, FormatReader); 7] = [
        ("plain", plain),
        ("cloudevents", |_| EnvelopeFormat::CloudEvents),
        ("ctrlplane", |_| EnvelopeFormat::Ctrlplane),
        ("flowcraft", |_| EnvelopeFormat::Flowcraft),
        ("helix", |_| EnvelopeFormat::Helix),
        ("jb-mesh", |_| EnvelopeFormat::JbMesh),
        ("lark", lark),
    ];
    match table.choice("envelope", &kinds) {
        None if table.has("envelope") => {
            table.ignore_rest();
            None
        }
        kind => Some(kind.unwrap_or(plain)(table)),
    }
}

fn plain(table: &mut TomlTable<'_>) -> EnvelopeFormat {
    EnvelopeFormat::Plain {
        id: table.parsed("id", values::inner_field),
        event_type: table.parsed("event_type", values::inner_field),
        subject: table.parsed("subject", values::inner_field),
        source_time: table.parsed("source_time", values::inner_field),
    }
}

fn lark(table: &mut TomlTable<'_>) -> EnvelopeFormat {
    EnvelopeFormat::Lark { verify_header: table.flag("verify_header").unwrap_or(false) }
}

fn jetstream(table: &mut TomlTable<'_>, taken: &mut ClaimedValues) -> Option<SourceKind> {
    let stream = table.required("stream", |table, field| table.parsed(field, values::server_name));
    let durable = table.required("durable", |table, field| table.parsed(field, values::server_name));
    let subjects = table.list("subjects", values::server_pattern).unwrap_or_default();
    let ack = table.choice("ack", &[("explicit", AckMode::Explicit), ("auto", AckMode::Auto), ("all", AckMode::All)]);
    let ack_wait = table.duration("ack_wait").unwrap_or(ACK_WAIT);
    let deliver = table.choice("deliver", &[("all", DeliverPolicy::All), ("new", DeliverPolicy::New)]);
    let batch = table.positive("batch", 100_000).map_or(BATCH, |batch| batch.get());
    let partitions = partitions::of_source(table, ack);
    let (stream, durable) = (stream?, durable?);
    // Two readers of one consumer take each other's messages, and with `ack = "all"` confirm them
    // too.
    let consumer = format!("consumer `{durable}` of stream `{stream}`");
    taken.claim(table, &consumer, table.place_of("durable"), consumer.clone());
    Some(SourceKind::JetStream(JetStreamSource {
        stream,
        durable,
        subjects,
        ack: ack.unwrap_or(if partitions.is_some() { AckMode::All } else { AckMode::Explicit }),
        ack_wait,
        deliver: deliver.unwrap_or(DeliverPolicy::All),
        batch,
        partitions,
    }))
}

fn nats(table: &mut TomlTable<'_>, _: &mut ClaimedValues) -> Option<SourceKind> {
    let subjects = table.required("subjects", |table, field| table.list(field, values::server_pattern));
    let queue = table.parsed("queue", values::server_subject);
    let subjects = subjects?;
    if table.has("subjects") && subjects.is_empty() {
        table.error(table.place_of("subjects"), "`subjects` names none", Some("`>` is all of them".to_owned()));
    }
    for (number, one) in subjects.iter().enumerate() {
        if let Some(other) = subjects[..number].iter().find(|other| other.intersection(one).is_some()) {
            let message = format!("`{other}` and `{one}` overlap: what fits both would come twice");
            table.error(table.place_of("subjects"), message, None);
        }
    }
    let message = "core NATS keeps nothing: this source takes each message at most once";
    let hint =
        "what comes while the router is away, or has no room, is lost; a stream and `type = \"jetstream\"` keep it";
    table.report(Problem::warning(table.place_of("type"), message).hint(hint));
    Some(SourceKind::Nats(NatsSource { subjects, queue }))
}

fn lines(table: &mut TomlTable<'_>, taken: &mut ClaimedValues) -> Option<SourceKind> {
    let path = table.input_path("path");
    match &path {
        None if table.has("path") => {}
        None => taken.claim(table, "-", table.place(), "a source that reads standard input".into()),
        Some(path) => {
            let path = path.display().to_string();
            taken.claim(table, &path, table.place_of("path"), format!("the file `{path}`"));
        }
    }
    Some(SourceKind::Lines(LinesSource { path }))
}

fn avro_file(table: &mut TomlTable<'_>, taken: &mut ClaimedValues) -> Option<SourceKind> {
    let dir = table.dir();
    let paths = table.required("path", TomlTable::texts);
    let paths: Vec<_> = paths?.into_iter().map(|text| (dir.join(&text.value), text)).collect();
    if paths.is_empty() {
        table.error(table.place_of("path"), "`path` names no file", None);
    }
    for (path, PlacedValue { place, value }) in &paths {
        if value.is_empty() {
            table.error(place.clone(), "`path` is empty", None);
        } else {
            table.check_input(path, place.clone());
            let path = path.display().to_string();
            taken.claim(table, &path, place.clone(), format!("the file `{path}`"));
        }
    }
    let reader_schema = table.text("reader_schema").map(|name| (name, table.place_of("reader_schema")));
    let paths = paths.into_iter().map(|(path, _)| path).collect();
    Some(SourceKind::AvroFile(AvroFileSource { paths, reader_schema, reader: None }))
}

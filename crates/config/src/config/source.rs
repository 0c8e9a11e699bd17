//! `[[source]]`.

use std::{path::PathBuf, time::Duration};

use super::{
    BusSource, ClientAuth, HttpSource, LetterSource, ReplaySource,
    bus::bus,
    http::http,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
    values,
};

use crate::{event::Pattern, field::Field, signature};

const ACK_WAIT: Duration = Duration::from_secs(30);
const BATCH: usize = 500;

#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    pub name: String,
    pub envelope: EnvelopeFormat,
    pub kind: SourceKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    JetStream(JetStreamSource),
    Lines(LinesSource),
    Bus(BusSource),
    Http(Box<HttpSource>),
    Replay(ReplaySource),
    Letters(LetterSource),
}

#[derive(Clone, Debug, PartialEq)]
pub struct JetStreamSource {
    pub stream: String,
    pub durable: String,
    /// Filter subjects; none means the whole stream.
    pub subjects: Vec<Pattern>,
    pub ack: AckMode,
    pub ack_wait: Duration,
    /// Start position of a new consumer.
    pub deliver: DeliverPolicy,
    /// Messages per pull request.
    pub batch: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// One ack per message. If no other client reads the consumer, messages left open are
    /// redelivered first and in order.
    Auto,
    /// One ack per settled prefix: cheaper for the server, but only for a consumer that is
    /// exclusively ours.
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliverPolicy {
    All,
    New,
    /// New messages, through a consumer that the server deletes when it is no longer read. Can't be
    /// configured in a file.
    Live,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LinesSource {
    /// `None` reads standard input.
    pub path: Option<PathBuf>,
}

/// Format of a message, by which it is decoded into an event.
#[derive(Clone, Debug, PartialEq)]
pub enum EnvelopeFormat {
    /// The whole body is the payload.
    Plain { id: Option<Field>, event_type: Option<Field>, subject: Option<Field>, source_time: Option<Field> },
    /// CloudEvents 1.0, structured or binary, told apart by the content type.
    CloudEvents,
    /// The content of the body's `payload` becomes the payload.
    Helix,
    /// The body describes the event, and is the payload.
    JbMesh,
    /// The body describes the event and the identity that it happened for, and is the payload.
    Ctrlplane,
    /// The content of the body's `payload` becomes the payload, that of its `headers` becomes
    /// headers.
    Flowcraft,
    /// Lark's version 2.0: the body's header describes the event, the whole body is the payload.
    Lark {
        /// True if the message's own headers are authoritative, and a body that contradicts them is
        /// refused (L46).
        verify_header: bool,
    },
}

/// Names and inputs that sources may not share.
#[derive(Default)]
pub(super) struct SourceClaims {
    names: ClaimedValues,
    inputs: ClaimedValues,
}

pub(super) fn source(table: &mut TomlTable<'_>, taken: &mut SourceClaims) -> Option<PlacedValue<SourceConfig>> {
    let name = taken.names.name(table, "source");
    let envelope = envelope(table);
    type SourceReader = fn(&mut TomlTable<'_>, &mut ClaimedValues) -> Option<SourceKind>;
    let kinds: [(&str, SourceReader); 4] = [("jetstream", jetstream), ("lines", lines), ("bus", bus), ("http", http)];
    let kind = match table.required("type", |table, field| table.choice(field, &kinds)) {
        Some(kind) => kind(table, &mut taken.inputs),
        None => {
            table.ignore_rest();
            None
        }
    };
    if let (Some(EnvelopeFormat::Lark { verify_header: true }), Some(SourceKind::Lines(_))) = (&envelope, &kind) {
        let message = "`verify_header` compares with the message's headers, and lines have none";
        table.error(table.place_of("verify_header"), message, None);
    }
    if let (Some(envelope), Some(SourceKind::Http(http))) = (&envelope, &kind)
        && let Some(ClientAuth::Signature(_)) = http.auth
    {
        check_signed(table, envelope);
    }
    Some(PlacedValue { value: SourceConfig { name: name?, envelope: envelope?, kind: kind? }, place: table.place() })
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
    let ack = table.choice("ack", &[("auto", AckMode::Auto), ("explicit", AckMode::Auto), ("all", AckMode::All)]);
    let ack_wait = table.duration("ack_wait").unwrap_or(ACK_WAIT);
    let deliver = table.choice("deliver", &[("all", DeliverPolicy::All), ("new", DeliverPolicy::New)]);
    let batch = table.positive("batch", 100_000).map_or(BATCH, |batch| batch.get());
    let (stream, durable) = (stream?, durable?);
    // Two readers of one consumer take each other's messages, and with `ack = "all"` confirm them
    // too.
    let consumer = format!("consumer `{durable}` of stream `{stream}`");
    taken.claim(table, &consumer, table.place_of("durable"), consumer.clone());
    Some(SourceKind::JetStream(JetStreamSource {
        stream,
        durable,
        subjects,
        ack: ack.unwrap_or(AckMode::Auto),
        ack_wait,
        deliver: deliver.unwrap_or(DeliverPolicy::All),
        batch,
    }))
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

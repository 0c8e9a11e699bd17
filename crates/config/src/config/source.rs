//! Sources.

use std::{path::PathBuf, time::Duration};

use super::{BusSource, ConfigPlace, HttpSource, LetterSource, ReplaySource};
use crate::{avro::AvroSchema, event::Pattern, field::Field};

#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    pub name: String,
    /// Time without an event after which the source is not well; `None` if events may stay away.
    pub expect_every: Option<Duration>,
    pub envelope: EnvelopeFormat,
    pub kind: SourceKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SourceKind {
    JetStream(JetStreamSource),
    Nats(NatsSource),
    Lines(LinesSource),
    AvroFile(AvroFileSource),
    Bus(BusSource),
    /// A source of the embedding program, declared here.
    Program(ConfigPlace),
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
    /// Set if the stream is split into partitions, each with a consumer of its own.
    pub partitions: Option<SourcePartitions>,
}

/// Partitions of a source: routers share them out, so that each is read by one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePartitions {
    pub count: u32,
    /// Time without a word after which the others take a router for dead.
    pub lease: Duration,
}

/// Subscription to core NATS, which keeps nothing: at most once.
#[derive(Clone, Debug, PartialEq)]
pub struct NatsSource {
    /// Patterns that do not overlap.
    pub subjects: Vec<Pattern>,
    /// Queue group: each message goes to one of its members.
    pub queue: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckMode {
    /// One ack per message. If no other client reads the consumer, messages left open are
    /// redelivered first and in order.
    Explicit,
    /// As `All` on a new consumer, which the server pins to one client at a time. `Explicit` on one
    /// that is there already with that policy, and where the server can't do it.
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

/// Container files, read one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct AvroFileSource {
    pub paths: Vec<PathBuf>,
    /// Name of the schema to read by, and its position.
    pub reader_schema: Option<(String, ConfigPlace)>,
    /// The schema of that name. Without one, records are read as they were written.
    pub reader: Option<AvroSchema>,
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

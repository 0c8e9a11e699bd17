//! Sinks, and the destination of dead letters.

use std::{path::PathBuf, time::Duration};

use super::{
    BusSink, ConfigPlace, DeadLetterTarget, ExecSink, FileSink, Fsync, OutputField, PathTemplate, RetryPolicy,
    SubjectPlaceholder, TextTemplate, WebhookSink, WriterSubject,
};
use crate::avro::{
    Framing,
    container::{ContainerCodec, ContainerFormat},
};

/// The file of dead letters in a router's folder, if no stream stores them.
pub const DEAD_FILE: &str = "dead-letters.ndjson";
/// Name of the sink of dead letters, which no sink in the configuration may have.
pub const DEAD_LETTERS: &str = "dead-letters";

#[derive(Clone, Debug, PartialEq)]
pub struct SinkConfig {
    pub name: String,
    pub on_failure: OnFailure,
    pub retry: RetryPolicy,
    /// Encoding of outputs; `None` writes them unchanged.
    pub encode: Option<AvroEncoding>,
    pub kind: SinkKind,
}

/// Avro encoding for the outputs of a sink.
#[derive(Clone, Debug, PartialEq)]
pub struct AvroEncoding {
    /// Name of the schema to write by, which is looked up again with every reload.
    pub schema: String,
    /// Subject of the schema registry that it comes from; `schema` is then empty until it is found
    /// in the cache.
    pub subject: Option<WriterSubject>,
    /// [`Framing::Bare`] for container files.
    pub framing: Framing,
    /// Compression of container files.
    pub codec: ContainerCodec,
    pub place: ConfigPlace,
}

impl SinkConfig {
    /// The format of the sink's container files, if it writes such.
    pub fn container(&self) -> Option<&ContainerFormat> {
        match &self.kind {
            SinkKind::File(_, file) | SinkKind::Files(_, file) => file.container.as_ref(),
            SinkKind::Folder(folder) => folder.container.as_ref(),
            _ => None,
        }
    }
}

/// Policy for an output that a sink refuses permanently, or for longer than its patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Keep trying. An output that can never be accepted becomes a dead letter.
    Retry,
    DeadLetter,
    /// Count it and continue.
    Skip,
    /// Stop the router; open events are not acknowledged.
    Stop,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SinkKind {
    Stdout,
    File(PathBuf, FileSink),
    /// Outputs are distributed over files.
    Files(PathTemplate, FileSink),
    Folder(FolderSink),
    Nats(NatsSink),
    Webhook(WebhookSink),
    Bus(BusSink),
    /// A sink of the embedding program, declared here.
    Program(ConfigPlace),
    Exec(ExecSink),
    Null,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FolderSink {
    pub path: PathBuf,
    /// Template of the file names; `None` is `TYPE_ID_INDEX-DIGEST`.
    pub name: Option<TextTemplate<OutputField>>,
    /// JSON with line breaks.
    pub pretty: bool,
    pub fsync: Fsync,
    /// Format of the files, if they are container files; with the schema as it is at the start.
    pub container: Option<ContainerFormat>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct NatsSink {
    pub subject: TextTemplate<SubjectPlaceholder<OutputField>>,
    /// Wait for JetStream's publish ack; otherwise core NATS, which guarantees nothing.
    pub jetstream: bool,
    /// Send the output's id as `Nats-Msg-Id`, so that the stream drops repeats.
    pub message_id: bool,
    /// Publishes under way at once.
    pub window: usize,
    pub ack_timeout: Duration,
}

impl DeadLetterTarget {
    /// The prefix of the subjects of dead letters, if a stream stores them.
    pub fn reserved(&self) -> Option<String> {
        match self {
            Self::Stream { subject, .. } => Some(format!("{subject}.")),
            Self::Discard | Self::File(_) => None,
        }
    }
}

//! Files as sinks.

use std::{num::NonZeroUsize, time::Duration};

use crate::{avro::container::ContainerFormat, json::SecretName};

/// File settings of a sink, for its file or for each of its files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileSink {
    pub upkeep: FileUpkeep,
    pub record: RecordSettings,
    /// Format of container files, with the schema as it is at the start: a file has one. Without
    /// it, files have lines.
    pub container: Option<ContainerFormat>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FileUpkeep {
    /// Size in bytes at which the file is rotated away.
    pub max_size: Option<u64>,
    pub max_age: Option<Duration>,
    /// Rotated files to keep; `None` keeps all.
    pub keep: Option<NonZeroUsize>,
    pub fsync: Fsync,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fsync {
    /// The operating system decides: written outputs survive a crash of the router, not of the
    /// machine.
    #[default]
    Never,
    /// Before a batch of outputs is confirmed.
    Batch,
}

/// Redaction and size limits of written outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecordSettings {
    /// Members whose values are redacted. None if empty.
    pub redact: Vec<SecretName>,
    /// Bytes of a member's value beyond which it is replaced.
    pub max_field: Option<u64>,
    /// Bytes of an output beyond which it is replaced.
    pub max_record: Option<u64>,
}

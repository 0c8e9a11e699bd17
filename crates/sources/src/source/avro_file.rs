//! Avro container files, one event a record.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use bytestring::ByteString;

use super::{
    Source,
    envelope::{self, MalformedMessage, SourceMessage},
    finite::{self, FiniteInput, InputProgress, ItemReceipt, SettledPosition},
    lines::file_size,
    now,
};
use crate::{
    avro::AvroSchema,
    config,
    event::{Event, Headers, Origin},
    pipeline::Intake,
    stop::Stop,
};

mod reader;

pub use reader::{FileRecord, MAX_RECORD};

/// Container files as a source, read one after the other.
pub struct AvroFileInput {
    paths: Vec<PathBuf>,
    reader: Option<AvroSchema>,
    envelope: config::EnvelopeFormat,
    /// Subject of records that name none: the source's name.
    subject: ByteString,
    name: String,
    /// Origin of the records of each file.
    origins: Vec<Arc<Origin>>,
    progress: Arc<InputProgress>,
}

impl AvroFileInput {
    /// # Errors
    /// Returns an error if a file cannot be read.
    pub fn new(
        source: &config::SourceConfig,
        files: &config::AvroFileSource,
        progress: Arc<InputProgress>,
    ) -> anyhow::Result<Self> {
        let mut origins = Vec::new();
        for path in &files.paths {
            let size = file_size(path).with_context(|| format!("could not read `{}`", path.display()))?;
            progress.expect(size);
            let stream = path.display().to_string();
            origins.push(Arc::new(Origin { source: source.name.clone(), stream }));
        }
        Ok(Self {
            paths: files.paths.clone(),
            reader: files.reader.clone(),
            envelope: source.envelope.clone(),
            subject: source.name.as_str().into(),
            name: source.name.clone(),
            origins,
            progress,
        })
    }
}

impl FiniteInput for AvroFileInput {
    type Item = FileRecord;

    const LEAVES_REST: bool = true;

    fn open(&self, record: &FileRecord, attempt: u32) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let message = SourceMessage {
            subject: self.subject.clone(),
            headers: Headers::default(),
            payload: record.payload.clone(),
            observed_at: now(),
            attempt,
            origin: Arc::clone(&self.origins[record.file]),
            sequence: record.number,
            incarnation: record.digest,
        };
        match &record.fault {
            None => envelope::open(&self.envelope, message),
            Some((reason, detail)) => {
                Err(Box::new((message.into_event(), MalformedMessage { reason, detail: detail.clone() })))
            }
        }
    }

    fn position(record: &FileRecord) -> SettledPosition {
        SettledPosition { number: record.number, amount: record.end }
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}

impl Source for AvroFileInput {
    type Receipt = ItemReceipt<FileRecord>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let items = reader::start(self.paths.clone(), self.reader.clone());
        let items = items.context("could not start the thread that reads Avro files")?;
        let name = self.name.clone();
        finite::run(&name, self, items, intake, stop).await
    }
}

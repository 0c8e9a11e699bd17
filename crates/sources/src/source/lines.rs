//! NDJSON from a file or standard input, one event a line.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use bytestring::ByteString;

use super::{
    Source,
    envelope::{self, MalformedMessage, SourceMessage},
    finite::{self, FiniteInput, InputProgress, ItemReceipt, SettledPosition},
    now,
};
use crate::{
    config,
    event::{Event, Headers, Origin},
    pipeline::Intake,
    stop::Stop,
};

mod reader;

use reader::LineText;
pub use reader::{InputLine, MAX_LINE};

/// A file or standard input as a source.
pub struct LinesInput {
    path: Option<PathBuf>,
    envelope: config::EnvelopeFormat,
    /// Subject of lines that name none: the source's name.
    subject: ByteString,
    origin: Arc<Origin>,
    progress: Arc<InputProgress>,
}

impl LinesInput {
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn new(
        source: &config::SourceConfig,
        lines: &config::LinesSource,
        progress: Arc<InputProgress>,
    ) -> anyhow::Result<Self> {
        let size = match &lines.path {
            Some(path) => file_size(path).with_context(|| format!("could not read `{}`", path.display()))?,
            None => None,
        };
        progress.expect(size);
        let stream = lines.path.as_ref().map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
        Ok(Self {
            path: lines.path.clone(),
            envelope: source.envelope.clone(),
            subject: source.name.as_str().into(),
            origin: Arc::new(Origin { source: source.name.clone(), stream }),
            progress,
        })
    }
}

impl FiniteInput for LinesInput {
    type Item = InputLine;

    const LEAVES_REST: bool = true;

    fn open(&self, line: &InputLine, attempt: u32) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let (payload, malformed) = match &line.text {
            LineText::Whole(text) => {
                (text, std::str::from_utf8(text).err().map(|error| ("not_utf8", error.to_string())))
            }
            LineText::TooLong(length, start) => {
                let detail = format!("the line has {length} bytes, more than {MAX_LINE}; only its start is kept");
                (start, Some(("too_large", detail)))
            }
        };
        let message = SourceMessage {
            subject: self.subject.clone(),
            headers: Headers::default(),
            payload: payload.clone(),
            observed_at: now(),
            attempt,
            origin: Arc::clone(&self.origin),
            sequence: line.number,
            incarnation: line.digest,
        };
        match malformed {
            None => envelope::open(&self.envelope, message),
            Some((reason, detail)) => Err(Box::new((message.into_event(), MalformedMessage { reason, detail }))),
        }
    }

    fn position(line: &InputLine) -> SettledPosition {
        SettledPosition { number: line.number, amount: line.end }
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}

/// Returns the size of a file; `None` for a pipe, whose size is not known.
pub(super) fn file_size(path: &Path) -> io::Result<Option<u64>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

impl Source for LinesInput {
    type Receipt = ItemReceipt<InputLine>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let items = reader::start(self.path.clone()).context("could not start the thread that reads lines")?;
        let origin = Arc::clone(&self.origin);
        let ended = finite::run(&origin.source, self, items, intake, stop).await;
        ended.with_context(|| format!("could not read `{}`", origin.stream))
    }
}

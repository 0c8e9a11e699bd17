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
    envelope::{self, Malformed, Message},
    finite::{self, Input, Position, Progress, Receipt},
    now,
};
use crate::{
    config,
    event::{Event, Headers, Origin},
    pipeline::Intake,
    stop::Stop,
};

mod reader;

use reader::Text;
pub use reader::{Line, MAX_LINE};

/// A file or standard input as a source.
pub struct Lines {
    path: Option<PathBuf>,
    envelope: config::Envelope,
    /// Subject of lines that name none: the source's name.
    subject: ByteString,
    origin: Arc<Origin>,
    progress: Arc<Progress>,
}

impl Lines {
    /// # Errors
    /// Returns an error if the file cannot be read.
    pub fn new(source: &config::Source, lines: &config::LinesSource, progress: Arc<Progress>) -> anyhow::Result<Self> {
        let size = match &lines.path {
            Some(path) => size(path).with_context(|| format!("could not read `{}`", path.display()))?,
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

impl Input for Lines {
    type Item = Line;

    const LEAVES_REST: bool = true;

    fn open(&self, line: &Line, attempt: u32) -> Result<Event, Box<(Event, Malformed)>> {
        let (payload, malformed) = match &line.text {
            Text::Whole(text) => (text, std::str::from_utf8(text).err().map(|error| ("not_utf8", error.to_string()))),
            Text::TooLong(length, start) => {
                let detail = format!("the line has {length} bytes, more than {MAX_LINE}; only its start is kept");
                (start, Some(("too_large", detail)))
            }
        };
        let message = Message {
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
            Some((reason, detail)) => Err(Box::new((message.into_event(), Malformed { reason, detail }))),
        }
    }

    fn position(line: &Line) -> Position {
        Position { number: line.number, amount: line.end }
    }

    fn advance(&self, bytes: u64) {
        self.progress.advance(bytes);
    }
}

fn size(path: &Path) -> io::Result<Option<u64>> {
    let metadata = fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

impl Source for Lines {
    type Receipt = Receipt<Line>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let items = reader::start(self.path.clone()).context("could not start the thread that reads lines")?;
        let origin = Arc::clone(&self.origin);
        let ended = finite::run(&origin.source, self, items, intake, stop).await;
        ended.with_context(|| format!("could not read `{}`", origin.stream))
    }
}

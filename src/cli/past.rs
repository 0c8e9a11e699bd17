//! Messages of the past, for commands that run them through a router without its ends: a stretch of
//! a stream, or the lines of a file.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use clap::Args;

use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        stretch::{RangeArgs, StreamArgs, connect},
        terminal,
    },
    config::{Config, SourceKind},
    folder::ArrivingMessage,
    nats::StreamHistory,
};

/// Longest line that is read, in bytes. A router takes no longer one.
const MAX_LINE: u64 = 8 << 20;

/// Selection of messages.
#[derive(Args, Debug)]
pub(super) struct PastArgs {
    #[command(flatten)]
    stretch: StreamArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Lines of this file in the place of a stream's messages
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stream", "subject", "from_seq", "from_time", "to"])]
    lines: Option<PathBuf>,
}

/// Messages that are read in order.
pub(super) struct PastMessages {
    reading: MessageReader,
    /// The source at which they arrive; `None` for the only one.
    source: Option<String>,
    /// Name of the stream or file.
    pub(super) name: String,
    /// Which messages of it, in words; empty for all.
    pub(super) bounds: String,
    /// Messages that were left out, because their headers can't be read.
    left_out: u64,
}

enum MessageReader {
    Stream(Box<StreamHistory>),
    Lines { reader: BufReader<File>, number: u64, left: Option<u64> },
}

impl PastArgs {
    /// Begins to read, at most `limit` messages.
    ///
    /// # Errors
    /// Returns an error if it is not clear what is meant, or if it can't be read.
    pub(super) async fn open(&self, config: &Config, limit: Option<u64>) -> Result<PastMessages, CommandRefusal> {
        if let Some(path) = &self.lines {
            let file = File::open(path).map_err(|error| unreadable(path, &error))?;
            let reading = MessageReader::Lines { reader: BufReader::new(file), number: 0, left: limit };
            let mut lines = config.sources.iter().filter(|source| matches!(source.kind, SourceKind::Lines(_)));
            let source = lines.next().filter(|_| lines.next().is_none()).map(|source| source.name.clone());
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            return Ok(PastMessages { reading, source, name, bounds: String::new(), left_out: 0 });
        }
        let chosen = self.stretch.choose(config)?;
        let known = config.sources.iter().any(|source| source.name == chosen.source.name);
        if !known {
            let message = format!("no source of this router reads stream `{}`", chosen.stream);
            return Err(CommandRefusal::new(RefusalKind::Validation, "which_stream", message).param("--stream"));
        }
        let subjects = match &chosen.source.kind {
            // Other messages of the stream do not arrive.
            SourceKind::JetStream(settings) if chosen.subjects.is_empty() => {
                settings.subjects.iter().map(ToString::to_string).collect()
            }
            _ => chosen.subjects,
        };
        let bounds = self.range.words(&subjects);
        let range = self.range.of(chosen.stream.clone(), subjects, limit);
        let history = StreamHistory::open(connect(config, "history").await?, range).await?;
        let source = Some(chosen.source.name);
        let reading = MessageReader::Stream(Box::new(history));
        Ok(PastMessages { reading, source, name: chosen.stream, bounds, left_out: 0 })
    }
}

impl PastMessages {
    /// Says what was left out.
    pub(super) fn tell_left_out(&self) {
        if self.left_out > 0 {
            let count = self.left_out;
            // A failed write to stderr can't be reported anywhere else.
            let _ = writeln!(terminal::stderr(), "{count} messages left out: their headers can't be read");
        }
    }

    /// Returns the next message; `None` at the end.
    ///
    /// # Errors
    /// Returns an error if it can't be read.
    pub(super) async fn next(&mut self) -> Result<Option<ArrivingMessage>, CommandRefusal> {
        match &mut self.reading {
            MessageReader::Stream(history) => {
                let mut stored = history.next().await?;
                while stored.as_ref().is_some_and(|stored| stored.unreadable.is_some()) {
                    self.left_out += 1;
                    stored = history.next().await?;
                }
                Ok(stored.map(|stored| ArrivingMessage {
                    source: self.source.clone(),
                    subject: Some(stored.subject),
                    headers: stored.headers,
                    payload: stored.payload,
                    time: Some(stored.time),
                    sequence: Some(stored.sequence),
                }))
            }
            MessageReader::Lines { left: Some(0), .. } => Ok(None),
            MessageReader::Lines { reader, number, left } => {
                *left = left.map(|left| left - 1);
                let read = line(reader, number).map_err(|error| unreadable(Path::new(&self.name), &error))?;
                let Some(line) = read else {
                    return Ok(None);
                };
                let payload = Bytes::from(line);
                let (source, sequence) = (self.source.clone(), Some(*number));
                Ok(Some(ArrivingMessage { source, payload, sequence, ..ArrivingMessage::default() }))
            }
        }
    }
}

/// Returns the next line that is not blank, and counts all.
fn line(reader: &mut BufReader<File>, number: &mut u64) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut line = Vec::new();
        if reader.take(MAX_LINE + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        *number += 1;
        if line.len() as u64 > MAX_LINE {
            return Err(io::Error::other(format!("line {number} has more than {MAX_LINE} bytes")));
        }
        if line.ends_with(b"\n") {
            line.truncate(line.len() - 1 - usize::from(line.ends_with(b"\r\n")));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(line));
        }
    }
}

fn unreadable(path: &Path, error: &io::Error) -> CommandRefusal {
    let message = format!("can't read `{}`: {error}", path.display());
    CommandRefusal::new(RefusalKind::Validation, "unreadable", message).param("--lines")
}

//! NDJSON from a file or standard input, one event a line. No broker keeps these events: what comes back unfinished is
//! pushed again here, and the lines before the watermark are those that are done.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use bytestring::ByteString;
use futures_util::FutureExt;
use tokio::{
    sync::mpsc,
    task::unconstrained,
    time::{Instant, sleep_until},
};

use super::{
    Source,
    envelope::{self, Malformed, Message},
};
use crate::{
    ack::Outcome,
    config,
    event::{Event, Headers, Origin},
    pipeline::Intake,
    stop::Stop,
};

mod progress;
mod reader;
mod watermark;

pub use progress::Progress;
pub use reader::MAX_LINE;
use reader::{Line, Text};
use watermark::{Index, Position, Watermark};

/// Lines that may be taken beyond one that is not settled.
const MAX_AHEAD: usize = 100_000;

/// Shortest wait before an event is pushed again, doubled with every attempt up to the longest. A broker would pause
/// likewise.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A file or standard input as a source.
pub struct Lines {
    path: Option<PathBuf>,
    envelope: config::Envelope,
    /// Of lines that name none: the source's name.
    subject: ByteString,
    origin: Arc<Origin>,
    progress: Arc<Progress>,
}

impl Lines {
    /// # Errors
    /// When there is no such file.
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

impl Lines {
    /// The event of a line, or as much as is known of it and why it is none.
    fn open(&self, receipt: &Receipt) -> Result<Event, Box<(Event, Malformed)>> {
        let Receipt { line, attempt, .. } = receipt;
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
            attempt: *attempt,
            origin: Arc::clone(&self.origin),
            sequence: line.number,
        };
        match malformed {
            None => envelope::open(&self.envelope, message),
            Some((reason, detail)) => Err(Box::new((message.into_event(), Malformed { reason, detail }))),
        }
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
    type Receipt = Receipt;

    async fn run(self, intake: Intake<Receipt>, mut stop: Stop) -> anyhow::Result<()> {
        let input = reader::start(self.path.clone()).context("could not start the thread that reads lines")?;
        let mut run = Run {
            lines: self,
            intake,
            input: Some(input),
            read: VecDeque::new(),
            again: BTreeMap::new(),
            watermark: Watermark::default(),
            failure: None,
        };
        let mut ended = stop.clone();
        tokio::select! {
            biased;
            () = ended.ended() => {
                let line = run.watermark.reached().line;
                tracing::warn!(source = run.lines.origin.source, line, "given up: not every line after this one is done");
            }
            () = run.complete(&mut stop) => {}
        }
        match run.failure {
            Some(error) => Err(error).with_context(|| format!("could not read `{}`", run.lines.origin.stream)),
            None => Ok(()),
        }
    }
}

/// What it takes to push a line again.
#[derive(Debug)]
pub struct Receipt {
    index: Index,
    line: Line,
    attempt: u32,
}

struct Run {
    lines: Lines,
    intake: Intake<Receipt>,
    /// `None` once nothing more is taken: the input has ended or the router drains.
    input: Option<mpsc::Receiver<reader::Batch>>,
    /// Read and not pushed yet.
    read: VecDeque<Line>,
    /// To be pushed again, by the time when that is due.
    again: BTreeMap<(Instant, Index), Receipt>,
    watermark: Watermark,
    /// Why the input ended early.
    failure: Option<io::Error>,
}

impl Run {
    /// Pushes and settles until nothing is left to do. Cancel safe.
    async fn complete(&mut self, stop: &mut Stop) {
        loop {
            // All that is settled, in one go: what then is pushed goes to the lanes in one go, too.
            while self.intake.open() > 0
                && let Some((receipt, outcome)) = unconstrained(self.intake.settled()).now_or_never()
            {
                self.settle(receipt, outcome);
            }
            self.push_all();
            if self.is_done() {
                return;
            }
            let is_open = self.intake.is_open();
            let wants_more = self.input.is_some() && self.read.is_empty() && self.has_room();
            let due = self.again.keys().next().map(|(at, _)| *at).filter(|_| is_open);
            tokio::select! {
                biased;
                () = stop.draining(), if self.input.is_some() => {
                    self.input = None;
                    self.read.clear();
                }
                (receipt, outcome) = self.intake.settled(), if self.intake.open() > 0 => self.settle(receipt, outcome),
                batch = next_batch(&mut self.input), if wants_more => self.take(batch),
                () = at(due), if due.is_some() => {}
            }
        }
    }

    /// Pushes as much as the intake takes now. What comes back goes before what is new.
    fn push_all(&mut self) {
        while self.intake.is_open() {
            if let Some(entry) = self.again.first_entry()
                && entry.key().0 <= Instant::now()
            {
                let receipt = entry.remove();
                self.push(receipt);
                continue;
            }
            if self.read.is_empty()
                && self.has_room()
                && let Some(Ok(batch)) = self.input.as_mut().map(mpsc::Receiver::try_recv)
            {
                self.take(Some(batch));
            }
            let Some(line) = self.read.pop_front() else { return };
            let index = self.watermark.take(Position { line: line.number, bytes: line.end });
            self.push(Receipt { index, line, attempt: 1 });
        }
    }

    fn push(&mut self, receipt: Receipt) {
        match self.lines.open(&receipt) {
            Ok(event) => self.intake.push(event, receipt),
            Err(refused) => {
                let (event, Malformed { reason, detail }) = *refused;
                self.intake.refuse(event, receipt, reason, &detail);
            }
        }
    }

    fn take(&mut self, batch: Option<reader::Batch>) {
        match batch {
            Some(Ok(lines)) => self.read.extend(lines),
            Some(Err(error)) => {
                self.failure = Some(error);
                self.input = None;
            }
            None => self.input = None,
        }
    }

    fn settle(&mut self, receipt: Receipt, outcome: Outcome) {
        match outcome {
            Outcome::Done | Outcome::Dead(_) => {
                let before = self.watermark.reached();
                self.watermark.settle(receipt.index);
                self.lines.progress.advance(self.watermark.reached().bytes - before.bytes);
            }
            Outcome::Retry(wait) => {
                let at = Instant::now() + wait.max(pause(receipt.attempt));
                let again = Receipt { attempt: receipt.attempt + 1, ..receipt };
                self.again.insert((at, again.index), again);
            }
        }
    }

    /// Whether more lines may be taken: a line that does not come to its end must not let the rest grow without bound.
    fn has_room(&self) -> bool {
        self.watermark.ahead() < MAX_AHEAD
    }

    fn is_done(&self) -> bool {
        self.input.is_none() && self.read.is_empty() && self.again.is_empty() && self.intake.open() == 0
    }
}

/// Cancel safe. Waits for ever without an input.
async fn next_batch(input: &mut Option<mpsc::Receiver<reader::Batch>>) -> Option<reader::Batch> {
    match input {
        Some(input) => input.recv().await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn pause(attempt: u32) -> Duration {
    MIN_WAIT.saturating_mul(1_u32.checked_shl(attempt - 1).unwrap_or(u32::MAX)).min(MAX_WAIT)
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

//! The task of one process: hands it lines, hears its answers, and says what became of each output.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use anyhow::anyhow;
use bytes::{Buf as _, Bytes, buf::Chain};
use tokio::{
    io::AsyncWriteExt as _,
    process::ChildStdin,
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{
    super::{Confirmation, SinkRefusal, Slot},
    child::ChildProcess,
    lines::LineAllowance,
};
use crate::{
    config::{self, ExecConfirm},
    json::line,
    text,
};

/// Time without outputs after which a process is ended: its route may be gone.
const IDLE: Duration = Duration::from_mins(10);
/// Time for the last answers of a process that has ended: another may hold its standard output.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Answer that confirms the oldest output.
const OK: &str = "ok";
/// Answer that refuses it for good; the rest of the line says why.
const ERROR: &str = "error";

/// An output for a process.
#[derive(Clone)]
pub(super) struct ExecLine {
    pub(super) slot: Slot,
    pub(super) payload: Bytes,
}

/// A payload on one line, and the end of the line: it is not copied for it.
type ExecText = Chain<Bytes, Bytes>;

pub(super) struct ProcessTask {
    sink: Arc<str>,
    route: Arc<str>,
    child: ChildProcess,
    confirm: ExecConfirm,
    stop_timeout: Duration,
    outputs: mpsc::Receiver<ExecLine>,
    reports: mpsc::Sender<RouteReport>,
    /// The line that is being written, and its output.
    writing: Option<(Slot, ExecText)>,
    /// Outputs in the pipe or in the program, the oldest first.
    unconfirmed: VecDeque<Slot>,
    allowance: LineAllowance,
}

/// Report about an output of a route.
pub(super) type RouteReport = (Arc<str>, Confirmation);

/// What makes a process's task end.
enum TaskEnd {
    /// There are no more outputs, or were none for long.
    NoOutputs,
    /// The program has ended, or takes or answers nothing any more.
    Program(String),
}

impl ProcessTask {
    pub(super) fn new(
        (sink, route): (Arc<str>, Arc<str>),
        child: ChildProcess,
        settings: &config::ExecSink,
        outputs: mpsc::Receiver<ExecLine>,
        reports: mpsc::Sender<RouteReport>,
    ) -> Self {
        let config::ExecSink { confirm, stop_timeout, .. } = *settings;
        let (writing, unconfirmed, allowance) = (None, VecDeque::new(), LineAllowance::new());
        Self { sink, route, child, confirm, stop_timeout, outputs, reports, writing, unconfirmed, allowance }
    }

    pub(super) async fn run(mut self) {
        tracing::debug!(sink = %self.sink, route = %self.route, "program started");
        let end = self.work().await;
        // The channel stays open until then, so that a route never has two processes.
        self.end().await;
        self.outputs.close();
        let why = match end {
            TaskEnd::NoOutputs => "it was ended".to_owned(),
            TaskEnd::Program(why) => why,
        };
        let writing = self.writing.take().map(|(slot, _)| slot);
        let mut open: Vec<_> = self.unconfirmed.drain(..).chain(writing).collect();
        while let Some(ExecLine { slot, .. }) = self.outputs.recv().await {
            open.push(slot);
        }
        if !open.is_empty() {
            tracing::warn!(
                sink = %self.sink, route = %self.route, why, unconfirmed = open.len(),
                "the program has ended, what it did not confirm goes to the next one"
            );
        }
        for slot in open {
            let cause = anyhow!("the program ended before it took the output: {why}");
            self.report(Confirmation::Refused(slot, SinkRefusal::Apart(cause))).await;
        }
    }

    /// Works until there is nothing more to do, or the program ends.
    async fn work(&mut self) -> TaskEnd {
        let (mut has_answers, mut has_errors) = (true, true);
        let mut idle = Instant::now() + IDLE;
        loop {
            let is_idle = self.writing.is_none() && self.unconfirmed.is_empty();
            if !is_idle {
                idle = Instant::now() + IDLE;
            }
            tokio::select! {
                answer = self.child.stdout.next(), if has_answers => match answer {
                    Some(answer) => self.hear(&answer).await,
                    None if self.confirm == ExecConfirm::Write => has_answers = false,
                    None => return TaskEnd::Program(self.status("it has closed its standard output").await),
                },
                message = self.child.stderr.next(), if has_errors => match message {
                    Some(message) => self.log("stderr", &message),
                    None => has_errors = false,
                },
                written = write(&mut self.child.stdin, &mut self.writing), if self.writing.is_some() => match written {
                    Ok(()) => self.wrote().await,
                    Err(error) => {
                        return TaskEnd::Program(self.status(&format!("it does not read: {error}")).await);
                    }
                },
                output = self.outputs.recv(), if self.writing.is_none() => match output {
                    Some(ExecLine { slot, payload }) => self.writing = Some((slot, on_one_line(payload))),
                    None => return TaskEnd::NoOutputs,
                },
                status = self.child.process.wait() => {
                    return TaskEnd::Program(status.map_or_else(|error| error.to_string(), |status| status.to_string()));
                }
                () = sleep_until(idle), if is_idle => return TaskEnd::NoOutputs,
            }
        }
    }

    /// Notes that the line is in the pipe.
    async fn wrote(&mut self) {
        let Some((_, line)) = &self.writing else { return };
        if line.has_remaining() {
            return;
        }
        let Some((slot, _)) = self.writing.take() else { return };
        match self.confirm {
            ExecConfirm::Line => self.unconfirmed.push_back(slot),
            ExecConfirm::Write => self.report(Confirmation::One(slot)).await,
        }
    }

    /// Takes an answer of the program. Any other line is logged.
    async fn hear(&mut self, answer: &str) {
        let (word, rest) = answer.trim().split_once(char::is_whitespace).unwrap_or((answer.trim(), ""));
        let is_answer = self.confirm == ExecConfirm::Line && (word == OK && rest.is_empty() || word == ERROR);
        if !is_answer {
            return self.log("stdout", answer);
        }
        let Some(slot) = self.unconfirmed.pop_front() else {
            let (sink, route, answer) = (&self.sink, &self.route, text::line(answer));
            tracing::warn!(%sink, %route, %answer, "the program answers, and has no output");
            return;
        };
        let report = match word {
            OK => Confirmation::One(slot),
            _ => {
                let cause = anyhow!("the program says: {}", text::line(rest));
                Confirmation::Refused(slot, SinkRefusal::Never("refused_by_program", cause))
            }
        };
        self.report(report).await;
    }

    async fn report(&self, report: Confirmation) {
        // An error means that the sink is closed, and the event goes back to its source.
        let _ = self.reports.send((Arc::clone(&self.route), report)).await;
    }

    fn log(&mut self, stream: &str, message: &str) {
        if let Some(skipped) = self.allowance.admit() {
            let (sink, route, line) = (&self.sink, &self.route, text::line(message));
            tracing::info!(%sink, %route, stream, skipped, %line, "the program says");
        }
    }

    /// Returns how the program has ended, or `otherwise` if it has not.
    async fn status(&mut self, otherwise: &str) -> String {
        match timeout(LAST_WORDS, self.child.process.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => otherwise.to_owned(),
        }
    }

    /// Ends the process: first its standard input, then with signals to its group.
    async fn end(&mut self) {
        self.child.stdin = None;
        if self.ends_within(self.stop_timeout).await {
            return;
        }
        self.child.terminate();
        if self.ends_within(self.stop_timeout).await {
            return;
        }
        let (sink, route) = (&self.sink, &self.route);
        tracing::warn!(%sink, %route, "the program does not end, killing it");
        self.child.kill();
        self.ends_within(self.stop_timeout).await;
    }

    /// Waits for the process to end, and takes its last answers.
    async fn ends_within(&mut self, time: Duration) -> bool {
        let last = Instant::now() + time;
        let (mut has_answers, mut has_errors, mut ended) = (true, true, None);
        while ended.is_none() || has_answers {
            let until = ended.map_or(last, |ended: Instant| ended + LAST_WORDS);
            tokio::select! {
                biased;
                answer = self.child.stdout.next(), if has_answers => match answer {
                    Some(answer) => self.hear(&answer).await,
                    None => has_answers = false,
                },
                message = self.child.stderr.next(), if has_errors => match message {
                    Some(message) => self.log("stderr", &message),
                    None => has_errors = false,
                },
                _ = self.child.process.wait(), if ended.is_none() => ended = Some(Instant::now()),
                () = sleep_until(until) => break,
            }
        }
        ended.is_some()
    }
}

/// Writes a part of the line that is being written. Cancel safe.
async fn write(stdin: &mut Option<ChildStdin>, writing: &mut Option<(Slot, ExecText)>) -> io::Result<()> {
    let (Some(stdin), Some((_, line))) = (stdin, writing) else { return Ok(()) };
    match stdin.write_buf(line).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(()),
    }
}

/// The payload as one JSON value on a line of its own.
fn on_one_line(payload: Bytes) -> ExecText {
    if line::is_json(&payload) && !payload.iter().any(|byte| b"\r\n".contains(byte)) {
        return payload.chain(Bytes::from_static(b"\n"));
    }
    let mut text = Vec::new();
    line::append(&mut text, &payload);
    Bytes::from(text).chain(Bytes::new())
}

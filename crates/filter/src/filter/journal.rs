//! Log output of guests: the `log` import and what they print. Both go to `tracing` under the
//! target `filter`, never to the router's own output, and share one budget per event and, for each
//! filter, one per second.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tracing::Level;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

use crate::{event::Event, poison::ignore_poison, text};

/// Most bytes of one line.
const MAX_LINE: usize = 4 << 10;

/// Most bytes of one filter's lines in one second, so that no filter fills the disk or hides the
/// output of others.
const MAX_RATE: usize = 1 << 20;
/// Bytes that a line counts for besides its text.
const OVERHEAD: usize = 128;
/// Room for the note at the end of a line that was cut.
const CUT_NOTE: usize = 40;
/// Most bytes of what is told of a call that broke, and most lines of it over the budget.
const LAST_WORDS: usize = 2_000;
const LAST_LINES: usize = 16;

/// Log budget of a filter for the current second, shared by all of its instances.
#[derive(Debug, Default)]
pub(super) struct LogRate(Mutex<LogSecond>);

#[derive(Debug, Default)]
struct LogSecond {
    /// `None` before the first line.
    began: Option<Instant>,
    bytes: usize,
    dropped: u64,
}

impl LogRate {
    /// Counts one line. Returns whether it fits, and how many lines were dropped in a second that
    /// is over by now.
    fn take(&self, length: usize) -> (bool, u64) {
        let now = Instant::now();
        let mut second = ignore_poison(self.0.lock());
        let mut dropped = 0;
        if second.began.is_none_or(|began| now.duration_since(began) >= Duration::from_secs(1)) {
            dropped = second.dropped;
            *second = LogSecond { began: Some(now), bytes: 0, dropped: 0 };
        }
        second.bytes += length.min(MAX_LINE) + OVERHEAD;
        let fits = second.bytes <= MAX_RATE;
        second.dropped += u64::from(!fits);
        (fits, dropped)
    }
}

/// Log of one instance. The lines of a call are kept until it ends, to be logged with the event
/// that it was about, and told with what went wrong.
#[derive(Debug)]
pub(super) struct GuestLog {
    filter: Arc<str>,
    rate: Arc<LogRate>,
    call: Mutex<CallLines>,
}

/// Lines of the call under way.
#[derive(Debug, Default)]
struct CallLines {
    /// Number of lines that the budget still allows.
    left: u32,
    bytes: usize,
    lines: Vec<GuestLine>,
    dropped: u32,
    /// The last of the dropped lines, for a call that breaks.
    beyond: VecDeque<GuestLine>,
    /// Text of a call that broke.
    last_words: String,
}

#[derive(Debug)]
struct GuestLine {
    level: Level,
    /// `None` for a line of the `log` import.
    stream: Option<&'static str>,
    text: String,
}

impl GuestLog {
    pub(super) fn new(filter: Arc<str>, rate: Arc<LogRate>) -> Self {
        Self { filter, rate, call: Mutex::default() }
    }

    /// Name of the filter.
    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    /// Opens the budget of one call.
    pub(super) fn begin(&self, lines: u32) {
        let mut call = ignore_poison(self.call.lock());
        if !call.is_empty() {
            self.flush(&mut call, None, None);
        }
        call.left = lines;
    }

    /// Logs the lines of the call, and how many were dropped, if any. Of a call that broke, what
    /// was printed to standard error is a warning, and the lines are kept for
    /// [`Self::last_words`].
    pub(super) fn end(&self, key: &str, event: Option<&Event>, is_broken: bool) {
        let mut call = ignore_poison(self.call.lock());
        if call.is_empty() {
            return;
        }
        if is_broken {
            call.last_words = call.words();
            for line in call.lines.iter_mut().filter(|line| line.stream == Some("stderr")) {
                line.level = Level::WARN;
            }
        }
        self.flush(&mut call, Some(key), event);
    }

    /// Takes the lines of a call that broke, cut to a size that fits a dead letter.
    pub(super) fn last_words(&self) -> String {
        let mut call = ignore_poison(self.call.lock());
        if call.is_empty() {
            return mem::take(&mut call.last_words);
        }
        let words = call.words();
        self.flush(&mut call, None, None);
        words
    }

    pub(super) fn write(&self, level: Level, text: String) {
        ignore_poison(self.call.lock()).push(GuestLine { level, stream: None, text });
    }

    /// Returns whether lines of this level are written anywhere.
    pub(super) fn is_heard(&self, level: Level) -> bool {
        is_heard(level)
    }

    fn print(&self, stream: &'static str, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        ignore_poison(self.call.lock()).push(GuestLine { level: Level::INFO, stream: Some(stream), text });
    }

    fn flush(&self, call: &mut CallLines, key: Option<&str>, event: Option<&Event>) {
        let filter = &*self.filter;
        let (event, trace) = (event.map(|event| &*event.id), event.and_then(Event::trace_id));
        for GuestLine { level, stream, text } in call.lines.drain(..) {
            if !self.has_room(level, text.len()) {
                continue;
            }
            let text = text::line(&text);
            macro_rules! write_line {
                ($level:ident) => {
                    tracing::$level!(target: "filter", filter, key, event, trace, stream, "{text}")
                };
            }
            match level {
                Level::TRACE => write_line!(trace),
                Level::DEBUG => write_line!(debug),
                Level::INFO => write_line!(info),
                Level::WARN => write_line!(warn),
                Level::ERROR => write_line!(error),
            }
        }
        if call.dropped > 0 {
            tracing::warn!(
                target: "filter", filter, key, event, trace, dropped = call.dropped,
                "log lines over the budget of one event were dropped"
            );
        }
        (call.bytes, call.dropped) = (0, 0);
        call.beyond.clear();
    }

    /// Returns whether the line fits into the filter's second. A line that is not logged needs no
    /// room.
    fn has_room(&self, level: Level, length: usize) -> bool {
        if !is_heard(level) {
            return false;
        }
        let (fits, dropped) = self.rate.take(length);
        if dropped > 0 {
            tracing::warn!(
                target: "filter", filter = &*self.filter, dropped,
                "log lines over the budget of one second were dropped"
            );
        }
        fits
    }
}

/// What was logged outside of a call, or in one that was given up.
impl Drop for GuestLog {
    fn drop(&mut self) {
        let mut call = mem::take(ignore_poison(self.call.get_mut()));
        self.flush(&mut call, None, None);
    }
}

impl CallLines {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.dropped == 0
    }

    fn push(&mut self, mut line: GuestLine) {
        cut_line(&mut line.text);
        if self.left > 0 && self.bytes + line.text.len() <= MAX_RATE {
            self.left -= 1;
            self.bytes += line.text.len();
            self.lines.push(line);
            return;
        }
        self.dropped = self.dropped.saturating_add(1);
        if self.beyond.len() == LAST_LINES {
            self.beyond.pop_front();
        }
        self.beyond.push_back(line);
    }

    /// The lines of the call: all, or the first and the last of them.
    fn words(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().chain(&self.beyond).map(|line| line.text.trim_end()).collect();
        let text = lines.join("\n");
        if text.len() <= LAST_WORDS {
            return text;
        }
        let head = text.floor_char_boundary(LAST_WORDS / 2);
        let tail = text.ceil_char_boundary(text.len() - LAST_WORDS / 2);
        format!("{}\n…\n{}", &text[..head], &text[tail..])
    }
}

fn cut_line(text: &mut String) {
    let whole = text.len();
    if whole > MAX_LINE {
        text.truncate(text.floor_char_boundary(MAX_LINE - CUT_NOTE));
        text.push_str(&format!("… and {} bytes more", whole - text.len()));
    }
}

fn is_heard(level: Level) -> bool {
    match level {
        Level::TRACE => tracing::enabled!(target: "filter", Level::TRACE),
        Level::DEBUG => tracing::enabled!(target: "filter", Level::DEBUG),
        Level::INFO => tracing::enabled!(target: "filter", Level::INFO),
        Level::WARN => tracing::enabled!(target: "filter", Level::WARN),
        Level::ERROR => tracing::enabled!(target: "filter", Level::ERROR),
    }
}

/// A guest's standard output or standard error.
#[derive(Clone, Debug)]
pub(super) struct GuestOutput {
    pub(super) journal: Arc<GuestLog>,
    pub(super) stream: &'static str,
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this one, and filters are not given that.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(PrintedLines { to: self.clone(), line: Vec::new() })
    }
}

/// Collects printed bytes into lines.
struct PrintedLines {
    to: GuestOutput,
    line: Vec<u8>,
}

impl PrintedLines {
    fn end_line(&mut self) {
        let line = mem::take(&mut self.line);
        self.to.journal.print(self.to.stream, &line);
    }
}

impl OutputStream for PrintedLines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', rest)) => {
                    self.line.extend_from_slice(rest);
                    self.end_line();
                }
                _ => self.line.extend_from_slice(piece),
            }
            if self.line.len() >= MAX_LINE {
                self.end_line();
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE)
    }
}

#[async_trait]
impl Pollable for PrintedLines {
    async fn ready(&mut self) {}
}

impl Drop for PrintedLines {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Arc<GuestLog> {
        Arc::new(GuestLog::new("f".into(), Arc::default()))
    }

    /// Number of lines kept, and of lines dropped.
    fn counts(log: &GuestLog) -> (usize, u32) {
        let call = log.call.lock().unwrap();
        (call.lines.len(), call.dropped)
    }

    #[test]
    fn the_budget_is_per_call_and_what_it_refused_is_counted() {
        let log = log();
        log.begin(2);
        (0..4).for_each(|number| log.write(Level::INFO, number.to_string()));
        assert_eq!(counts(&log), (2, 2));
        log.end("k", None, false);
        log.begin(2);
        log.write(Level::INFO, "again".to_owned());
        assert_eq!(counts(&log), (1, 0));
    }

    /// However many lines a budget allows.
    #[test]
    fn what_is_kept_is_bounded_in_bytes() {
        let log = log();
        log.begin(u32::MAX);
        (0..1_000).for_each(|_| log.write(Level::INFO, "x".repeat(10 * MAX_LINE)));
        let (kept, dropped) = counts(&log);
        assert!(kept < 2 * MAX_RATE / MAX_LINE && kept + dropped as usize == 1_000, "{kept} kept, {dropped} dropped");
    }

    #[test]
    fn the_first_and_the_last_lines_of_a_broken_call_are_told() {
        let log = log();
        log.begin(3);
        log.write(Level::INFO, "fine so far".to_owned());
        log.end("k", None, false);
        assert_eq!(log.last_words(), "");
        log.begin(3);
        (0..1_000).for_each(|number| log.write(Level::INFO, format!("line {number}")));
        log.end("k", None, true);
        let words = log.last_words();
        assert!(words.starts_with("line 0\nline 1\nline 2\nline 984\n") && words.ends_with("\nline 999"), "{words}");
        log.begin(3);
        log.write(Level::INFO, "x".repeat(LAST_WORDS) + "the end");
        let words = log.last_words();
        assert!(words.len() < LAST_WORDS + 10 && words.ends_with("the end"), "{words}");
    }

    #[test]
    fn printing_is_gathered_into_lines() {
        let log = log();
        log.begin(100);
        let mut lines =
            PrintedLines { to: GuestOutput { journal: Arc::clone(&log), stream: "stdout" }, line: Vec::new() };
        lines.write(Bytes::from_static(b"one\ntwo\nth")).unwrap();
        assert_eq!((counts(&log).0, &*lines.line), (2, &b"th"[..]));
        lines.write(Bytes::from_static(b"ree")).unwrap();
        drop(lines);
        assert_eq!(log.last_words(), "one\ntwo\nthree");
    }

    #[tokio::test(start_paused = true)]
    async fn the_budget_per_second_has_an_end_and_says_so() {
        let rate = LogRate::default();
        let said = || (0..1_000).filter(|_| rate.take(10 * MAX_LINE).0).count();
        let fit = MAX_RATE / (MAX_LINE + OVERHEAD);
        assert_eq!(said(), fit);
        assert_eq!(said(), 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(rate.take(0), (true, 2_000 - fit as u64));
        assert_eq!(said(), fit);
    }
}

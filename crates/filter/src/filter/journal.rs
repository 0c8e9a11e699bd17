//! Log output of guests: the `log` import and what they print. Both go to `tracing` under the
//! target `filter`, never to the router's own output, and share one budget per event and, for each
//! filter, one per second.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
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

use crate::{poison::ignore_poison, text};

/// Most bytes of one line.
const MAX_LINE: usize = 4 << 10;

/// Most bytes of one filter's lines in one second, so that no filter fills the disk or hides the
/// output of others.
const MAX_RATE: usize = 1 << 20;
/// Bytes that a line counts for besides its text.
const OVERHEAD: usize = 128;

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

/// Log of one instance.
#[derive(Debug)]
pub(super) struct GuestLog {
    filter: Arc<str>,
    left: AtomicU32,
    dropped: AtomicU32,
    rate: Arc<LogRate>,
}

impl GuestLog {
    pub(super) fn new(filter: Arc<str>, rate: Arc<LogRate>) -> Self {
        Self { filter, left: AtomicU32::new(0), dropped: AtomicU32::new(0), rate }
    }

    /// Opens the budget of one call.
    pub(super) fn begin(&self, lines: u32) {
        self.left.store(lines, Ordering::Relaxed);
    }

    /// Logs how many lines of the call were dropped, if any.
    pub(super) fn end(&self, key: &str) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(
                target: "filter", filter = &*self.filter, key, dropped,
                "log lines over the budget of one event were dropped"
            );
        }
    }

    pub(super) fn write(&self, level: Level, key: &str, message: &str) {
        if !self.spend() || !self.has_room(level, message.len()) {
            return;
        }
        let (filter, message) = (&*self.filter, &*text::line(message));
        match level {
            Level::TRACE => tracing::trace!(target: "filter", filter, key, "{message}"),
            Level::DEBUG => tracing::debug!(target: "filter", filter, key, "{message}"),
            Level::INFO => tracing::info!(target: "filter", filter, key, "{message}"),
            Level::WARN => tracing::warn!(target: "filter", filter, key, "{message}"),
            Level::ERROR => tracing::error!(target: "filter", filter, key, "{message}"),
        }
    }

    /// Returns whether lines of this level are written anywhere.
    pub(super) fn is_heard(&self, level: Level) -> bool {
        is_heard(level)
    }

    fn print(&self, stream: &'static str, line: &[u8]) {
        if self.spend() && self.has_room(Level::INFO, line.len()) {
            let line = String::from_utf8_lossy(line);
            tracing::info!(target: "filter", filter = &*self.filter, stream, "{}", text::line(&line));
        }
    }

    fn spend(&self) -> bool {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !spent {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        spent
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

    #[test]
    fn the_budget_is_per_call_and_what_it_refused_is_counted() {
        let journal = GuestLog::new("f".into(), Arc::default());
        journal.begin(2);
        let spent: Vec<bool> = (0..4).map(|_| journal.spend()).collect();
        assert_eq!(spent, [true, true, false, false]);
        assert_eq!(journal.dropped.load(Ordering::Relaxed), 2);
        journal.end("k");
        journal.begin(2);
        assert!(journal.spend());
    }

    #[test]
    fn printing_is_gathered_into_lines() {
        let journal = Arc::new(GuestLog::new("f".into(), Arc::default()));
        journal.begin(100);
        let mut lines =
            PrintedLines { to: GuestOutput { journal: Arc::clone(&journal), stream: "stdout" }, line: Vec::new() };
        lines.write(Bytes::from_static(b"one\ntwo\nth")).unwrap();
        assert_eq!((journal.left.load(Ordering::Relaxed), &*lines.line), (98, &b"th"[..]));
        lines.write(Bytes::from_static(b"ree")).unwrap();
        drop(lines);
        assert_eq!(journal.left.load(Ordering::Relaxed), 97);
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

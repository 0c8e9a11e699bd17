//! Queue of log lines for standard error. A thread of its own writes them, so that a pipe without a
//! reader never blocks logging: lines beyond the queue's limit are dropped, counted and reported.

use std::{
    fmt,
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use indicatif::ProgressBar;
use tracing::Level;

use super::{LogFormat, record};
use crate::{poison::ignore_poison, text};

/// Limit of the queue in bytes, beside as many that are being written.
const ROOM: usize = 1 << 20;
/// Longest time that the exit of the process waits for a reader.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Handle to the queue of log lines.
#[derive(Clone)]
pub(super) struct StderrLog {
    format: LogFormat,
    queue: Arc<LogQueue>,
}

#[derive(Default)]
struct LogQueue {
    waiting: Mutex<WaitingLines>,
    changed: Condvar,
}

#[derive(Default)]
struct WaitingLines {
    /// Whole lines.
    lines: Vec<u8>,
    /// Number of lines dropped because the queue was full, since it was last taken.
    dropped: u64,
    /// True from `take` to the next `take`, so that `finish` also waits for lines being written.
    is_writing: bool,
}

impl StderrLog {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// Returns an error if the thread can't be started.
    pub(super) fn new(format: LogFormat, live_line: ProgressBar) -> io::Result<Self> {
        let stderr = move |lines: &[u8]| {
            // `suspend` takes a lock that the live line's owner waits for.
            if live_line.is_hidden() {
                io::stderr().write_all(lines)
            } else {
                live_line.suspend(|| io::stderr().write_all(lines))
            }
        };
        Self::to(format, stderr)
    }

    fn to(format: LogFormat, mut write: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let queue = Arc::new(LogQueue::default());
        let theirs = Arc::clone(&queue);
        thread::Builder::new().name("logs".into()).spawn(move || {
            loop {
                let (mut lines, dropped) = theirs.take();
                if dropped > 0 {
                    let message = format!("{dropped} log lines dropped, as standard error was not read in time");
                    lines.extend_from_slice(record(format, Level::WARN, &message).as_bytes());
                }
                // A failed write to stderr can't be reported anywhere else.
                let _ = write(&lines);
            }
        })?;
        Ok(Self { format, queue })
    }

    /// Queues one line, with its end. Never waits for the reader.
    pub(super) fn push(&self, line: &str) {
        let LogQueue { waiting, changed } = &*self.queue;
        let mut waiting = lock(waiting);
        if waiting.lines.len() + line.len() > ROOM {
            waiting.dropped += 1;
        } else {
            waiting.lines.extend_from_slice(line.as_bytes());
        }
        changed.notify_all();
    }

    /// Waits until all lines are written, up to a limit: without a reader, the last lines are lost.
    pub(super) fn finish(&self) {
        let LogQueue { waiting, changed } = &*self.queue;
        let is_under_way =
            |waiting: &mut WaitingLines| waiting.is_writing || !waiting.lines.is_empty() || waiting.dropped > 0;
        drop(changed.wait_timeout_while(lock(waiting), LAST_WORDS, is_under_way));
    }
}

impl LogQueue {
    /// Waits for lines, and takes them all.
    fn take(&self) -> (Vec<u8>, u64) {
        let mut waiting = lock(&self.waiting);
        waiting.is_writing = false;
        self.changed.notify_all();
        while waiting.lines.is_empty() && waiting.dropped == 0 {
            waiting = ignore_poison(self.changed.wait(waiting));
        }
        waiting.is_writing = true;
        (mem::take(&mut waiting.lines), mem::take(&mut waiting.dropped))
    }
}

/// `tracing` makes one call per log line.
impl Write for StderrLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        match self.format {
            // Already escaped, except for our own colours.
            LogFormat::Text => self.push(&text),
            LogFormat::Json => self.push(&text::lines(&text)),
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for StderrLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StderrLog(..)")
    }
}

fn lock(waiting: &Mutex<WaitingLines>) -> MutexGuard<'_, WaitingLines> {
    ignore_poison(waiting.lock())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Returns a writer that blocks until released, with its release and what it has written.
    fn held_back() -> (StderrLog, mpsc::SyncSender<()>, mpsc::Receiver<String>) {
        let (go, may_go) = mpsc::sync_channel::<()>(100);
        let (wrote, written) = mpsc::channel();
        let write = move |lines: &[u8]| {
            // Once the sender is dropped, lines are written at once.
            let _ = may_go.recv();
            wrote.send(String::from_utf8_lossy(lines).into_owned()).map_err(io::Error::other)
        };
        (StderrLog::to(LogFormat::Text, write).unwrap(), go, written)
    }

    #[test]
    fn what_nobody_reads_holds_up_nobody_and_is_counted() {
        let (stderr, go, written) = held_back();
        let line = format!("{}\n", "x".repeat(1023));
        let all = 5 * ROOM / line.len();
        for _ in 0..all {
            stderr.push(&line);
        }
        drop(go);
        stderr.finish();
        let written: String = written.try_iter().collect();
        let kept = written.matches(&line).count();
        // Up to twice the limit: the thread may have taken some before the rest came.
        assert!((ROOM / line.len()..=2 * ROOM / line.len()).contains(&kept), "{kept}");
        let count = |line: &str| line.split_once(" WARN ")?.1.split_once(" log lines dropped")?.0.parse::<usize>().ok();
        assert_eq!(written.lines().filter_map(count).sum::<usize>(), all - kept);
    }

    #[test]
    fn lines_come_in_order_and_the_last_one_is_waited_for() {
        let (stderr, go, written) = held_back();
        drop(go);
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        lines.iter().for_each(|line| stderr.push(line));
        stderr.finish();
        assert_eq!(written.try_iter().collect::<String>(), lines.concat());
    }

    #[test]
    fn the_end_does_not_wait_for_a_reader_for_ever() {
        let (stderr, go, written) = held_back();
        stderr.push("nobody reads this\n");
        stderr.finish();
        assert!(written.try_recv().is_err());
        drop(go);
    }
}

//! Lines of a process, of bounded length, and how many of them are logged.

use std::{mem, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    time::Instant,
};

/// Bytes of a line that are kept.
const LONGEST: usize = 4 << 10;
/// Lines of one process that are logged within [`SPAN`].
const MOST: u32 = 100;
const SPAN: Duration = Duration::from_secs(10);

/// Reader of lines. What a line has beyond its first 4 KiB is skipped.
pub(super) struct BoundedLines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> BoundedLines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader), line: Vec::new() }
    }

    /// Returns the next line without its end; `None` at the end of the stream, or where it can't be
    /// read. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<String> {
        loop {
            let bytes = self.reader.fill_buf().await.unwrap_or_default();
            if bytes.is_empty() {
                return Some(self.take()).filter(|line| !line.is_empty());
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = &bytes[..end.unwrap_or(bytes.len())];
            let room = LONGEST - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let read = part.len() + usize::from(end.is_some());
            self.reader.consume(read);
            if end.is_some() {
                return Some(self.take());
            }
        }
    }

    fn take(&mut self) -> String {
        let line = mem::take(&mut self.line);
        String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned()
    }
}

/// Allowance of logged lines.
#[derive(Debug)]
pub(super) struct LineAllowance {
    since: Instant,
    lines: u32,
    /// Lines that were not logged.
    pub(super) skipped: u64,
}

impl LineAllowance {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), lines: 0, skipped: 0 }
    }

    /// Counts a line. Returns how many were skipped before it if it may be logged.
    pub(super) fn admit(&mut self) -> Option<u64> {
        if self.since.elapsed() >= SPAN {
            (self.since, self.lines) = (Instant::now(), 0);
        }
        if self.lines >= MOST {
            self.skipped += 1;
            return None;
        }
        self.lines += 1;
        Some(mem::take(&mut self.skipped))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test]
    async fn a_line_has_a_longest_length() {
        let text = format!("short\r\n\n{}\n\u{fffd}last", "x".repeat(3 * LONGEST));
        let mut lines = BoundedLines::new(text.as_bytes());
        assert_eq!(lines.next().await.unwrap(), "short");
        assert_eq!(lines.next().await.unwrap(), "");
        assert_eq!(lines.next().await.unwrap(), "x".repeat(LONGEST));
        assert_eq!(lines.next().await.unwrap(), "\u{fffd}last");
        assert_eq!(lines.next().await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_lines_is_counted_and_not_logged() {
        let mut allowance = LineAllowance::new();
        assert!((0..MOST).all(|_| allowance.admit() == Some(0)));
        assert_eq!([allowance.admit(), allowance.admit()], [None, None]);
        advance(SPAN).await;
        assert_eq!([allowance.admit(), allowance.admit()], [Some(2), Some(0)]);
    }
}

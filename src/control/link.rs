//! One end of a control connection: JSON objects, one a line, bounded in length (L89).

use std::{io, path::Path, time::Duration};

use bytes::Buf as _;
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// A connection, split into its two directions.
#[derive(Debug)]
pub struct ControlLink {
    pub reader: LinkReader,
    pub writer: LinkWriter,
}

#[derive(Debug)]
pub struct LinkReader {
    stream: BufReader<OwnedReadHalf>,
    partial: Vec<u8>,
    /// Longer lines are skipped.
    limit: usize,
    /// True while the current line is longer than the limit.
    is_oversized: bool,
}

#[derive(Debug)]
pub struct LinkWriter(OwnedWriteHalf);

impl ControlLink {
    /// # Errors
    /// Returns an error if nothing listens there.
    pub async fn connect(socket: &Path, limit: usize) -> io::Result<Self> {
        Ok(Self::new(UnixStream::connect(socket).await?, limit))
    }

    pub fn new(stream: UnixStream, limit: usize) -> Self {
        let (reader, writer) = stream.into_split();
        let reader = LinkReader { stream: BufReader::new(reader), partial: Vec::new(), limit, is_oversized: false };
        Self { reader, writer: LinkWriter(writer) }
    }
}

impl LinkReader {
    /// The next line without its end; `None` when the other side has closed. A line beyond the
    /// limit is skipped, with a warning. Cancel safe.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let available = self.stream.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            self.is_oversized |= self.partial.len() + part.len() > self.limit;
            if self.is_oversized {
                self.partial.clear();
            } else {
                self.partial.extend_from_slice(part);
            }
            let read = part.len() + usize::from(end.is_some());
            self.stream.consume(read);
            if end.is_none() {
                continue;
            }
            let line = std::mem::take(&mut self.partial);
            if !std::mem::take(&mut self.is_oversized) {
                return Ok(Some(line));
            }
            tracing::warn!(limit = self.limit, "a line on the control socket is too long and left out");
        }
    }

    /// The next line if it comes within `patience`.
    ///
    /// # Errors
    /// Returns an error if the connection breaks, is closed, or stays silent.
    pub async fn next_within(&mut self, patience: Duration) -> io::Result<Vec<u8>> {
        let line = tokio::time::timeout(patience, self.next()).await;
        let line =
            line.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}")))??;
        line.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the other side has closed"))
    }
}

impl LinkWriter {
    /// # Errors
    /// If the other side has closed.
    pub async fn send(&mut self, frame: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(frame)?;
        line.push(b'\n');
        self.send_line(&line).await
    }

    /// Sends a line; `line` includes its end.
    ///
    /// # Errors
    /// If the other side has closed.
    pub async fn send_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line).await
    }

    /// Sends a line in parts, including its end.
    ///
    /// # Errors
    /// If the other side has closed.
    pub async fn send_parts(&mut self, [begin, payload, end]: [&[u8]; 3]) -> io::Result<()> {
        self.0.write_all_buf(&mut begin.chain(payload).chain(end)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(parts: &[&[u8]]) -> Vec<String> {
        let (near, mut far) = UnixStream::pair().unwrap();
        let mut link = ControlLink::new(near, 8);
        let parts: Vec<_> = parts.iter().map(|part| part.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for part in parts {
                far.write_all(&part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut lines = Vec::new();
        while let Some(line) = link.reader.next().await.unwrap() {
            lines.push(String::from_utf8(line).unwrap());
        }
        writing.await.unwrap();
        lines
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_are_cut() {
        assert_eq!(read_all(&[b"on", b"e\ntwo\n\nth", b"ree\nrest"]).await, ["one", "two", "", "three"]);
    }

    #[tokio::test]
    async fn a_line_beyond_the_limit_is_left_out() {
        assert_eq!(
            read_all(&[b"12345678\n123456789\nnext\n12345", b"67890", b"12345\nlast\n"]).await,
            ["12345678", "next", "last"]
        );
    }
}

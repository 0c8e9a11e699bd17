//! NDJSON on standard output (L116), or any other stream of bytes.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    os::fd::AsFd,
};

use bytes::Bytes;

use super::{
    Output, SinkRefusal, Slot,
    blocking::{BlockingDestination, BlockingSink, StoppedBatch},
    chunk::{self, LineChunk},
};
use crate::json::line;

/// Opens standard output as a sink.
///
/// # Errors
/// Returns an error if standard output is closed or the thread that writes can't be started.
pub fn open() -> io::Result<BlockingSink<StreamLines<File>>> {
    // A handle of our own: the library's buffers lines and so can't tell how much of a failed write
    // went out.
    let stdout = io::stdout().as_fd().try_clone_to_owned()?;
    BlockingSink::new(StreamLines::new(File::from(stdout)))
}

/// Writer of lines to a stream that can't be taken back. Every line goes out whole, whatever fails
/// in between.
pub struct StreamLines<W> {
    stream: W,
    /// Rest of a line of which a part went out before a write failed, and that line's slot.
    torn: Option<(Slot, Vec<u8>)>,
    chunk: LineChunk,
}

impl<W: Write> StreamLines<W> {
    pub fn new(stream: W) -> Self {
        Self { stream, torn: None, chunk: LineChunk::default() }
    }

    /// Ends the torn line, if there is one, before anything else. Returns its slot.
    fn mend(&mut self) -> io::Result<Option<Slot>> {
        let Some((slot, rest)) = &mut self.torn else { return Ok(None) };
        let (sent, result) = chunk::send(&mut self.stream, rest);
        rest.drain(..sent);
        result?;
        let slot = *slot;
        self.torn = None;
        Ok(Some(slot))
    }
}

impl<W: Write + Send + 'static> BlockingDestination for StreamLines<W> {
    type Item = Bytes;

    fn item(output: &Output) -> Bytes {
        output.payload.clone()
    }

    fn store(&mut self, batch: &[(Slot, Bytes)]) -> Result<(), StoppedBatch> {
        let mended = self.mend().map_err(|error| stopped(0, error))?;
        // The torn line may belong to an output that was given up since: then it does not count.
        let mut stored = usize::from(mended.is_some() && mended == batch.first().map(|(slot, _)| *slot));
        while stored < batch.len() {
            let mut payloads = batch[stored..].iter().map(|(_, payload)| &**payload);
            self.chunk.fill(&mut payloads, u64::MAX, line::append);
            let sent = self.chunk.send(&mut self.stream);
            stored += sent.lines;
            if let (true, Some((slot, _))) = (sent.bytes > sent.whole, batch.get(stored)) {
                self.torn = Some((*slot, self.chunk.rest(&sent).to_vec()));
            }
            sent.result.map_err(|error| stopped(stored, error))?;
        }
        Ok(())
    }
}

/// Maps an error to a refusal. A closed pipe is a reader that has left (L122).
fn stopped(at: usize, error: io::Error) -> StoppedBatch {
    let why = match error.kind() {
        ErrorKind::BrokenPipe => SinkRefusal::Closed,
        _ => SinkRefusal::Later(error.into()),
    };
    StoppedBatch::at(at, why)
}

#[cfg(test)]
mod tests;

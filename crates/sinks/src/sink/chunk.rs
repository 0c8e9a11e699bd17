//! Lines, or the records of a block, that are written together, and how many of them a write has
//! taken.

use std::io::{self, ErrorKind, Write};

/// Bytes after which a chunk is full.
const FULL: u64 = 256 << 10;

#[derive(Debug, Default)]
pub(super) struct LineChunk {
    lines: Vec<u8>,
    /// End offset of each line.
    ends: Vec<usize>,
}

/// Progress of a write.
#[derive(Debug)]
pub(super) struct WriteProgress {
    /// Lines that went out whole.
    pub(super) lines: usize,
    /// Their bytes.
    pub(super) whole: usize,
    /// All bytes that went out: more than the whole lines' if the write tore one.
    pub(super) bytes: usize,
    pub(super) result: io::Result<()>,
}

impl LineChunk {
    /// Takes payloads, which `append` makes lines of, until the chunk is full or has `room` bytes;
    /// one at least.
    pub(super) fn fill<'a>(
        &mut self,
        payloads: &mut impl Iterator<Item = &'a [u8]>,
        room: u64,
        mut append: impl FnMut(&mut Vec<u8>, &[u8]),
    ) {
        self.lines.clear();
        self.ends.clear();
        for payload in payloads {
            append(&mut self.lines, payload);
            self.ends.push(self.lines.len());
            if self.lines.len() as u64 >= room.min(FULL) {
                break;
            }
        }
    }

    /// Takes records, which `block` makes a block of, until the chunk is full or has `room` bytes;
    /// one at least. They are written whole or not at all, behind `header`.
    pub(super) fn fill_block<'a>(
        &mut self,
        records: &mut impl Iterator<Item = &'a [u8]>,
        room: u64,
        header: &[u8],
        block: impl FnOnce(&[&'a [u8]]) -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        let (mut taken, mut size) = (Vec::new(), 0);
        for record in records {
            taken.push(record);
            size += record.len() as u64;
            if size >= room.min(FULL) {
                break;
            }
        }
        self.lines.clear();
        self.lines.extend_from_slice(header);
        self.lines.extend(block(&taken)?);
        self.ends = vec![self.lines.len(); taken.len()];
        Ok(())
    }

    pub(super) fn send(&self, to: &mut impl Write) -> WriteProgress {
        let (bytes, result) = send(to, &self.lines);
        let lines = self.ends.partition_point(|end| *end <= bytes);
        let whole = self.ends[..lines].last().copied().unwrap_or(0);
        WriteProgress { lines, whole, bytes, result }
    }

    /// Returns the missing part of the line that a write has torn.
    pub(super) fn rest(&self, sent: &WriteProgress) -> &[u8] {
        self.ends.get(sent.lines).map_or(&[], |end| &self.lines[sent.bytes..*end])
    }
}

/// Writes as many bytes as are taken. Returns how many that was.
pub(super) fn send(to: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut sent = 0;
    while sent < bytes.len() {
        match to.write(&bytes[sent..]) {
            Ok(0) => return (sent, Err(ErrorKind::WriteZero.into())),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (sent, Err(error)),
        }
    }
    (sent, to.flush())
}

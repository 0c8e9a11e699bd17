//! Input of a container file, of which the position is known.

use std::io::{self, BufReader, ErrorKind, Read, Seek};

use super::SyncMarker;

/// Buffered input that counts its bytes.
pub(super) struct CountedInput<R> {
    input: R,
    /// Bytes read so far.
    pub(super) offset: u64,
}

/// Error of what is read: the input, or a number that is none.
pub(super) enum InputFault {
    Io(io::Error),
    /// The input ends too early.
    End,
    Wrong(&'static str),
}

impl From<io::Error> for InputFault {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::UnexpectedEof { Self::End } else { Self::Io(error) }
    }
}

impl<R: Read> CountedInput<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, offset: 0 }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], InputFault> {
        let mut bytes = [0; N];
        self.input.read_exact(&mut bytes)?;
        self.offset += N as u64;
        Ok(bytes)
    }

    pub(super) fn marker(&mut self) -> Result<SyncMarker, InputFault> {
        self.array()
    }

    /// Reads a long; `None` at the end of the input.
    pub(super) fn next_long(&mut self) -> Result<Option<i64>, InputFault> {
        let begin = self.offset;
        match self.long() {
            Err(InputFault::End) if self.offset == begin => Ok(None),
            long => long.map(Some),
        }
    }

    /// Reads a long: a zig-zag varint of up to 64 bits.
    pub(super) fn long(&mut self) -> Result<i64, InputFault> {
        let mut bits = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let byte = u64::from(byte);
            bits |= (byte & 0x7f) << shift;
            if byte < 0x80 && (shift < 63 || byte < 2) {
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(InputFault::Wrong("a number has more than 64 bits"))
    }

    /// Reads a length, of at most `most`.
    pub(super) fn length(&mut self, most: usize, too_long: &'static str) -> Result<usize, InputFault> {
        let length = usize::try_from(self.long()?).map_err(|_| InputFault::Wrong("a length is negative"))?;
        if length <= most { Ok(length) } else { Err(InputFault::Wrong(too_long)) }
    }

    /// Replaces `bytes` by the next `length` of the input. Memory is taken for those that are
    /// there.
    pub(super) fn take(&mut self, length: usize, bytes: &mut Vec<u8>) -> Result<(), InputFault> {
        bytes.clear();
        let taken = self.input.by_ref().take(length as u64).read_to_end(bytes)?;
        self.offset += taken as u64;
        if taken == length { Ok(()) } else { Err(InputFault::End) }
    }
}

impl<R: Read + Seek> CountedInput<BufReader<R>> {
    /// Passes over bytes that are there.
    pub(super) fn skip(&mut self, length: usize) -> Result<(), InputFault> {
        // Of at most a block's size.
        self.input.seek_relative(length as i64)?;
        self.offset += length as u64;
        Ok(())
    }
}

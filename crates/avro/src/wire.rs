//! Reader of the primitives that Avro's encoding consists of.

use super::fault::AvroDecodeError;

/// Rest of a message.
pub(super) struct WireReader<'m> {
    message: &'m [u8],
    at: usize,
}

impl<'m> WireReader<'m> {
    /// Starts at byte `at` of the message.
    pub fn new(message: &'m [u8], at: usize) -> Self {
        Self { message, at }
    }

    pub fn left(&self) -> usize {
        self.message.len().saturating_sub(self.at)
    }

    pub fn fault(&self, reason: &'static str, detail: impl std::fmt::Display) -> AvroDecodeError {
        AvroDecodeError::new(reason, format!("{detail}, at byte {}", self.at))
    }

    /// Reads one byte.
    ///
    /// # Errors
    /// `avro_truncated`
    pub fn byte(&mut self) -> Result<u8, AvroDecodeError> {
        let byte = self.message.get(self.at).ok_or_else(|| self.fault("avro_truncated", "a byte is missing"))?;
        self.at += 1;
        Ok(*byte)
    }

    /// Reads `N` bytes as an array.
    ///
    /// # Errors
    /// `avro_truncated`
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], AvroDecodeError> {
        let bytes = self.message.get(self.at..).and_then(<[u8]>::first_chunk);
        let bytes = bytes.ok_or_else(|| self.fault("avro_truncated", format_args!("{N} bytes are not there")))?;
        self.at += N;
        Ok(*bytes)
    }

    /// Reads the next `size` bytes.
    ///
    /// # Errors
    /// `avro_truncated`
    pub fn take(&mut self, size: usize) -> Result<&'m [u8], AvroDecodeError> {
        let bytes = self.message.get(self.at..).and_then(|left| left.get(..size));
        let bytes = bytes.ok_or_else(|| self.fault("avro_truncated", format_args!("{size} bytes are not there")))?;
        self.at += size;
        Ok(bytes)
    }

    /// Reads a long: a zig-zag varint of up to 64 bits.
    ///
    /// # Errors
    /// `avro_truncated`, `avro_bad_varint`
    pub fn long(&mut self) -> Result<i64, AvroDecodeError> {
        let mut bits = 0;
        for shift in (0..64).step_by(7) {
            let byte = u64::from(self.byte()?);
            bits |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                if shift == 63 && byte > 1 {
                    break;
                }
                return Ok((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        Err(self.fault("avro_bad_varint", "an integer has more than 64 bits"))
    }

    /// Reads an int: a long of 32 bits.
    ///
    /// # Errors
    /// `avro_truncated`, `avro_bad_varint`
    pub fn int(&mut self) -> Result<i32, AvroDecodeError> {
        let long = self.long()?;
        i32::try_from(long).map_err(|_| self.fault("avro_bad_varint", "an int has more than 32 bits"))
    }

    /// Reads a length and as many bytes.
    ///
    /// # Errors
    /// `avro_truncated`, `avro_bad_varint`, `avro_bad_length`
    pub fn prefixed(&mut self) -> Result<&'m [u8], AvroDecodeError> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(size) if size <= self.left() => self.take(size),
            _ => Err(self.fault("avro_bad_length", format_args!("a length is {length}, with {} left", self.left()))),
        }
    }

    /// Reads a block header of an array or a map: the number of items, 0 at the end, and the end of
    /// the block if it is given.
    ///
    /// # Errors
    /// `avro_truncated`, `avro_bad_varint`, `avro_bad_length`
    pub fn block(&mut self, may_be_empty: bool) -> Result<(u64, Option<usize>), AvroDecodeError> {
        let count = self.long()?;
        let end = if count < 0 { Some(self.block_size()?) } else { None };
        if !may_be_empty && count.unsigned_abs() > self.left() as u64 {
            let left = self.left();
            return Err(
                self.fault("avro_bad_length", format_args!("a block counts {count} items, with {left} bytes left"))
            );
        }
        Ok((count.unsigned_abs(), end.map(|size| self.at + size)))
    }

    fn block_size(&mut self) -> Result<usize, AvroDecodeError> {
        let length = self.long()?;
        match usize::try_from(length) {
            Ok(size) if size <= self.left() => Ok(size),
            _ => {
                Err(self
                    .fault("avro_bad_length", format_args!("a block's size is {length}, with {} left", self.left())))
            }
        }
    }

    /// Checks that a block with its size given ends here.
    ///
    /// # Errors
    /// `avro_bad_length`
    pub fn ends_block(&self, end: Option<usize>) -> Result<(), AvroDecodeError> {
        match end {
            Some(end) if end != self.at => {
                Err(self.fault("avro_bad_length", "a block does not have the size that it says"))
            }
            _ => Ok(()),
        }
    }
}

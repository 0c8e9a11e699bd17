//! Walk through a JSON text without parsing it. Skipped values are read, not validated.

use std::ops::Range;

use super::NotJson;

/// Position in a JSON text.
pub(super) struct JsonScanner<'a> {
    pub(super) json: &'a [u8],
    pub(super) at: usize,
}

impl<'a> JsonScanner<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// Returns the next byte that is not white space, not consumed.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<u8, NotJson> {
        loop {
            match self.json.get(self.at) {
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(NotJson),
            }
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), NotJson> {
        if self.peek()? != wanted {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Skips one value of any kind.
    #[inline]
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b'{' | b'[' => self.leave(0),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                let rest = self.json.get(self.at..).unwrap_or_default();
                let end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r');
                self.at += rest.iter().position(end).unwrap_or(rest.len());
                Ok(())
            }
            _ => Err(NotJson),
        }
    }

    /// Skips the next member of the object that begins here or of which a member has just been
    /// passed. Returns the range of its value, if there is one.
    pub(super) fn next_member(&mut self) -> Option<Range<usize>> {
        if !matches!(self.peek(), Ok(b'{' | b',')) {
            return None;
        }
        self.at += 1;
        self.expect(b'"').ok()?;
        self.string().ok()?;
        self.expect(b':').ok()?;
        self.peek().ok()?;
        let start = self.at;
        self.skip().ok()?;
        Some(start..self.at)
    }

    /// Skips the next quote, wherever it is. `false` if there is none.
    pub(super) fn find_quote(&mut self) -> bool {
        let rest = self.json.get(self.at..).unwrap_or_default();
        let quote = rest.iter().position(|&byte| byte == b'"');
        self.at += quote.map_or(rest.len(), |quote| quote + 1);
        quote.is_some()
    }

    /// Skips the end of `depth` open objects and arrays, and of those that open on the way; at
    /// depth 0 the next whole object or array.
    #[inline]
    pub(super) fn leave(&mut self, mut depth: usize) -> Result<(), NotJson> {
        loop {
            let byte = *self.json.get(self.at).ok_or(NotJson)?;
            self.at += 1;
            match byte {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// Skips from behind the opening quote to behind the closing one. Returns the text between,
    /// with its escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<&'a [u8], NotJson> {
        self.text().map(|(raw, _)| raw)
    }

    /// Like [`Self::string`], and returns whether there is an escape in it.
    #[inline]
    pub(super) fn text(&mut self) -> Result<(&'a [u8], bool), NotJson> {
        let start = self.at;
        let mut is_escaped = false;
        loop {
            self.at += self.plain_bytes();
            match self.json.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    let raw = self.json.get(start..self.at - 1).ok_or(NotJson)?;
                    return Ok((raw, is_escaped));
                }
                Some(b'\\') => {
                    is_escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
                None => return Err(NotJson),
            }
        }
    }

    /// Returns how many bytes certainly are neither quote nor backslash, found eight at a time.
    #[inline]
    fn plain_bytes(&self) -> usize {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        const HIGHS: u64 = ONES << 7;
        let zero_bytes = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let rest = self.json.get(self.at..).unwrap_or_default();
        let (chunks, _) = rest.as_chunks::<8>();
        for (index, chunk) in chunks.iter().enumerate() {
            let word = u64::from_le_bytes(*chunk);
            let ends = zero_bytes(word ^ (ONES * u64::from(b'"'))) | zero_bytes(word ^ (ONES * u64::from(b'\\')));
            if ends != 0 {
                return index * 8 + (ends.trailing_zeros() / 8) as usize;
            }
        }
        chunks.len() * 8
    }
}

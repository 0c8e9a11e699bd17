//! Walk through a JSON text without parsing it. Skipped values are read, not validated.

use std::ops::Range;

use super::{
    NotJson,
    block::{BlockBrackets, JsonBlock},
};

/// Position in a JSON text.
pub(super) struct JsonScanner<'a> {
    pub(super) json: &'a [u8],
    pub(super) at: usize,
    /// The block that was looked at last, at or before the position.
    block: JsonBlock,
}

impl<'a> JsonScanner<'a> {
    pub(super) fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0, block: JsonBlock::default() }
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
        while let Some((start, brackets)) = self.block.reach_brackets(self.json, self.at) {
            let BlockBrackets { opens, closes } = brackets;
            let (opened, closed) = (opens.count_ones() as usize, closes.count_ones() as usize);
            if depth > closed {
                depth = depth - closed + opened;
            } else {
                let mut brackets = opens | closes;
                while brackets != 0 {
                    let bracket = brackets & brackets.wrapping_neg();
                    brackets ^= bracket;
                    if opens & bracket != 0 {
                        depth += 1;
                        continue;
                    }
                    depth = depth.checked_sub(1).ok_or(NotJson)?;
                    if depth == 0 {
                        self.at = start + bracket.trailing_zeros() as usize + 1;
                        return Ok(());
                    }
                }
            }
            self.at = start + 64;
        }
        Err(NotJson)
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
        while let Some((block, ahead)) = self.block.reach(self.json, self.at) {
            let (quotes, backslashes) = (self.block.quotes & ahead, self.block.backslashes & ahead);
            let quote = quotes & quotes.wrapping_neg();
            // All bits before the quote; all if there is none.
            is_escaped |= backslashes & quote.wrapping_sub(1) != 0;
            if quote != 0 {
                let end = block + quote.trailing_zeros() as usize;
                self.at = end + 1;
                let raw = self.json.get(start..end).ok_or(NotJson)?;
                return Ok((raw, is_escaped));
            }
            self.at = block + 64;
        }
        Err(NotJson)
    }
}

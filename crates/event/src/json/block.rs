//! Blocks of a JSON text as bits: which bytes end a string, and which brackets stand outside of
//! strings. Found for 64 bytes at once, they cost a fraction of a look at each byte.

use wide::u8x64;

/// Bytes of a block.
const BLOCK: usize = 64;

/// The block of a text that a scanner stands in. Bit `n` is the block's byte `n`.
#[derive(Default)]
pub(super) struct JsonBlock {
    /// Position in the text behind the block. 0 before the first.
    end: usize,
    /// Quotes that no backslash precedes.
    pub(super) quotes: u64,
    pub(super) backslashes: u64,
    /// All bits if the block begins inside a string.
    in_string: u64,
    /// Whether the next block begins behind a backslash that escapes its first byte.
    is_escaped: bool,
    /// Brackets outside of strings, once they have been asked for.
    brackets: Option<BlockBrackets>,
}

/// Brackets of a block that stand outside of strings.
#[derive(Clone, Copy)]
pub(super) struct BlockBrackets {
    /// `{` and `[`.
    pub(super) opens: u64,
    /// `}` and `]`.
    pub(super) closes: u64,
}

impl JsonBlock {
    /// Moves on to the block of a position, which is not before this one. Returns the block's start
    /// and the bits from the position on. `None` behind the end of the text.
    #[inline]
    pub(super) fn reach(&mut self, json: &[u8], at: usize) -> Option<(usize, u64)> {
        if at >= json.len() {
            return None;
        }
        while self.end <= at {
            let bytes = block_from(json, self.end);
            self.advance(bytes);
            self.brackets = None;
        }
        Some((self.end - BLOCK, u64::MAX << (at % BLOCK)))
    }

    /// As [`Self::reach`], and returns the brackets from the position on.
    #[inline]
    pub(super) fn reach_brackets(&mut self, json: &[u8], at: usize) -> Option<(usize, BlockBrackets)> {
        if at >= json.len() {
            return None;
        }
        if self.end > at && self.brackets.is_none() {
            self.brackets = Some(self.find_brackets(block_from(json, self.end - BLOCK)));
        }
        while self.end <= at {
            let bytes = block_from(json, self.end);
            self.advance(bytes);
            self.brackets = Some(self.find_brackets(bytes));
        }
        let BlockBrackets { opens, closes } = self.brackets?;
        let ahead = u64::MAX << (at % BLOCK);
        Some((self.end - BLOCK, BlockBrackets { opens: opens & ahead, closes: closes & ahead }))
    }

    #[inline(always)]
    fn advance(&mut self, bytes: u8x64) {
        // Behind an odd number of quotes is the other side of a string.
        self.in_string ^= u64::from(self.quotes.count_ones() % 2).wrapping_neg();
        self.end += BLOCK;
        self.quotes = bytes.simd_eq(u8x64::splat(b'"')).to_bitmask();
        self.backslashes = bytes.simd_eq(u8x64::splat(b'\\')).to_bitmask();
        if self.backslashes != 0 || self.is_escaped {
            self.quotes &= !self.escaped();
        }
    }

    /// Returns the bytes that a backslash precedes which is not escaped itself.
    #[cold]
    fn escaped(&mut self) -> u64 {
        let mut backslashes = self.backslashes;
        let mut escaped = u64::from(self.is_escaped);
        self.is_escaped = false;
        while backslashes != 0 {
            let backslash = backslashes & backslashes.wrapping_neg();
            backslashes ^= backslash;
            if escaped & backslash == 0 {
                escaped |= backslash << 1;
                self.is_escaped = backslash >> 63 == 1;
            }
        }
        escaped
    }

    #[inline(always)]
    fn find_brackets(&self, bytes: u8x64) -> BlockBrackets {
        // `[` and `{`, as `]` and `}`, differ in one bit.
        let bytes = bytes | u8x64::splat(0x20);
        // From each quote to the next, all bits.
        let mut strings = self.quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.in_string;
        let bits = |bracket| bytes.simd_eq(u8x64::splat(bracket)).to_bitmask() & !strings;
        BlockBrackets { opens: bits(b'{'), closes: bits(b'}') }
    }
}

/// Returns the bytes of the block that begins at a position, behind the last one blanks.
#[inline(always)]
fn block_from(json: &[u8], start: usize) -> u8x64 {
    let rest = json.get(start..).unwrap_or_default();
    u8x64::new(rest.first_chunk().copied().unwrap_or_else(|| last_block(rest)))
}

#[cold]
fn last_block(rest: &[u8]) -> [u8; BLOCK] {
    let mut bytes = [b' '; BLOCK];
    if let Some(begin) = bytes.get_mut(..rest.len()) {
        begin.copy_from_slice(rest);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Agrees with a look at each byte, wherever the blocks' borders are.
        #[test]
        fn bits_are_those_of_a_walk_byte_by_byte(
            text in r#"[\[\]{}"\\:a ]{0,200}"#,
            backslashes in 0..130_usize,
            asked in 1..90_usize,
        ) {
            let text = format!("{text}\"{}{text}", "\\".repeat(backslashes));
            let (mut in_string, mut is_escaped) = (false, false);
            let mut block = JsonBlock::default();
            for (at, byte) in text.bytes().enumerate() {
                let (start, bits) = block.reach(text.as_bytes(), at).unwrap();
                prop_assert_eq!((start, bits), (at - at % BLOCK, u64::MAX << (at % BLOCK)));
                let is_quote = byte == b'"' && !is_escaped;
                is_escaped = byte == b'\\' && !is_escaped;
                let is = |bits: u64| bits >> (at % BLOCK) & 1 == 1;
                prop_assert_eq!(is(block.quotes), is_quote);
                prop_assert_eq!(is(block.backslashes), byte == b'\\');
                // Brackets are asked for here and there: in some blocks at once, in some later.
                if at % asked == 0 {
                    let (start, brackets) = block.reach_brackets(text.as_bytes(), at).unwrap();
                    prop_assert_eq!(start, at - at % BLOCK);
                    prop_assert_eq!(is(brackets.opens), !in_string && matches!(byte, b'{' | b'['));
                    prop_assert_eq!(is(brackets.closes), !in_string && matches!(byte, b'}' | b']'));
                }
                in_string ^= is_quote;
            }
            prop_assert!(block.reach(text.as_bytes(), text.len()).is_none());
        }
    }
}

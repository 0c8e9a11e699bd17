//! Blocks of a JSON text as bits: which bytes end a string, and which brackets stand outside of
//! strings. Found for 64 bytes at once, they cost a fraction of a look at each byte.

use wide::u8x16;

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
    /// `{` and `[` outside of strings.
    pub(super) opens: u64,
    /// `}` and `]` outside of strings.
    pub(super) closes: u64,
    /// All bits if the next block begins inside a string.
    in_string: u64,
    /// Whether the next block begins behind a backslash that escapes its first byte.
    is_escaped: bool,
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
            self.advance(json);
        }
        Some((self.end - BLOCK, u64::MAX << (at % BLOCK)))
    }

    fn advance(&mut self, json: &[u8]) {
        let rest = json.get(self.end..).unwrap_or_default();
        let mut padded = [b' '; BLOCK];
        let bytes = rest.first_chunk::<BLOCK>().unwrap_or_else(|| {
            padded.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            &padded
        });
        self.end += BLOCK;
        let [mut quotes, mut backslashes, mut opens, mut closes] = [0; 4];
        for (index, chunk) in bytes.as_chunks::<16>().0.iter().enumerate() {
            let bytes = u8x16::new(*chunk);
            // `[` and `{`, as `]` and `}`, differ in one bit.
            let brackets = bytes | u8x16::splat(0x20);
            let bits = |found: u8x16| u64::from(found.to_bitmask()) << (16 * index);
            quotes |= bits(bytes.simd_eq(u8x16::splat(b'"')));
            backslashes |= bits(bytes.simd_eq(u8x16::splat(b'\\')));
            opens |= bits(brackets.simd_eq(u8x16::splat(b'{')));
            closes |= bits(brackets.simd_eq(u8x16::splat(b'}')));
        }
        if backslashes != 0 || self.is_escaped {
            quotes &= !self.escaped(backslashes);
        }
        // From each quote to the next, all bits.
        let mut strings = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            strings ^= strings << shift;
        }
        strings ^= self.in_string;
        self.in_string = if strings >> 63 == 1 { u64::MAX } else { 0 };
        self.quotes = quotes;
        self.backslashes = backslashes;
        self.opens = opens & !strings;
        self.closes = closes & !strings;
    }

    /// Returns the bytes that a backslash precedes which is not escaped itself.
    fn escaped(&mut self, mut backslashes: u64) -> u64 {
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
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Agrees with a look at each byte, wherever the blocks' borders are.
        #[test]
        fn bits_are_those_of_a_walk_byte_by_byte(text in r#"[\[\]{}"\\:a ]{0,200}"#, backslashes in 0..130_usize) {
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
                prop_assert_eq!(is(block.opens), !in_string && matches!(byte, b'{' | b'['));
                prop_assert_eq!(is(block.closes), !in_string && matches!(byte, b'}' | b']'));
                in_string ^= is_quote;
            }
            prop_assert!(block.reach(text.as_bytes(), text.len()).is_none());
        }
    }
}

//! Foreign text made harmless for terminals, tables and logs: characters that could move a cursor,
//! begin a line, reverse the reading order or hide are escaped as in JSON, so that JSON keeps its
//! meaning.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

/// Longest text on a line, in bytes; the rest is cut off.
const MAX: usize = 4 << 10;
/// Most characters of a name or a value in a message.
const SHORT: usize = 80;

/// Cleans a text for one line, cut at 4 KiB.
pub fn line(text: &str) -> Cow<'_, str> {
    start(text, MAX)
}

/// Cleans the start of a text for one line: its first `bytes`, and how many are left out.
pub fn start(text: &str, bytes: usize) -> Cow<'_, str> {
    let shown = &text[..text.floor_char_boundary(bytes)];
    let cleaned = escaped(shown, is_harmful);
    match text.len() - shown.len() {
        0 => cleaned,
        rest => format!("{cleaned}… and {rest} bytes more").into(),
    }
}

/// Shortens a foreign name or value for a message, with escapes as in a string of Rust.
pub(crate) fn shortened(text: &str) -> String {
    let end = text.char_indices().nth(SHORT).map_or(text.len(), |(end, _)| end);
    let more = if end < text.len() { "…" } else { "" };
    format!("{}{more}", text[..end].escape_debug())
}

/// Cleans text that may have lines and tabs, which are kept.
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'))
}

/// Cleans coloured JSON. Its colours are kept: they can't come from its strings, in which escape
/// characters are written as `\u001b`.
pub fn coloured(json: &str) -> Cow<'_, str> {
    escaped(json, |c| is_harmful(c) && !matches!(c, '\n' | '\t' | '\u{1b}'))
}

/// A writer that escapes as [`lines`] does, so that the output harms no terminal. Each write must
/// hold whole characters.
pub struct HarmlessWriter<W>(pub W);

impl<W: Write> Write for HarmlessWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(lines(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if is_plain(text) || !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => cleaned.push(c),
            '\n' => cleaned.push_str("\\n"),
            '\r' => cleaned.push_str("\\r"),
            '\t' => cleaned.push_str("\\t"),
            c => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                // Writing to a string does not fail.
                let _ = write!(cleaned, "\\u{unit:04x}");
            }),
        }
    }
    Cow::Owned(cleaned)
}

/// Recognises the most common kind of text without decoding it.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// Returns whether a character is a control character (C0, DEL, C1), an end of line, a mark of the
/// reading order, or invisible.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_harms_nobody_stays_as_it_is() {
        for text in ["", "plain", "größe ✓ 日本語 👩\u{200d}🚀 עברית", r"C:\dir \n"] {
            assert!(matches!(line(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(lines("a\n\tb\n"), "a\n\tb\n");
    }

    #[test]
    fn what_drives_a_terminal_or_forges_a_line_is_escaped() {
        for (text, expected) in [
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{1b}]0;t\u{7}", r"\u001b]0;t\u0007"),
            ("\u{9b}31m\u{7f}\0", r"\u009b31m\u007f\u0000"),
            ("a\u{202e}b\u{2066}c\u{200f}", r"a\u202eb\u2066c\u200f"),
            ("a\u{2028}b\u{2029}\u{85}", r"a\u2028b\u2029\u0085"),
            ("\u{feff}a\u{200b}b\u{e0041}", r"\ufeffa\u200bb\udb40\udc41"),
        ] {
            assert_eq!(line(text), expected);
        }
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!(start("abcé", 4), "abc… and 2 bytes more");
        assert_eq!(start("a\nb", 2), r"a\n… and 1 bytes more");
        assert_eq!(line(&"x".repeat(3 << 20)).len(), MAX + "… and 3141632 bytes more".len());
    }

    proptest! {
        /// For any text nothing harmful is left, in any of the functions, and cleaned text is
        /// unchanged by cleaning.
        #[test]
        fn nothing_harmful_is_left(text in any::<String>()) {
            let once = line(&text).into_owned();
            prop_assert!(!once.contains(is_harmful), "{once:?}");
            prop_assert_eq!(&line(&once), &once);
            let mut written = HarmlessWriter(Vec::new());
            written.write_all(text.as_bytes()).unwrap();
            let written = String::from_utf8(written.0).unwrap();
            prop_assert!(!written.contains(|c| is_harmful(c) && !matches!(c, '\n' | '\t')), "{written:?}");
        }

        /// JSON that is written through it keeps its meaning.
        #[test]
        fn json_stays_what_it_is(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let shown = lines(&json);
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}

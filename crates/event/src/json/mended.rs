//! Repair of JSON that only some parsers read, so that all read it alike.

use std::borrow::Cow;

use bytes::Bytes;

/// Byte order mark, which some editors write at the start.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Replacement of half a surrogate pair. As long as what it replaces, so that all else keeps its
/// offset.
const REPLACEMENT: &[u8; 6] = b"\\ufffd";

/// Returns the text without its byte order mark, if it has one.
pub fn without_mark(text: Bytes) -> Bytes {
    if text.starts_with(MARK) { text.slice(MARK.len()..) } else { text }
}

/// Removes the byte order mark if the rest is JSON. Any other payload may not be text at all.
pub fn unmarked(payload: Bytes) -> Bytes {
    match payload.strip_prefix(MARK) {
        Some(text) if super::check(text).is_ok() => payload.slice(MARK.len()..),
        _ => payload,
    }
}

/// Returns `payload` with U+FFFD in the place of every half of a surrogate pair, if it is JSON and
/// has one. `None` if it is to be read unchanged.
pub fn mended(payload: &[u8]) -> Option<Bytes> {
    match whole_pairs(payload) {
        Cow::Owned(whole) => super::check(payload).is_ok().then(|| whole.into()),
        Cow::Borrowed(_) => None,
    }
}

/// Returns a JSON text with U+FFFD for half surrogate pairs.
pub(crate) fn whole_pairs(json: &[u8]) -> Cow<'_, [u8]> {
    let mut whole = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(escape) = json.get(at..).and_then(|rest| find(rest, b'\\')) {
        at += escape;
        at += match unit(json, at) {
            Some(0xd800..0xdc00) if matches!(unit(json, at + 6), Some(0xdc00..0xe000)) => 12,
            Some(0xd800..0xe000) => {
                whole.to_mut()[at..at + 6].copy_from_slice(REPLACEMENT);
                6
            }
            Some(_) => 6,
            None => 2,
        };
    }
    whole
}

/// Finds a byte. Many times as fast as a search byte by byte if there is none.
fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    bytes.contains(&wanted).then(|| bytes.iter().position(|byte| *byte == wanted)).flatten()
}

/// Returns the UTF-16 unit of the `\uXXXX` that begins at `at`.
fn unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)? as u16))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mend(text: &str) -> Option<String> {
        mended(text.as_bytes()).map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn only_halves_are_replaced() {
        for (text, expected) in [
            (r#"{"s":"cut \ud83d"}"#, Some(r#"{"s":"cut \ufffd"}"#)),
            (r#"["\uDE00\ud83d\ud83d\uDe00\udbff"]"#, Some(r#"["\ufffd\ufffd\ud83d\uDe00\ufffd"]"#)),
            (r#"{"\udfff":1}"#, Some(r#"{"\ufffd":1}"#)),
            (r#""\ud83d\u0041""#, Some(r#""\ufffd\u0041""#)),
            (r#""\ud83d\ude00 \\ud83d \u00e9 \" ü""#, None),
            ("{}", None),
            // Text that is not JSON is left unchanged.
            (r"C:\ud83d", None),
            (r#""\ud83"#, None),
            ("", None),
        ] {
            assert_eq!(mend(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_mark_is_taken_off_json() {
        for (payload, expected) in
            [("\u{feff}{}", "{}"), ("\u{feff}text", "\u{feff}text"), ("{}", "{}"), ("\u{feff}", "\u{feff}")]
        {
            assert_eq!(unmarked(Bytes::from_static(payload.as_bytes())), expected);
        }
    }

    proptest! {
        /// Anything that the grammar allows can be read afterwards by a parser without support for
        /// halves, and the rest is as it was.
        #[test]
        fn what_is_mended_is_read_everywhere(
            text in "([a-zü ]|\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\[nt\"\\\\]|\\\\u00[0-9]{2}){0,12}",
        ) {
            let json = format!("[\"{text}\"]");
            let payload = Bytes::from(json.clone());
            let whole = mended(&payload).unwrap_or_else(|| payload.clone());
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&whole).is_ok(), "{}", json);
            let had_halves = serde_json::from_str::<serde_json::Value>(&json).is_err();
            prop_assert_eq!(had_halves, whole != payload, "{}", json);
        }
    }
}

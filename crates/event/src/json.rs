//! JSON texts from outside, and their meaning wherever they are read.
//!
//! - JSON is what the grammar of RFC 8259 allows, in UTF-8, however deep it is; [`check`] tests it
//!   on arrival.
//! - Of members that have one name the last counts.
//! - Half a surrogate pair, as in a text that was cut inside an emoji, is read as U+FFFD; see
//!   [`mended`].
//! - A byte order mark is not part of it, and is removed.
//! - Numbers are exact.

use std::{borrow::Cow, ops::Range, str::Utf8Error};

use bytes::Bytes;
use bytestring::ByteString;
use serde::de::IgnoredAny;
use serde_json::Value;

mod block;
mod edit;
mod elements;
pub mod line;
mod members;
mod mended;
mod outline;
mod paths;
mod payload;
mod pointer;
mod pretty;
mod redact;
mod scanner;

pub use edit::{EditError, JsonEdit, edited, edited_along};
pub use elements::ArrayElements;
pub use members::ObjectMembers;
pub use mended::{mended, unmarked, without_mark};
pub use outline::JsonOutline;
pub use paths::{FoundValues, PointerTree};
pub use payload::JsonPayload;
pub use pointer::{JsonPointer, PointerError};
pub use pretty::pretty;
pub use redact::{NamesNothing, Redactor, SecretName};
use scanner::JsonScanner;

/// Error: the text is not JSON, as far as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not JSON")]
pub struct NotJson;

/// Error: bytes that are not one JSON text.
#[derive(Debug, thiserror::Error)]
pub enum InvalidJson {
    #[error(transparent)]
    NotUtf8(#[from] Utf8Error),
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
}

/// Checks that `json` is one JSON text in UTF-8, from end to end, however deep it is.
///
/// # Errors
/// Returns where it stops being one.
pub fn check(json: &[u8]) -> Result<(), InvalidJson> {
    let IgnoredAny = serde_json::from_str(std::str::from_utf8(json)?)?;
    Ok(())
}

/// Parses a text into a tree.
///
/// # Errors
/// Returns an error if it is not JSON, or too deep to be a tree.
pub fn parse(json: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(json).or_else(|error| match mended::whole_pairs(json) {
        Cow::Owned(whole) => serde_json::from_slice(&whole),
        Cow::Borrowed(_) => Err(error),
    })
}

/// Returns the members of an object in their order, names unescaped and values as written. `None`
/// if `json` is another kind of value.
///
/// # Errors
/// As [`check`].
pub fn members(json: &[u8]) -> Result<Option<ObjectMembers<'_>>, InvalidJson> {
    let text = std::str::from_utf8(json)?;
    if text.trim_start().starts_with('{') {
        return Ok(Some(serde_json::from_str(text)?));
    }
    check(json).map(|()| None)
}

/// Appends `json`, which is not checked, in one line: as it is, or without whitespace if it spans
/// lines.
pub fn append(line: &mut Vec<u8>, json: &[u8]) {
    if !json.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        line.extend_from_slice(json);
        return;
    }
    let (mut in_string, mut escaped) = (false, false);
    line.extend(json.iter().filter(|&&byte| {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            return true;
        }
        in_string = byte == b'"';
        !byte.is_ascii_whitespace()
    }));
}

/// Returns the ranges of the values of an object's members in `json`, which is walked through, not
/// checked. Empty for another kind of value.
pub fn values(json: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut scanner = JsonScanner::new(json);
    std::iter::from_fn(move || scanner.next_member())
}

/// Returns the elements of an array, as written.
pub fn elements(json: &str) -> ArrayElements<'_> {
    ArrayElements::new(json)
}

/// Turns `text`, found in `buffer`, into an owned string: it shares the buffer unless the text had
/// to be unescaped.
pub fn share(buffer: &Bytes, text: Cow<'_, str>) -> ByteString {
    match text {
        Cow::Borrowed(text) if buffer.as_ptr_range().contains(&text.as_ptr()) => {
            buffer.slice_ref(text.as_bytes()).try_into().unwrap_or_else(|_| text.into())
        }
        text => text.into_owned().into(),
    }
}

/// Returns a raw JSON value as text: a string without its quotes and escapes, anything else as
/// written.
///
/// # Errors
/// Returns an error if a string's escapes are wrong.
pub fn text(raw: &str) -> Result<Cow<'_, str>, NotJson> {
    let Some(rest) = raw.strip_prefix('"') else { return Ok(Cow::Borrowed(raw)) };
    if raw.contains('\\') {
        return serde_json::from_str(raw).map(Cow::Owned).map_err(|_| NotJson);
    }
    rest.strip_suffix('"').map(Cow::Borrowed).ok_or(NotJson)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pointer(text: &str) -> JsonPointer {
        text.parse().unwrap()
    }

    #[test]
    fn only_whole_texts_in_utf8_are_json() {
        let bad: [&[u8]; 14] = [
            b"",
            b" ",
            b"{",
            b"{\"a\":1",
            b"{\"a\":1} x",
            b"{} {}",
            b"\"\xff\"",
            b"{\"\xc3\":1}",
            b"01",
            b"nul",
            b"[1,]",
            b"\"a\nb\"",
            b"\"\\uZZZZ\"",
            b"\xef\xbb\xbf{}",
        ];
        for text in bad {
            assert!(check(text).is_err(), "{}", text.escape_ascii());
        }
        for text in ["{}", " [1, 2] ", "null", "\"\"", "-1.5e3", "{\"a\":\"\\u00e9\"}\n"] {
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
        let error = check(b"{\"a\":1,\n \"b\":x}").unwrap_err();
        assert_eq!(error.to_string(), "expected value at line 2 column 6");
    }

    #[test]
    fn values_are_found_where_they_stand() {
        let found = |json: &str| values(json.as_bytes()).map(|range| json[range].to_owned()).collect::<Vec<_>>();
        let json = r#" {"a" : "}\"," , "b\"":[{"c":1},2 ],"d":{"e":{}},"f":-1.5e3 , "g":null}"#;
        assert_eq!(found(json), [r#""}\",""#, r#"[{"c":1},2 ]"#, r#"{"e":{}}"#, "-1.5e3", "null"]);
        for other in ["{}", " { } ", "[1,2]", "[{\"a\":1}]", "17", "\"{\"", "", "{\"a\"", "{\"a\":"] {
            assert_eq!(found(other), [""; 0], "{other}");
        }
    }

    #[test]
    fn text_without_escapes_is_shared() {
        let buffer = Bytes::from_static(br#"{"id":"o-17","escaped":"a\"b","empty":""}"#);
        let shared = |path| share(&buffer, pointer(path).text(&buffer).unwrap().unwrap());
        assert_eq!(shared("/id").as_bytes().as_ptr(), buffer[7..].as_ptr());
        assert_eq!((&*shared("/escaped"), &*shared("/empty")), ("a\"b", ""));
    }
}

//! Bytes as a member of a JSON object.

use std::borrow::Cow;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use serde_json::value::RawValue;

use super::mended::whole_pairs;

/// Payload inside a JSON object: as it is, or under a name that tells its encoding.
#[derive(Debug, Serialize)]
pub enum JsonPayload<'a> {
    #[serde(rename = "payload")]
    Json(&'a RawValue),
    #[serde(rename = "payload_text")]
    Text(&'a str),
    #[serde(rename = "payload_base64")]
    Bytes(String),
}

impl<'a> JsonPayload<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            // Not every parser reads half a surrogate pair, and all of them must read the object
            // around it.
            Ok(text) if matches!(whole_pairs(bytes), Cow::Owned(_)) => Self::Text(text),
            Ok(text) => serde_json::from_str(text).map_or(Self::Text(text), Self::Json),
            Err(_) => Self::Bytes(BASE64_STANDARD.encode(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn whatever_it_is_every_parser_reads_what_holds_it() {
        for (payload, member) in [
            (&br#"{"a":1}"#[..], "payload"),
            (br#"{"a":"\ud83d\ude00"}"#, "payload"),
            (br#"{"a":"\ud83d"}"#, "payload_text"),
            (br#"["\ude00"]"#, "payload_text"),
            (b"{", "payload_text"),
            (b"\xff", "payload_base64"),
        ] {
            let holding = serde_json::to_string(&JsonPayload::of(payload)).unwrap();
            let read: Value = serde_json::from_str(&holding).unwrap();
            let names: Vec<_> = read.as_object().unwrap().keys().collect();
            assert_eq!(names, [member], "{holding}");
            if let Some(text) = read["payload_text"].as_str() {
                assert_eq!(text.as_bytes(), payload);
            }
        }
        assert_eq!(serde_json::to_value(JsonPayload::of(b"null")).unwrap(), json!({ "payload": null }));
    }
}

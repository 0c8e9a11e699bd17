//! Dead letters read back from their records.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::nats::ApiError;

/// Stored facts about an event that could not succeed. Unknown ones are empty.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DeadLetter {
    pub time: Timestamp,
    pub reason: String,
    pub detail: String,
    /// Empty if the event got no further than its source.
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub route: String,
    #[serde(default)]
    pub filter: String,
    #[serde(default)]
    pub filter_digest: String,
    /// The sink that refused an output.
    #[serde(default)]
    pub sink: String,
    /// Tries of the filter.
    #[serde(default)]
    pub tries: u32,
    /// Word of the filter's author for such cases.
    #[serde(default)]
    pub code: String,
    /// Id of the event.
    pub id: String,
    /// Its [`crate::event::Uid`]; letters of earlier versions have none.
    pub uid: Option<String>,
    pub event_type: String,
    pub subject: String,
    pub source_time: Option<String>,
    pub source: String,
    pub stream: String,
    pub sequence: u64,
    /// Deliveries of the event.
    pub attempts: u32,
    pub trace: Option<String>,
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Length of a payload that is not in the letter, since it was too large for it. The source's
    /// stream has it.
    pub payload_bytes: Option<u64>,
    /// Digest of that payload.
    pub payload_sha256: Option<String>,
    /// True if headers and the ends of long texts were left out as well.
    #[serde(default)]
    pub cut: bool,
}

/// Reason why a record is not a dead letter, or why its payload can't be read.
#[derive(Debug, thiserror::Error)]
pub enum NoLetter {
    #[error("its line has no end: a router is writing it, or a crash has torn it")]
    Unfinished,
    #[error("its line has {0} bytes, more than a dead letter's")]
    TooLong(u64),
    #[error("it is not written as dead letters are")]
    Foreign(#[source] serde_json::Error),
    #[error("its payload was too large for it, and stream `{0}` has no such message {1} any more")]
    Gone(String, u64),
    #[error("its payload was too large for it, and can't be read from stream `{0}`")]
    Away(String, #[source] ApiError),
    #[error("its event was too large for it, headers too: read message {1} of stream `{0}` instead")]
    Cut(String, u64),
    #[error("its payload is not base64")]
    BadPayload(#[source] base64::DecodeError),
}

impl DeadLetter {
    /// # Errors
    /// Returns an error if the record is not a dead letter.
    pub fn parse(record: &[u8]) -> Result<Self, NoLetter> {
        serde_json::from_slice(record).map_err(NoLetter::Foreign)
    }
}

/// Returns the payload in a letter's record, as it came in.
///
/// # Errors
/// Returns an error if it can't be read.
pub fn payload(record: &Bytes) -> Result<Bytes, NoLetter> {
    #[derive(Deserialize)]
    struct LetterBody<'a> {
        #[serde(borrow, default, deserialize_with = "there")]
        payload: Option<&'a RawValue>,
        payload_text: Option<String>,
        payload_base64: Option<String>,
    }
    let LetterBody { payload, payload_text, payload_base64 } =
        serde_json::from_slice(record).map_err(NoLetter::Foreign)?;
    Ok(match (payload, payload_text, payload_base64) {
        (Some(json), ..) => record.slice_ref(json.get().as_bytes()),
        (None, Some(text), _) => text.into(),
        (None, None, Some(base64)) => BASE64_STANDARD.decode(base64).map_err(NoLetter::BadPayload)?.into(),
        (None, None, None) => Bytes::new(),
    })
}

/// Deserializes a member that is present, also if it is null.
fn there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(payload: &str) -> Bytes {
        let start = r#"{"time":"2026-03-14T08:00:00Z","reason":"trap","detail":"d","key":"k","route":"r","filter":"f","filter_digest":"abc","sink":"s","tries":3,"code":"no_rate","id":"e-1","uid":"u","event_type":"t","subject":"orders.eu","source_time":"yesterday","source":"orders","stream":"ORDERS","sequence":7,"attempts":2,"trace":"00-1","headers":[["a","1"],["a","2"]]"#;
        format!("{start},{payload}}}").into()
    }

    #[test]
    fn every_field_is_read_back() {
        let letter = DeadLetter::parse(&record(r#""payload":1"#)).unwrap();
        assert_eq!(
            letter,
            DeadLetter {
                time: "2026-03-14T08:00:00Z".parse().unwrap(),
                reason: "trap".into(),
                detail: "d".into(),
                key: "k".into(),
                route: "r".into(),
                filter: "f".into(),
                filter_digest: "abc".into(),
                sink: "s".into(),
                tries: 3,
                code: "no_rate".into(),
                id: "e-1".into(),
                uid: Some("u".into()),
                event_type: "t".into(),
                subject: "orders.eu".into(),
                source_time: Some("yesterday".into()),
                source: "orders".into(),
                stream: "ORDERS".into(),
                sequence: 7,
                attempts: 2,
                trace: Some("00-1".into()),
                headers: vec![("a".into(), "1".into()), ("a".into(), "2".into())],
                payload_bytes: None,
                payload_sha256: None,
                cut: false,
            }
        );
    }

    #[test]
    fn payloads_come_back_as_they_came_in() {
        for (stored, expected) in [
            (r#""payload":{"a": 1.10}"#, &br#"{"a": 1.10}"#[..]),
            (r#""payload":null"#, b"null"),
            (r#""payload_text":"a\n\"b""#, b"a\n\"b"),
            (r#""payload_text":"""#, b""),
            (r#""payload_base64":"/w==""#, b"\xff"),
        ] {
            assert_eq!(payload(&record(stored)).unwrap(), expected, "{stored}");
        }
        assert!(matches!(payload(&record(r#""payload_base64":"?""#)), Err(NoLetter::BadPayload(_))));
    }

    #[test]
    fn what_is_no_letter_is_told_apart() {
        for text in ["", "null", "[]", "\"torn\"", r#"{"reason":"trap"}"#, "{", "\u{0}"] {
            assert!(matches!(DeadLetter::parse(text.as_bytes()), Err(NoLetter::Foreign(_))), "{text}");
        }
        let more = json!({
            "time": "2026-03-14T08:00:00Z", "reason": "r", "detail": "", "id": "", "event_type": "", "subject": "",
            "source": "", "stream": "", "sequence": 0, "attempts": 1, "of_a_later_version": {},
        });
        assert!(DeadLetter::parse(more.to_string().as_bytes()).is_ok());
    }
}

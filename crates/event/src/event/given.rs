//! Events as JSON: written by an author, in a case or a file of its own, or passed on for display.

use std::{collections::BTreeMap, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Event, Headers, Origin, check_subject};

/// Observed time of an event that says none, in Unix nanoseconds: constant, so that results are
/// reproducible.
pub const GIVEN_AT: u64 = 1_767_225_600_000_000_000;

/// Event as JSON. Every member is optional; at most one of the payloads may be given.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct GivenEvent {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_time: Option<String>,
    /// Observed time in Unix nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, OneOrMore>,
    /// Payload as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    /// Payload as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<String>,
    /// Payload of any bytes, in base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl GivenEvent {
    /// Builds the event.
    ///
    /// # Errors
    /// Returns what is wrong with a member.
    pub fn event(&self) -> Result<Event, String> {
        let payload = match (&self.payload, &self.payload_text, &self.payload_base64) {
            (Some(json), None, None) => Bytes::copy_from_slice(json.get().as_bytes()),
            (None, Some(text), None) => Bytes::copy_from_slice(text.as_bytes()),
            (None, None, Some(encoded)) => {
                BASE64_STANDARD.decode(encoded).map_err(|error| format!("`payload_base64`: {error}"))?.into()
            }
            (None, None, None) => Bytes::new(),
            _ => return Err("give one of `payload`, `payload_text` and `payload_base64`".to_owned()),
        };
        // Defaults are those of a plain message: the type is the subject.
        let subject = self.subject.as_deref().or(self.event_type.as_deref()).unwrap_or("event");
        check_subject(subject).map_err(|error| format!("`subject` is `{subject}`: {error}"))?;
        let mut headers = Headers::default();
        for (name, values) in &self.headers {
            match values {
                OneOrMore::One(value) => headers.push(name.as_str(), value.as_str()),
                OneOrMore::More(values) => values.iter().for_each(|value| headers.push(name.as_str(), value.as_str())),
            }
        }
        Ok(Event {
            id: self.id.as_deref().unwrap_or("event-1").into(),
            uid: Default::default(),
            event_type: self.event_type.as_deref().unwrap_or(subject).into(),
            subject: subject.into(),
            source_time: self.source_time.as_deref().map(Into::into),
            observed_at: self.observed_at.unwrap_or(GIVEN_AT),
            attempt: self.attempt.unwrap_or(1),
            headers,
            payload,
            origin: Arc::new(Origin { source: "given".to_owned(), stream: "given".to_owned() }),
            sequence: 1,
        })
    }
}

/// Copies everything that a filter can see of the event. The payload keeps its bytes, on one line.
impl From<&Event> for GivenEvent {
    fn from(event: &Event) -> Self {
        let mut values = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in event.headers.iter() {
            values.entry(name.to_string()).or_default().push(value.to_string());
        }
        let one_or_more = |mut values: Vec<String>| match values.len() {
            1 => OneOrMore::One(values.swap_remove(0)),
            _ => OneOrMore::More(values),
        };
        let headers = values.into_iter().map(|(name, values)| (name, one_or_more(values))).collect();
        let (payload_text, payload_base64) = match std::str::from_utf8(&event.payload) {
            Ok(text) => (Some(text.to_owned()), None),
            Err(_) => (None, Some(BASE64_STANDARD.encode(&event.payload))),
        };
        Self {
            id: Some(event.id.to_string()),
            event_type: Some(event.event_type.to_string()),
            subject: Some(event.subject.to_string()),
            source_time: event.source_time.as_ref().map(ToString::to_string),
            observed_at: Some(event.observed_at),
            attempt: Some(event.attempt),
            headers,
            payload: None,
            payload_text,
            payload_base64,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn what_a_filter_sees_goes_there_and_back() {
        for payload in [&b" {\n\"a\": 1.0}\n"[..], b"text", b"\xff\x00", b""] {
            let mut headers = Headers::default();
            for (name, value) in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")] {
                headers.push(name, value);
            }
            let event = Event {
                id: "i".into(),
                uid: Default::default(),
                event_type: "t".into(),
                subject: "s.t".into(),
                source_time: Some("yesterday".into()),
                observed_at: 7,
                attempt: 3,
                headers,
                payload: Bytes::copy_from_slice(payload),
                origin: Arc::new(Origin { source: "x".to_owned(), stream: "y".to_owned() }),
                sequence: 9,
            };
            let line = serde_json::to_string(&GivenEvent::from(&event)).unwrap();
            assert!(!line.contains('\n'), "{line}");
            let back = serde_json::from_str::<GivenEvent>(&line).unwrap().event().unwrap();
            let seen = |event: &Event| {
                let values = |wanted: &str| {
                    let all = event.headers.iter().filter(|(name, _)| **name == *wanted);
                    all.map(|(_, value)| value.to_string()).collect::<Vec<_>>()
                };
                let texts = [&event.id, &event.event_type, &event.subject].map(ToString::to_string);
                let numbers = (event.observed_at, event.attempt);
                (texts, event.source_time.clone(), numbers, [values("a"), values("b")], event.payload.clone())
            };
            assert_eq!(seen(&back), seen(&event));
        }
    }
}

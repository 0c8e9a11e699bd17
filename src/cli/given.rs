//! An event as an author writes it down, in a case or in a file of its own.

use std::{collections::BTreeMap, sync::Arc};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::{Event, Headers, Origin, check_subject};

/// Everything can be left out. Of the payloads there is one at most.
#[derive(Debug, Default, Deserialize, Serialize)]
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
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, OneOrMore>,
    /// JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
    /// Any text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_text: Option<String>,
    /// Any bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl GivenEvent {
    /// # Errors
    /// What is wrong with it.
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
        // What is not said is as with a plain message: the type is the subject.
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
            event_type: self.event_type.as_deref().unwrap_or(subject).into(),
            subject: subject.into(),
            source_time: self.source_time.as_deref().map(Into::into),
            observed_at: 1_767_225_600_000_000_000,
            attempt: self.attempt.unwrap_or(1),
            headers,
            payload,
            origin: Arc::new(Origin { source: "given".to_owned(), stream: "given".to_owned() }),
            sequence: 1,
        })
    }
}

//! The envelope of Helix events: `{"id":..,"type":..,"payload":"BASE64","timestamp":..}`.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use trommel_event::json;

use super::super::{MalformedEvent, UnencodableEvent};

/// An envelope and the content of its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelixEnvelope {
    pub id: String,
    pub event_type: String,
    /// Program that has sent it.
    pub source: Option<String>,
    /// JSON, or Avro in single-object encoding.
    pub payload: Vec<u8>,
    /// Time of the event as its producer wrote it, RFC 3339.
    pub timestamp: Option<String>,
}

#[derive(Serialize)]
struct WrittenEnvelope<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<&'a str>,
}

impl HelixEnvelope {
    /// Encodes the envelope as JSON.
    ///
    /// # Errors
    /// Returns an error if it has no id or no type: readers refuse it.
    pub fn write(&self) -> Result<Vec<u8>, UnencodableEvent> {
        for (member, text) in [("id", &self.id), ("type", &self.event_type)] {
            if text.is_empty() {
                return Err(UnencodableEvent(format!("its `{member}` is empty, and readers refuse that")));
            }
        }
        let written = WrittenEnvelope {
            id: &self.id,
            event_type: &self.event_type,
            source: self.source.as_deref(),
            payload: STANDARD.encode(&self.payload),
            timestamp: self.timestamp.as_deref(),
        };
        serde_json::to_vec(&written).map_err(|error| UnencodableEvent(error.to_string()))
    }

    /// Decodes an envelope. Members are found in any case, as by the producers' JSON library; a
    /// payload that is not base64 is taken as it is.
    ///
    /// # Errors
    /// Returns an error if it is not JSON, or lacks an id or a type.
    pub fn read(body: &[u8]) -> Result<Self, MalformedEvent> {
        let body = Bytes::copy_from_slice(body);
        let members = json::members(&body).map_err(|error| MalformedEvent(error.to_string()))?;
        let members = members.ok_or_else(|| MalformedEvent("the body is not a JSON object".to_owned()))?;
        let (mut id, mut event_type, mut source, mut timestamp, mut payload) = (None, None, None, None, None);
        for (name, value) in members {
            let place = match name.to_ascii_lowercase().as_str() {
                "id" => &mut id,
                "type" => &mut event_type,
                "source" => &mut source,
                "timestamp" => &mut timestamp,
                "payload" => {
                    payload.get_or_insert(value);
                    continue;
                }
                _ => continue,
            };
            *place = place.take().or(text(&name, value)?);
        }
        let lacks = |member: &str| MalformedEvent(format!("it lacks `{member}`"));
        Ok(Self {
            id: id.ok_or_else(|| lacks("id"))?,
            event_type: event_type.ok_or_else(|| lacks("type"))?,
            source,
            payload: payload.map_or_else(|| Ok(Vec::new()), content)?,
            timestamp,
        })
    }
}

/// Text of a member; `None` if it is null or empty.
fn text(name: &str, value: &str) -> Result<Option<String>, MalformedEvent> {
    let read = serde_json::from_str::<Option<String>>(value);
    let read = read.map_err(|_| MalformedEvent(format!("`{name}` is not a string")))?;
    Ok(read.filter(|text| !text.is_empty()))
}

/// Content of a payload: a string is base64, or else is taken as it is; anything else is JSON.
fn content(value: &str) -> Result<Vec<u8>, MalformedEvent> {
    if !value.starts_with('"') {
        return Ok(if value == "null" { Vec::new() } else { value.as_bytes().to_vec() });
    }
    let text: String = serde_json::from_str(value).map_err(|error| MalformedEvent::from_json(&error))?;
    Ok(STANDARD.decode(&text).unwrap_or_else(|_| text.into_bytes()))
}

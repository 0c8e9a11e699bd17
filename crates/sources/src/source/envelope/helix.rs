//! Helix events (H20, H21): `{"id":..,"type":..,"payload":"BASE64","timestamp":..}`. The content of
//! the payload, JSON or Avro, becomes the event's; the rest describes it.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{MalformedMessage, NoText, shorten, text};
use crate::{
    event::Event,
    json::{self, share},
};

/// Reads the event from its own payload. Members are found in any case, as by the producers' JSON
/// library.
pub(super) fn open(event: &mut Event) -> Result<(), MalformedMessage> {
    let body = event.payload.clone();
    let members = json::members(&body).map_err(|error| MalformedMessage::not_json(&error))?;
    let members = members.ok_or_else(|| bad("the body is not a JSON object"))?;
    let (mut id, mut event_type, mut time, mut payload) = (None, None, None, None);
    for (name, value) in members {
        let place = match name.to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "type" => &mut event_type,
            "timestamp" => &mut time,
            "payload" => {
                payload.get_or_insert(value);
                continue;
            }
            _ => continue,
        };
        let said = text(&body, value).map_err(|NoText| bad(format!("`{name}` is not a string: {}", shorten(value))))?;
        *place = place.take().or(said);
    }
    // Known values are taken even if others are missing.
    let known = [("id", id.is_some()), ("type", event_type.is_some())];
    event.source_time = time;
    id.into_iter().for_each(|id| event.id = id);
    event_type.into_iter().for_each(|event_type| event.event_type = event_type);
    let missing: Vec<_> = known.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(bad(format!("it lacks `{}`", missing.join("`, `"))));
    }
    event.payload = payload.map_or_else(|| Ok(Bytes::new()), |raw| inner(&body, raw))?;
    Ok(())
}

/// Content of a payload: a string is base64, or else is taken as it is (H21); anything else is
/// JSON.
fn inner(body: &Bytes, raw: &str) -> Result<Bytes, MalformedMessage> {
    if raw == "null" {
        return Ok(Bytes::new());
    }
    if !raw.starts_with('"') {
        return Ok(body.slice_ref(raw.as_bytes()));
    }
    let text = json::text(raw).map_err(|_| bad("`payload` is not valid UTF-8"))?;
    Ok(match STANDARD.decode(text.as_bytes()) {
        Ok(bytes) => bytes.into(),
        Err(_) => share(body, Cow::clone(&text)).into_bytes(),
    })
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_helix_event", detail: detail.into() }
}

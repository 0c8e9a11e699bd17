//! Events of a jb-mesh (J01): `{"type":..,"node":..,"timestamp":..,"data":{..}}`. The body stays
//! the payload.

use super::{MalformedMessage, NoText, shorten, text};
use crate::{event::Event, json};

/// Reads type and time from the event's own payload. The events have no id: it is made of their
/// place in the stream.
pub(super) fn open(event: &mut Event) -> Result<(), MalformedMessage> {
    let body = event.payload.clone();
    let members = json::members(&body).map_err(|error| MalformedMessage::not_json(&error))?;
    let members = members.ok_or_else(|| bad("the body is not a JSON object"))?;
    let mut event_type = None;
    for (name, value) in members {
        let place = match &*name {
            "type" => &mut event_type,
            "timestamp" => &mut event.source_time,
            _ => continue,
        };
        let said = text(&body, value).map_err(|NoText| bad(format!("`{name}` is not a string: {}", shorten(value))))?;
        *place = place.take().or(said);
    }
    event.event_type = event_type.ok_or_else(|| bad("it lacks `type`"))?;
    Ok(())
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_mesh_event", detail: detail.into() }
}

//! Events of a ctrlplane (C01):
//! `{"id":..,"type":..,"tenant_id":..,"instance_id":..,"actor_id":..,"payload":{..},
//! "timestamp":..}`. The body stays the payload, for it is all that a receiver has to tell one
//! event from another; tenant, instance and actor are headers besides.

use super::{MalformedMessage, NoText, shorten, text};
use crate::{
    event::{Event, identity},
    json,
};

/// Reads the event from its own payload. Tenant, instance and actor in the body replace the
/// carrier's.
pub(super) fn open(event: &mut Event) -> Result<(), MalformedMessage> {
    let body = event.payload.clone();
    let members = json::members(&body).map_err(|error| MalformedMessage::not_json(&error))?;
    let members = members.ok_or_else(|| bad("the body is not a JSON object"))?;
    let (mut id, mut event_type, mut time) = (None, None, None);
    let mut owners =
        [("tenant_id", identity::TENANT), ("instance_id", identity::INSTANCE_ID), ("actor_id", identity::ACTOR_ID)]
            .map(|(member, header)| (member, header, None));
    for (name, value) in members {
        let place = match &*name {
            "id" => &mut id,
            "type" => &mut event_type,
            "timestamp" => &mut time,
            name => match owners.iter_mut().find(|(member, ..)| *member == name) {
                Some((.., place)) => place,
                None => continue,
            },
        };
        let said = text(&body, value).map_err(|NoText| bad(format!("`{name}` is not a string: {}", shorten(value))))?;
        // Readers differ in which of two they take, and a tenant's events must not reach another.
        if said.is_some() && std::mem::replace(place, said).is_some() {
            return Err(bad(format!("`{name}` stands twice")));
        }
    }
    // Known values are taken even if others are missing.
    event.source_time = time;
    id.into_iter().for_each(|id| event.id = id);
    for (member, header, said) in owners {
        let Some(said) = said else { continue };
        if said.contains(char::is_control) {
            return Err(bad(format!("`{member}` has a control character")));
        }
        event.headers.set(header, said);
    }
    event.event_type = event_type.ok_or_else(|| bad("it lacks `type`"))?;
    Ok(())
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_ctrlplane_event", detail: detail.into() }
}

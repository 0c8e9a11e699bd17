//! Lark events, version 2.0 (L15): `{"schema":"2.0","header":{..},"event":{..}}`. The header
//! describes the event, the whole body stays the payload.

use bytes::Bytes;
use bytestring::ByteString;

use super::{MalformedMessage, NoText, shorten, text};
use crate::{
    event::{Event, Headers},
    json::{self, ObjectMembers},
};

/// Facts that the body's header may claim, with the message header in which its carrier has the
/// same. Those that make the event come first.
const FACTS: [(&str, &str); 5] = [
    ("event_id", "nats-msg-id"),
    ("event_type", "lark-event-type"),
    ("create_time", "lark-create-time"),
    ("app_id", "lark-app-id"),
    ("tenant_key", "lark-tenant-key"),
];

/// Reads the event from its own payload. With `verify`, the carrier's headers count, and a body
/// that claims something else is refused (L46).
pub(super) fn open(event: &mut Event, verify: bool) -> Result<(), MalformedMessage> {
    let mut facts = [const { None::<ByteString> }; FACTS.len()];
    if verify {
        facts = FACTS.map(|(_, said_in)| said(&event.headers, said_in));
    }
    let body = event.payload.clone();
    let claimed = claims(&body, &mut facts, verify);

    // Known values are taken even if others are missing.
    let [id, event_type, create_time, ..] = facts;
    let known = [("event_id", id.is_some()), ("event_type", event_type.is_some())];
    event.source_time = create_time;
    id.into_iter().for_each(|id| event.id = id);
    event_type.into_iter().for_each(|event_type| event.event_type = event_type);

    claimed?;
    let missing: Vec<_> = known.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(bad(format!("its header lacks `{}`", missing.join("`, `")))) }
}

fn said(headers: &Headers, name: &str) -> Option<ByteString> {
    headers.get(name).filter(|value| !value.is_empty()).cloned()
}

/// Adds the body's claims to the facts. A body that is not an object, or whose header is not one,
/// claims nothing.
fn claims(body: &Bytes, facts: &mut [Option<ByteString>; FACTS.len()], verify: bool) -> Result<(), MalformedMessage> {
    let said = facts.clone();
    for (name, value) in members(body.as_ref())?.into_iter().flatten() {
        match &*name {
            "schema" if value != r#""2.0""# => return Err(bad(format!("schema is {value}, and only \"2.0\" is read"))),
            "header" => {}
            _ => continue,
        }
        // Repeated names are all checked: readers differ in which they take.
        for (name, value) in members(value.as_bytes())?.into_iter().flatten() {
            let Some(at) = FACTS.iter().position(|(field, _)| *field == name) else { continue };
            let claim = match text(body, value) {
                Ok(Some(claim)) => claim,
                Ok(None) => continue,
                Err(NoText) if verify => return Err(conflict(&name, value, "which is not a string")),
                // The rest is not used.
                Err(NoText) if at > 2 => continue,
                Err(NoText) => return Err(bad(format!("`header.{name}` is not a string: {}", shorten(value)))),
            };
            match &said[at] {
                Some(said) if *said != claim => {
                    return Err(conflict(&name, value, &format!("and its carrier says `{}`", shorten(said))));
                }
                _ => facts[at].get_or_insert(claim),
            };
        }
    }
    Ok(())
}

fn members(json: &[u8]) -> Result<Option<ObjectMembers<'_>>, MalformedMessage> {
    json::members(json).map_err(|error| MalformedMessage::not_json(&error))
}

fn conflict(field: &str, claimed: &str, against: &str) -> MalformedMessage {
    let detail = format!("`header.{field}` is {}, {against}", shorten(claimed));
    MalformedMessage { reason: "header_conflict", detail }
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_lark_event", detail: detail.into() }
}

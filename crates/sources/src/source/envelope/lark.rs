//! Lark events (L15): version 2.0, `{"schema":"2.0","header":{..},"event":{..}}`, and version 1.0,
//! `{"uuid":"..","ts":"..","type":"event_callback","event":{"type":"..",..}}`. The whole body stays
//! the payload.

use bytes::Bytes;
use bytestring::ByteString;

use super::{MalformedMessage, NoText, shorten, text};
use crate::{
    event::{Event, Headers},
    json::{self, ObjectMembers},
};

/// A value that describes an event.
struct LarkFact {
    /// Message header in which its carrier has it.
    carried_in: &'static str,
    /// Member of the header of version 2.0.
    header: &'static str,
    /// Path in version 1.0.
    first: &'static str,
}

/// Those that make the event come first.
const FACTS: [LarkFact; 5] = [
    LarkFact { carried_in: "nats-msg-id", header: "event_id", first: "uuid" },
    LarkFact { carried_in: "lark-event-type", header: "event_type", first: "event.type" },
    LarkFact { carried_in: "lark-create-time", header: "create_time", first: "ts" },
    LarkFact { carried_in: "lark-app-id", header: "app_id", first: "event.app_id" },
    LarkFact { carried_in: "lark-tenant-key", header: "tenant_key", first: "event.tenant_key" },
];
/// Facts that must be text even if they are not compared with the carrier's.
const DECISIVE: usize = 3;

/// Reads the event from its own payload. With `verify`, the carrier's headers count, and a body
/// that claims something else is refused (L46).
pub(super) fn open(event: &mut Event, verify: bool) -> Result<(), MalformedMessage> {
    let carried = if verify { FACTS.map(|fact| carried(&event.headers, fact.carried_in)) } else { Default::default() };
    let body = event.payload.clone();
    let mut claims = LarkClaims { body: &body, verify, facts: carried.clone(), carried, is_first: false };
    let claimed = claims.read();

    // Known values are taken even if others are missing.
    let LarkClaims { facts: [id, event_type, create_time, ..], is_first, .. } = claims;
    let known = [id.is_some(), event_type.is_some()];
    event.source_time = create_time;
    id.into_iter().for_each(|id| event.id = id);
    event_type.into_iter().for_each(|event_type| event.event_type = event_type);

    claimed?;
    let name = |fact: &LarkFact| if is_first { fact.first } else { fact.header };
    let missing: Vec<_> =
        FACTS.iter().zip(known).filter(|(_, is_known)| !is_known).map(|(fact, _)| name(fact)).collect();
    let whose = if is_first { "it" } else { "its header" };
    if missing.is_empty() { Ok(()) } else { Err(bad(format!("{whose} lacks `{}`", missing.join("`, `")))) }
}

fn carried(headers: &Headers, name: &str) -> Option<ByteString> {
    headers.get(name).filter(|value| !value.is_empty()).cloned()
}

/// What a body claims about its event, beside what its carrier says.
struct LarkClaims<'a> {
    body: &'a Bytes,
    verify: bool,
    carried: [Option<ByteString>; FACTS.len()],
    facts: [Option<ByteString>; FACTS.len()],
    /// True for version 1.0.
    is_first: bool,
}

impl LarkClaims<'_> {
    /// Adds the body's claims to the facts. A body that is not an object, or whose header is not
    /// one, claims nothing. Repeated names are all checked: readers differ in which they take.
    fn read(&mut self) -> Result<(), MalformedMessage> {
        let all: Vec<_> = members(self.body)?.into_iter().flatten().collect();
        let has = |wanted: &[&str]| all.iter().any(|(name, _)| wanted.contains(&&**name));
        self.is_first = !has(&["schema", "header"]) && has(&["uuid"]);
        for (name, value) in &all {
            match &**name {
                "schema" if *value != r#""2.0""# => {
                    return Err(bad(format!("schema is {value}, and only \"2.0\" is read")));
                }
                "header" => self.inside("header.", value, |fact| fact.header)?,
                "event" if self.is_first => self.inside("event.", value, |fact| inside_event(fact.first))?,
                name if self.is_first => self.claim("", name, value, |fact| fact.first)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn inside(
        &mut self,
        prefix: &str,
        object: &str,
        named: fn(&LarkFact) -> &'static str,
    ) -> Result<(), MalformedMessage> {
        for (name, value) in members(object.as_bytes())?.into_iter().flatten() {
            self.claim(prefix, &name, value, named)?;
        }
        Ok(())
    }

    fn claim(
        &mut self,
        prefix: &str,
        name: &str,
        value: &str,
        named: fn(&LarkFact) -> &'static str,
    ) -> Result<(), MalformedMessage> {
        let Some(at) = FACTS.iter().position(|fact| named(fact) == name) else { return Ok(()) };
        let claim = match text(self.body, value) {
            Ok(Some(claim)) => claim,
            Ok(None) => return Ok(()),
            Err(NoText) if self.verify => return Err(conflict(prefix, name, value, "which is not a string")),
            // The rest is not used.
            Err(NoText) if at >= DECISIVE => return Ok(()),
            Err(NoText) => return Err(bad(format!("`{prefix}{name}` is not a string: {}", shorten(value)))),
        };
        match &self.carried[at] {
            Some(carried) if *carried != claim => {
                let against = format!("and its carrier says `{}`", shorten(carried));
                Err(conflict(prefix, name, value, &against))
            }
            _ => {
                self.facts[at].get_or_insert(claim);
                Ok(())
            }
        }
    }
}

/// Name of a fact of version 1.0 inside `event`; empty for one that is beside it.
fn inside_event(path: &'static str) -> &'static str {
    path.strip_prefix("event.").unwrap_or_default()
}

fn members(json: &[u8]) -> Result<Option<ObjectMembers<'_>>, MalformedMessage> {
    json::members(json).map_err(|error| MalformedMessage::not_json(&error))
}

fn conflict(prefix: &str, field: &str, claimed: &str, against: &str) -> MalformedMessage {
    let detail = format!("`{prefix}{field}` is {}, {against}", shorten(claimed));
    MalformedMessage { reason: "header_conflict", detail }
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_lark_event", detail: detail.into() }
}

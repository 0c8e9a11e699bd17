//! Envelopes of a flowcraft bus (F01):
//! `{"id":..,"subject":..,"time":..,"source":..,"trace_id":..,"span_id":..,
//! "headers":{..},"payload":..}`. It is transport: the content of `payload` becomes the event's
//! payload, the headers become its headers, and the subject is its type.

use bytes::Bytes;
use bytestring::ByteString;

use super::{MalformedMessage, NoText, shorten, text};
use crate::{
    event::{Event, identity, traceparent},
    json,
};

/// Header for the envelope's `source`.
const SOURCE: &str = "source";

/// Reads the event from its own payload. Its headers replace the carrier's of the same name.
pub(super) fn open(event: &mut Event) -> Result<(), MalformedMessage> {
    let body = event.payload.clone();
    let members = json::members(&body).map_err(|error| MalformedMessage::not_json(&error))?;
    let members = members.ok_or_else(|| bad("the body is not a JSON object"))?;
    let [mut id, mut subject, mut time, mut source, mut trace_id, mut span_id] = [const { None }; 6];
    let (mut headers, mut payload) = (None, None);
    for (name, value) in members {
        let place = match &*name {
            "id" => &mut id,
            "subject" => &mut subject,
            "time" => &mut time,
            "source" => &mut source,
            "trace_id" => &mut trace_id,
            "span_id" => &mut span_id,
            "headers" => {
                headers.get_or_insert(value);
                continue;
            }
            "payload" => {
                payload.get_or_insert(value);
                continue;
            }
            _ => continue,
        };
        let said = text(&body, value).map_err(|NoText| no_text(&name, value))?;
        *place = place.take().or(said);
    }
    // Known values are taken even if others are missing.
    event.source_time = time;
    id.into_iter().for_each(|id| event.id = id);
    let subject = subject.ok_or_else(|| bad("it lacks `subject`"))?;
    event.event_type = subject.clone();
    event.subject = subject;
    if let Some(source) = source {
        carry(event, SOURCE.into(), "source", source)?;
    }
    if let Some(raw) = headers {
        take_headers(event, &body, raw)?;
    }
    if event.headers.get(identity::TRACEPARENT).is_none()
        && let (Some(trace_id), Some(span_id)) = (trace_id, span_id)
        && let Some(trace) = traceparent(&trace_id, &span_id)
    {
        event.headers.push(identity::TRACEPARENT, trace);
    }
    // F02: a payload that is null is absent.
    event.payload = payload.filter(|raw| *raw != "null").map_or_else(Bytes::new, |raw| body.slice_ref(raw.as_bytes()));
    Ok(())
}

/// Takes the envelope's headers (F05): any name will do, and an empty header is absent.
fn take_headers(event: &mut Event, body: &Bytes, raw: &str) -> Result<(), MalformedMessage> {
    let members = json::members(raw.as_bytes()).map_err(|error| MalformedMessage::not_json(&error))?;
    let members = match members {
        Some(members) => members,
        None if raw == "null" => return Ok(()),
        None => return Err(bad(format!("`headers` is not an object: {}", shorten(raw)))),
    };
    for (name, value) in members {
        let place = format!("headers.{name}");
        if let Some(said) = text(body, value).map_err(|NoText| no_text(&place, value))? {
            carry(event, json::share(body, name), &place, said)?;
        }
    }
    Ok(())
}

fn carry(event: &mut Event, name: ByteString, place: &str, said: ByteString) -> Result<(), MalformedMessage> {
    if name.contains(char::is_control) || said.contains(char::is_control) {
        return Err(bad(format!("`{}` has a control character", place.escape_debug())));
    }
    event.headers.set(name, said);
    Ok(())
}

fn no_text(place: &str, value: &str) -> MalformedMessage {
    bad(format!("`{place}` is not a string: {}", shorten(value)))
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_flowcraft_event", detail: detail.into() }
}

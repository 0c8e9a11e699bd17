//! CloudEvents 1.0. Both modes end as the binary one: attributes in `ce-` headers, data as the
//! payload. A trace context in its extension counts where the message itself has none.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use bytestring::ByteString;

use super::MalformedMessage;
use crate::{
    event::{
        Event, Headers,
        identity::{TRACEPARENT, TRACESTATE},
    },
    json,
};

const CONTENT_TYPE: &str = "content-type";
const FORMATS: &str = "application/cloudevents";

/// Reads the event from its own headers and payload.
pub(super) fn open(event: &mut Event) -> Result<(), MalformedMessage> {
    let opened = attributes_and_data(event);
    continue_trace(&mut event.headers);
    opened
}

fn attributes_and_data(event: &mut Event) -> Result<(), MalformedMessage> {
    if is_structured(&event.headers)? {
        let (headers, payload) = structured(event)?;
        take_over(event, &headers)?;
        event.headers = headers;
        event.payload = payload;
        return Ok(());
    }
    let headers = std::mem::take(&mut event.headers);
    let taken = take_over(event, &headers);
    event.headers = headers;
    taken
}

fn continue_trace(headers: &mut Headers) {
    let Some(parent) = headers.get("ce-traceparent").cloned() else { return };
    if headers.get(TRACEPARENT).is_none() {
        headers.push(TRACEPARENT, parent);
        if let Some(state) = headers.get("ce-tracestate").cloned() {
            headers.push(TRACESTATE, state);
        }
    }
}

/// Returns whether the message is in structured mode, by its content type. Without one, as for a
/// line, it is structured unless its headers have attributes.
fn is_structured(headers: &Headers) -> Result<bool, MalformedMessage> {
    let Some(content_type) = headers.get(CONTENT_TYPE) else {
        return Ok(headers.get("ce-specversion").is_none());
    };
    let media_type = media_type(content_type);
    if !media_type.get(..FORMATS.len()).is_some_and(|start| start.eq_ignore_ascii_case(FORMATS)) {
        return Ok(false);
    }
    if !media_type[FORMATS.len()..].eq_ignore_ascii_case("+json") {
        return Err(bad(format!("content type `{media_type}`: only `{FORMATS}+json` is read, one event a message")));
    }
    Ok(true)
}

/// Takes over the attributes that every event has, and the time. Known values are taken even if
/// others are missing.
fn take_over(event: &mut Event, headers: &Headers) -> Result<(), MalformedMessage> {
    let attribute = |name| headers.get(name).filter(|value| !value.is_empty()).cloned();
    event.source_time = attribute("ce-time");
    let id = attribute("ce-id").map(|id| event.id = id);
    let event_type = attribute("ce-type").map(|event_type| event.event_type = event_type);
    let source = attribute("ce-source");
    let version = attribute("ce-specversion");

    let required = [
        ("specversion", version.is_some()),
        ("id", id.is_some()),
        ("source", source.is_some()),
        ("type", event_type.is_some()),
    ];
    let missing: Vec<_> = required.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if !missing.is_empty() {
        return Err(bad(format!("it lacks `{}`", missing.join("`, `"))));
    }
    match version {
        Some(version) if version != "1.0" => Err(bad(format!("specversion is `{version}`, and only `1.0` is read"))),
        _ => Ok(()),
    }
}

/// Headers and payload of the same event in binary mode.
fn structured(event: &Event) -> Result<(Headers, Bytes), MalformedMessage> {
    let body = &event.payload;
    let Some(members) = json::members(body).map_err(|error| MalformedMessage::not_json(&error))? else {
        return Err(bad("the body is not a JSON object"));
    };

    let (mut content_type, mut data, mut data_base64) = (None, None, None);
    let mut attributes = Vec::new();
    for (name, value) in members {
        match &*name {
            "data" => data = data.or(Some(value)),
            // Serializers also write members that are not set.
            "data_base64" if value == "null" => {}
            "data_base64" => data_base64 = data_base64.or(Some(value)),
            name => match attribute(body, name, value)? {
                Some(value) if name == "datacontenttype" => content_type = content_type.or(Some(value)),
                Some(value) => attributes.push((header_name(name)?, value)),
                None => {}
            },
        }
    }

    let data = data.filter(|data| *data != "null" || data_base64.is_none());
    let payload = match (data, data_base64) {
        (Some(_), Some(_)) => return Err(bad("it has both `data` and `data_base64`")),
        (Some(data), None) => payload(body, data, content_type.as_deref())?,
        (None, Some(encoded)) => decoded(encoded)?,
        (None, None) => Bytes::new(),
    };
    let content_type = content_type.unwrap_or(ByteString::from_static("application/json"));
    let kept = event.headers.iter().filter(|(name, _)| !is_replaced(name)).cloned();
    let stated = std::iter::once((ByteString::from_static(CONTENT_TYPE), content_type));
    Ok((kept.chain(stated).chain(attributes).collect(), payload))
}

/// Returns whether the structured body replaces a header.
fn is_replaced(name: &str) -> bool {
    name.eq_ignore_ascii_case(CONTENT_TYPE) || name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("ce-"))
}

/// The text of an attribute; `None` when it is unset.
fn attribute(body: &Bytes, name: &str, raw: &str) -> Result<Option<ByteString>, MalformedMessage> {
    if raw == "null" {
        return Ok(None);
    }
    if raw.starts_with(['{', '[']) {
        return Err(bad(format!("attribute `{name}` is not a string, number or boolean")));
    }
    let text = json::text(raw).map_err(|_| bad(format!("attribute `{name}` is not valid UTF-8")))?;
    if text.contains(char::is_control) {
        return Err(bad(format!("attribute `{name}` has a control character")));
    }
    Ok(Some(json::share(body, text)))
}

fn header_name(attribute: &str) -> Result<ByteString, MalformedMessage> {
    Ok(ByteString::from_static(match attribute {
        "specversion" => "ce-specversion",
        "id" => "ce-id",
        "source" => "ce-source",
        "type" => "ce-type",
        "time" => "ce-time",
        "subject" => "ce-subject",
        "dataschema" => "ce-dataschema",
        extension if extension.is_empty() || !extension.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(bad(format!(
                "attribute name `{}` has other than letters and digits",
                extension.escape_debug()
            )));
        }
        extension => return Ok(format!("ce-{extension}").into()),
    }))
}

/// `data` as the payload: JSON as it is written; text of any other type without its quotes.
fn payload(body: &Bytes, raw: &str, content_type: Option<&str>) -> Result<Bytes, MalformedMessage> {
    let data = match content_type {
        Some(other) if !is_json(other) => json::text(raw).map_err(|_| bad("`data` is not valid UTF-8"))?,
        _ => Cow::Borrowed(raw),
    };
    Ok(json::share(body, data).into_bytes())
}

fn is_json(content_type: &str) -> bool {
    let media_type = media_type(content_type).to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

fn decoded(raw: &str) -> Result<Bytes, MalformedMessage> {
    if !raw.starts_with('"') {
        return Err(bad("`data_base64` is not a string"));
    }
    let text = json::text(raw).map_err(|_| bad("`data_base64` is not valid UTF-8"))?;
    match STANDARD.decode(&*text) {
        Ok(data) => Ok(data.into()),
        Err(error) => Err(bad(format!("`data_base64`: {error}"))),
    }
}

fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or(content_type).trim()
}

fn bad(detail: impl Into<String>) -> MalformedMessage {
    MalformedMessage { reason: "bad_cloudevent", detail: detail.into() }
}

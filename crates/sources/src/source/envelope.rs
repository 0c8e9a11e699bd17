//! Opens envelopes: finds id, type, subject and time of a message, and makes it an event.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use sha2::{Digest as _, Sha256};

use crate::{
    config::EnvelopeFormat,
    event::{Event, Headers, MAX_ID, Origin, Uid, check_subject, identity::HOPS},
    field::Field,
    json::{self, JsonPointer},
};

mod cloudevents;
mod ctrlplane;
mod flowcraft;
mod helix;
mod jb_mesh;
mod lark;

/// Most routers that an event may go through, one after the other.
const MAX_HOPS: u32 = 32;

/// Message of a source before its envelope is opened.
#[derive(Debug)]
pub struct SourceMessage {
    /// Subject that the message came in on; for a line, its source's name.
    pub subject: ByteString,
    pub headers: Headers,
    pub payload: Bytes,
    /// Unix nanoseconds.
    pub observed_at: u64,
    /// 1 on the first delivery.
    pub attempt: u32,
    pub origin: Arc<Origin>,
    /// Position in the origin, from 1.
    pub sequence: u64,
    /// Distinguishes the message from another at the same position, see [`Uid::at`].
    pub incarnation: u64,
}

impl SourceMessage {
    /// Makes an event of the message without opening its payload.
    pub fn into_event(self) -> Event {
        let Self { subject, headers, payload, observed_at, attempt, origin, sequence, incarnation } = self;
        let id = match headers.get("nats-msg-id") {
            Some(id) if !id.is_empty() => bounded(id.clone()),
            _ => format!("{}:{sequence}", origin.stream).into(),
        };
        Event {
            id,
            uid: Uid::at(&origin, sequence, incarnation),
            event_type: subject.clone(),
            subject,
            source_time: None,
            observed_at,
            attempt,
            headers,
            payload,
            origin,
            sequence,
        }
    }
}

/// Error while decoding a message into an event.
#[derive(Debug, PartialEq, Eq)]
pub struct MalformedMessage {
    /// The reason code of its dead letter: `not_json`, `bad_cloudevent`, `bad_helix_event`,
    /// `bad_mesh_event`, `bad_lark_event`, `bad_ctrlplane_event`, `bad_flowcraft_event`,
    /// `header_conflict`, `bad_field`, `bad_subject` or `too_many_hops`.
    pub reason: &'static str,
    pub detail: String,
}

impl MalformedMessage {
    /// A message that the NATS client can't read.
    pub fn unreadable(reason: &'static str) -> Self {
        Self { reason, detail: "the NATS client can't read this message".to_owned() }
    }

    fn not_json(error: &json::InvalidJson) -> Self {
        Self { reason: "not_json", detail: error.to_string() }
    }
}

/// Opens an envelope.
///
/// # Errors
/// Returns the event as far as it is known, with the raw body as its payload, and the reason: both
/// for the dead letter.
pub fn open(envelope: &EnvelopeFormat, message: SourceMessage) -> Result<Event, Box<(Event, MalformedMessage)>> {
    open_event(envelope, message.into_event())
}

/// Opens the envelope of a message that its source has already made an event. Values that the
/// envelope lacks stay.
///
/// # Errors
/// As [`open`].
pub fn open_event(envelope: &EnvelopeFormat, mut event: Event) -> Result<Event, Box<(Event, MalformedMessage)>> {
    event.payload = json::unmarked(event.payload);
    let body = event.payload.clone();
    let opened = match envelope {
        EnvelopeFormat::Plain { id, event_type, subject, source_time } => {
            plain(&mut event, &PlainFields { id, event_type, subject, source_time })
        }
        EnvelopeFormat::CloudEvents => cloudevents::open(&mut event),
        EnvelopeFormat::Helix => helix::open(&mut event),
        EnvelopeFormat::JbMesh => jb_mesh::open(&mut event),
        EnvelopeFormat::Ctrlplane => ctrlplane::open(&mut event),
        EnvelopeFormat::Flowcraft => flowcraft::open(&mut event),
        EnvelopeFormat::Lark { verify_header } => lark::open(&mut event, *verify_header),
    };
    event.id = bounded(event.id);
    match opened.and_then(|()| checked_subject(&event)).and_then(|()| checked_hops(&event)) {
        Ok(()) => Ok(event),
        Err(malformed) => {
            // A refused event keeps its body, however far the opening came.
            event.payload = body;
            Err(Box::new((event, malformed)))
        }
    }
}

/// Checks subjects where they come in, so that nothing later meets one that no pattern can address
/// (F11).
fn checked_subject(event: &Event) -> Result<(), MalformedMessage> {
    check_subject(&event.subject).map_err(|error| {
        let shown: String = event.subject.chars().take(80).collect();
        MalformedMessage { reason: "bad_subject", detail: format!("subject `{shown}`: {error}") }
    })
}

/// Refuses an event that loops through routers that feed each other, by the header in which they
/// count.
fn checked_hops(event: &Event) -> Result<(), MalformedMessage> {
    match event.hops() {
        hops if hops < MAX_HOPS => Ok(()),
        hops => {
            let detail = format!("it went through {hops} routers, which feed each other: `{HOPS}` counts them");
            Err(MalformedMessage { reason: "too_many_hops", detail })
        }
    }
}

/// Limits the length of an id: a longer one is replaced by its hash.
fn bounded(id: ByteString) -> ByteString {
    if id.len() <= MAX_ID { id } else { format!("sha256:{:x}", Sha256::digest(id.as_bytes())).into() }
}

/// Fields that hold a plain message's values.
struct PlainFields<'a> {
    id: &'a Option<Field>,
    event_type: &'a Option<Field>,
    subject: &'a Option<Field>,
    source_time: &'a Option<Field>,
}

impl PlainFields<'_> {
    fn read_payload(&self) -> bool {
        [self.id, self.event_type, self.subject, self.source_time]
            .into_iter()
            .any(|field| matches!(field, Some(Field::Pointer(_))))
    }
}

fn plain(event: &mut Event, fields: &PlainFields<'_>) -> Result<(), MalformedMessage> {
    if fields.read_payload() {
        json::check(&event.payload).map_err(|error| MalformedMessage::not_json(&error))?;
    }
    // The field `subject` is the message's, even once the event has another.
    let sent_to = event.subject.clone();
    let event_type = read(fields.event_type, event, &sent_to)?;
    if let Some(event_type) = &event_type {
        event.event_type = event_type.clone();
    }
    if let Some(subject) = read(fields.subject, event, &sent_to)? {
        event.subject = subject;
    }
    if event_type.is_none() {
        event.event_type = event.subject.clone();
    }
    if let Some(id) = read(fields.id, event, &sent_to)? {
        event.id = id;
    }
    if let Some(source_time) = read(fields.source_time, event, &sent_to)? {
        event.source_time = Some(source_time);
    }
    Ok(())
}

/// Value of `field`; `None` if it is absent or empty.
fn read(field: &Option<Field>, event: &Event, sent_to: &ByteString) -> Result<Option<ByteString>, MalformedMessage> {
    let found = match field {
        None => None,
        Some(Field::Subject) => Some(sent_to.clone()),
        Some(Field::Header(name)) => event.headers.get(name).cloned(),
        Some(Field::Pointer(pointer)) => text_at(pointer, &event.payload)?,
        Some(field) => field.of(event).map(|text| text.into_owned().into()),
    };
    Ok(found.filter(|text| !text.is_empty()))
}

fn text_at(pointer: &JsonPointer, payload: &Bytes) -> Result<Option<ByteString>, MalformedMessage> {
    let bad = || {
        let detail = format!("`{pointer}` holds neither text, number nor boolean");
        MalformedMessage { reason: "bad_field", detail }
    };
    // The payload was checked before.
    match pointer.find(payload).ok().flatten() {
        Some(raw) if raw.starts_with(['{', '[']) => Err(bad()),
        Some(raw) if raw != "null" => json::text(raw).map(|text| Some(json::share(payload, text))).map_err(|_| bad()),
        _ => Ok(None),
    }
}

/// Value that should be a string and is not.
struct NoText;

/// Text of a member; `None` if it is null or empty.
fn text(body: &Bytes, raw: &str) -> Result<Option<ByteString>, NoText> {
    if raw == "null" {
        return Ok(None);
    }
    if !raw.starts_with('"') {
        return Err(NoText);
    }
    let text = json::text(raw).map_err(|_| NoText)?;
    Ok(Some(json::share(body, text)).filter(|text| !text.is_empty()))
}

/// Start of a value, as much as a message should show.
fn shorten(value: &str) -> String {
    value.chars().take(80).collect()
}

#[cfg(test)]
mod tests;

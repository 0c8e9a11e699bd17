//! Dead letters: events that can never succeed, stored with the reason. A dead letter is an
//! [`Output`] like any other, on its way to an outlet of its own; when that has taken it, the event
//! is settled under the reason code.

use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    ack::Ticket,
    event::identity::{TRACEPARENT, is_identity},
    json::JsonPayload,
    sink::Output,
};

mod last_resort;
mod reasons;

pub use last_resort::LastResort;
pub use reasons::{LETTER_REASONS, LetterReason};

/// Most bytes of an explanation, and of a header beside the record.
const LONGEST_DETAIL: usize = 4096;
const LONGEST_HEADER: usize = 256;

/// Facts about where an event failed. Empty ones are left out.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct FailurePlace<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub key: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub route: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub filter: &'a str,
    /// Digest of the component's content.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub filter_digest: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sink: &'a str,
    /// Tries of the filter; 0 if it was not called.
    #[serde(skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Word of the filter's author for such cases.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'a str,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Record of a dead letter as it is stored, one JSON object.
#[derive(Serialize)]
struct DeadLetterRecord<'a> {
    time: Timestamp,
    reason: &'a str,
    detail: &'a str,
    #[serde(flatten)]
    place: FailurePlace<'a>,
    id: &'a str,
    uid: String,
    event_type: &'a str,
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_time: Option<&'a str>,
    source: &'a str,
    stream: &'a str,
    sequence: u64,
    /// Deliveries of the event, this one included.
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    headers: Vec<(&'a str, &'a str)>,
    #[serde(flatten)]
    payload: JsonPayload<'a>,
}

/// Creates the dead letter of an event that got no further than its source or its filter. `reason`
/// is one of [`LETTER_REASONS`], or of a sink.
pub fn of_event(ticket: Ticket, place: FailurePlace<'_>, reason: &'static str, detail: &str) -> Output {
    let payload = ticket.event().payload.clone();
    letter(ticket, place, reason, detail, &payload)
}

/// Reason code of an emission that its filter buries.
pub const BURIED: &str = "buried";

/// Creates the dead letter of an emission that is not sent, with the emission's position and
/// payload.
pub fn of_emission(
    ticket: Ticket,
    place: FailurePlace<'_>,
    reason: &'static str,
    (index, payload): (u32, &Bytes),
    detail: &str,
) -> Output {
    Output { index, ..letter(ticket, place, reason, detail, payload) }
}

fn letter(ticket: Ticket, place: FailurePlace<'_>, reason: &'static str, detail: &str, payload: &Bytes) -> Output {
    // A sink of an embedding program has reasons of its own.
    let is_known = !place.sink.is_empty() || LETTER_REASONS.iter().any(|known| known.code == reason);
    debug_assert!(is_known, "`{reason}` is not documented");
    let event = ticket.event();
    let record = DeadLetterRecord {
        time: Timestamp::now(),
        reason,
        detail: shorten(detail),
        place,
        id: &event.id,
        uid: event.uid.to_string(),
        event_type: &event.event_type,
        subject: &event.subject,
        source_time: event.source_time.as_deref(),
        source: &event.origin.source,
        stream: &event.origin.stream,
        sequence: event.sequence,
        attempts: event.attempt,
        trace: event.headers.get(TRACEPARENT).map(|trace| &**trace),
        headers: event.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
        payload: JsonPayload::of(payload),
    };
    // A record of strings, numbers and checked JSON always serialises; if it did not, the reason
    // alone is better than a lost event.
    let payload = serde_json::to_vec(&record).unwrap_or_else(|_| format!(r#"{{"reason":"{reason}"}}"#).into_bytes());
    let headers = event.headers.iter().filter(|(name, value)| is_identity(name) && is_fit(value)).cloned().collect();
    Output {
        key: place.key.into(),
        // Several sinks of one route may refuse the same event: each of their letters has an id of
        // its own.
        route: format!("{}/{}/{reason}", place.route, place.sink).into(),
        index: 0,
        payload: Bytes::from(payload),
        id: None,
        subject: Some(reason.into()),
        headers: Some(headers),
        order: None,
        dead_letter: Some(reason),
        share: None,
        queued: None,
        ticket,
    }
}

/// Cuts an explanation to what a letter holds.
fn shorten(detail: &str) -> &str {
    &detail[..detail.floor_char_boundary(LONGEST_DETAIL)]
}

/// Returns whether a header can go along with any letter. The record has them all.
fn is_fit(value: &str) -> bool {
    value.len() <= LONGEST_HEADER && !value.contains(char::is_control)
}

/// Creates the dead letter of an output that its sink has refused for good. Holds the event as it
/// came in, so that it can be sent through again; of a tick, which has nothing to send, the output.
pub fn of_output(output: Output, sink: &str, reason: &'static str, detail: &str) -> Output {
    let place = FailurePlace { key: &output.key, route: &output.route, sink, ..FailurePlace::default() };
    let index = output.index;
    let letter = if output.ticket.event().is_tick() {
        letter(output.ticket, place, reason, detail, &output.payload)
    } else {
        of_event(output.ticket, place, reason, detail)
    };
    Output { index, ..letter }
}

#[cfg(test)]
mod tests;

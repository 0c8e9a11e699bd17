//! Formatting of a stored message for people and programs.

use std::{
    borrow::Cow,
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use bytestring::ByteString;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    avro::{AvroDecoder, Framing},
    config::EnvelopeFormat,
    event::Origin,
    json::{self, JsonPayload},
    nats::StoredMessage,
    source::envelope,
    text,
};

/// Format of the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowFormat {
    /// Columns for people: time, type, payload.
    Columns,
    /// One JSON object per line.
    Json,
}

pub(super) struct MessageRow {
    sequence: u64,
    time: Timestamp,
    subject: ByteString,
    /// Type from the envelope; the subject if the envelope can't be opened.
    event_type: ByteString,
    id: ByteString,
    /// Node that a jb-mesh event comes from.
    node: Option<String>,
    payload: Bytes,
}

impl MessageRow {
    /// Opens a stored message. Avro is shown as JSON, as filters see it.
    pub(super) fn new(
        message: StoredMessage,
        envelope: &EnvelopeFormat,
        origin: &Arc<Origin>,
        decoder: &AvroDecoder,
    ) -> Self {
        let StoredMessage { sequence, time, subject, headers, payload, .. } = message;
        let subject = ByteString::from(subject);
        let message = envelope::SourceMessage {
            subject: subject.clone(),
            headers,
            payload,
            observed_at: 0,
            attempt: 1,
            origin: Arc::clone(origin),
            sequence,
            incarnation: 0,
        };
        let event = envelope::open(envelope, message).unwrap_or_else(|refused| refused.0);
        let mut row = Self {
            sequence,
            time,
            subject,
            event_type: event.event_type,
            id: event.id,
            node: None,
            payload: event.payload,
        };
        if Framing::of(&row.payload).is_some()
            && let Ok(json) = decoder.decode(&row.payload)
        {
            row.payload = json.into();
        }
        if *envelope == EnvelopeFormat::JbMesh {
            row.open_mesh();
        }
        row
    }

    /// Reduces a jb-mesh event to its node and its data (J17).
    fn open_mesh(&mut self) {
        let body = self.payload.clone();
        for (name, value) in json::members(&body).ok().flatten().into_iter().flatten() {
            match &*name {
                "node" => self.node = json::text(value).ok().map(Cow::into_owned),
                "data" => self.payload = body.slice_ref(value.as_bytes()),
                _ => {}
            }
        }
    }

    pub(super) fn write(&self, form: RowFormat, out: &mut impl Write) -> io::Result<()> {
        match form {
            RowFormat::Columns => self.columns(out),
            RowFormat::Json => self.json(out),
        }
    }

    fn columns(&self, out: &mut impl Write) -> io::Result<()> {
        let node = self.node.as_ref().map(|node| format!("node={}  ", text::line(node))).unwrap_or_default();
        let time = self.time.strftime("%Y-%m-%d %H:%M:%S");
        let mut payload = Vec::new();
        match JsonPayload::of(&self.payload) {
            JsonPayload::Json(json) => json::append(&mut payload, json.get().as_bytes()),
            JsonPayload::Text(_) | JsonPayload::Bytes(_) => payload.extend_from_slice(&self.payload),
        }
        let payload = String::from_utf8_lossy(&payload);
        writeln!(out, "{time}  {:<24}  {node}{}", text::line(&self.event_type), text::line(&payload))
    }

    fn json(&self, out: &mut impl Write) -> io::Result<()> {
        #[derive(Serialize)]
        struct MessageLine<'a> {
            sequence: u64,
            time: Timestamp,
            subject: &'a str,
            event_type: &'a str,
            id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            node: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload_text: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            payload_base64: Option<String>,
        }
        // Separate members: flattening an enum would cost more than all the rest.
        let (payload, payload_text, payload_base64) = match JsonPayload::of(&self.payload) {
            JsonPayload::Json(json) => (Some(json), None, None),
            JsonPayload::Text(text) => (None, Some(text), None),
            JsonPayload::Bytes(base64) => (None, None, Some(base64)),
        };
        let (sequence, time) = (self.sequence, self.time);
        let (subject, event_type, id) = (&*self.subject, &*self.event_type, &*self.id);
        let node = self.node.as_deref();
        let line = MessageLine { sequence, time, subject, event_type, id, node, payload, payload_text, payload_base64 };
        // `append` puts the payload on one line: a line break would end the row.
        let mut whole = Vec::with_capacity(self.payload.len() + 256);
        json::append(&mut whole, &serde_json::to_vec(&line)?);
        whole.push(b'\n');
        out.write_all(&whole)
    }
}

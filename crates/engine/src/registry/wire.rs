//! Wire formats of a key's events and outputs: filters see JSON in between.

use std::{
    borrow::Cow,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;

use crate::{
    avro::{AvroDecodeError, AvroDecoder, AvroEncoder, AvroSchemas, Framing, TimeForm},
    config::WireFormat,
    event::Event,
    json,
    sink::outlet::SinkQueue,
};

/// Decoding of a key's events.
#[derive(Debug)]
pub enum EventDecoding {
    /// Any payload. JSON is made fit for every parser.
    Raw,
    /// JSON; other payloads are refused.
    Json,
    Avro(AvroDecoder),
    /// Avro if it begins as such, else JSON.
    Auto(AvroDecoder),
}

impl EventDecoding {
    pub(super) fn new(decode: &WireFormat, times: TimeForm, schemas: &AvroSchemas) -> Self {
        match decode {
            WireFormat::Raw => Self::Raw,
            WireFormat::Json => Self::Json,
            WireFormat::Avro(reader) => Self::Avro(schemas.decoder(reader.as_ref(), times)),
            WireFormat::Auto(reader) => Self::Auto(schemas.decoder(reader.as_ref(), times)),
        }
    }

    /// Returns the payload as JSON where it is Avro, else as it is. What can't be decoded is left
    /// to [`Self::payload`] to report.
    pub(super) fn avro_as_json<'a>(&self, payload: &'a [u8]) -> Cow<'a, [u8]> {
        let decoded = match self {
            Self::Avro(decoder) | Self::Auto(decoder) if Framing::of(payload).is_some() => decoder.decode(payload).ok(),
            _ => None,
        };
        decoded.map_or(Cow::Borrowed(payload), Cow::Owned)
    }

    /// Returns the id of the payload's schema, if it is Avro in Confluent's framing and no schema
    /// has the id.
    pub(super) fn unknown_id(&self, payload: &[u8]) -> Option<u32> {
        match self {
            Self::Avro(decoder) | Self::Auto(decoder) => decoder.unknown_id(payload),
            Self::Raw | Self::Json => None,
        }
    }

    /// Returns whether a text at this JSON pointer is a decimal.
    pub fn is_decimal(&self, pointer: &str) -> bool {
        match self {
            Self::Raw | Self::Json => false,
            Self::Avro(decoder) | Self::Auto(decoder) => decoder.is_decimal(pointer),
        }
    }

    /// Decodes the payload to what every parser of JSON reads; `None` if it is that already.
    ///
    /// # Errors
    /// Returns the reason code and a description of the problem.
    pub fn payload(&self, event: &Event) -> Result<Option<Bytes>, AvroDecodeError> {
        let payload = &event.payload;
        let decoder = match self {
            Self::Avro(decoder) => decoder,
            Self::Auto(decoder) if Framing::of(payload).is_some() => decoder,
            Self::Raw => return Ok(json::mended(payload)),
            Self::Json | Self::Auto(_) => {
                if let Some(mended) = json::mended(payload) {
                    return Ok(Some(mended));
                }
                let not_json =
                    |error: json::InvalidJson| AvroDecodeError { reason: "not_json", detail: error.to_string() };
                return json::check(payload).map(|()| None).map_err(not_json);
            }
        };
        decoder.decode(payload).map(|json| Some(json.into()))
    }
}

/// One of a route's sinks.
#[derive(Clone, Debug)]
pub struct SinkTarget {
    pub queue: SinkQueue,
    /// Encoder of outputs. Without one they go out as they are.
    pub encoder: Option<AvroEncoder>,
    /// Outputs of the route for this sink in this generation.
    pub sent: Arc<AtomicU64>,
}

impl From<SinkQueue> for SinkTarget {
    fn from(queue: SinkQueue) -> Self {
        Self { queue, encoder: None, sent: Arc::default() }
    }
}

//! What a key's events look like on the wire, and what its outputs shall look like: filters see JSON in between.

use bytes::Bytes;

use crate::{
    avro::{Decoder, Encoder, Framing, Schemas, Undecodable},
    config::Decode,
    event::Event,
    json,
    sink::outlet::Queue,
};

/// How a key's events are read.
#[derive(Debug)]
pub enum Decoding {
    /// Whatever it is. JSON is made fit for every parser.
    Raw,
    /// What is not JSON is refused.
    Json,
    Avro(Decoder),
    /// Avro when it begins as such, else JSON.
    Auto(Decoder),
}

impl Decoding {
    pub(super) fn new(decode: &Decode, schemas: &Schemas) -> Self {
        match decode {
            Decode::Raw => Self::Raw,
            Decode::Json => Self::Json,
            Decode::Avro(reader) => Self::Avro(schemas.decoder(reader.as_ref())),
            Decode::Auto(reader) => Self::Auto(schemas.decoder(reader.as_ref())),
        }
    }

    /// Whether a text at this JSON pointer is a decimal.
    pub fn is_decimal(&self, pointer: &str) -> bool {
        match self {
            Self::Raw | Self::Json => false,
            Self::Avro(decoder) | Self::Auto(decoder) => decoder.is_decimal(pointer),
        }
    }

    /// The payload as every parser of JSON reads it; `None` when it is that already.
    ///
    /// # Errors
    /// The reason code and what is wrong with it.
    pub fn payload(&self, event: &Event) -> Result<Option<Bytes>, Undecodable> {
        let payload = &event.payload;
        let decoder = match self {
            Self::Avro(decoder) => decoder,
            Self::Auto(decoder) if Framing::of(payload).is_some() => decoder,
            Self::Raw => return Ok(json::mended(payload)),
            Self::Json | Self::Auto(_) => {
                if let Some(mended) = json::mended(payload) {
                    return Ok(Some(mended));
                }
                let not_json = |error: json::Invalid| Undecodable { reason: "not_json", detail: error.to_string() };
                return json::check(payload).map(|()| None).map_err(not_json);
            }
        };
        decoder.decode(payload).map(|json| Some(json.into()))
    }
}

/// One of a route's sinks.
#[derive(Clone, Debug)]
pub struct Target {
    pub queue: Queue,
    /// Without one, outputs go out as they are.
    pub encoder: Option<Encoder>,
}

impl From<Queue> for Target {
    fn from(queue: Queue) -> Self {
        Self { queue, encoder: None }
    }
}

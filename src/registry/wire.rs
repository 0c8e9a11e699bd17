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
    /// What is not JSON is refused.
    Json,
    Avro(Decoder),
    /// Avro when it begins as such, else JSON.
    Auto(Decoder),
}

impl Decoding {
    /// `None` when payloads are taken as they come.
    pub(super) fn new(decode: &Decode, schemas: &Schemas) -> Option<Self> {
        Some(match decode {
            Decode::Raw => return None,
            Decode::Json => Self::Json,
            Decode::Avro(reader) => Self::Avro(schemas.decoder(reader.as_ref())),
            Decode::Auto(reader) => Self::Auto(schemas.decoder(reader.as_ref())),
        })
    }

    /// The payload as JSON; `None` when it is that already.
    ///
    /// # Errors
    /// The reason code and what is wrong with it.
    pub fn payload(&self, event: &Event) -> Result<Option<Bytes>, Undecodable> {
        let payload = &event.payload;
        let decoder = match self {
            Self::Avro(decoder) => decoder,
            Self::Auto(decoder) if Framing::of(payload).is_some() => decoder,
            Self::Json | Self::Auto(_) => {
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

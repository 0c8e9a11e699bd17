//! Conversion of messages to JSON and back.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    AvroSchema, ParsedSchema,
    container::LARGEST_RECORD,
    encode,
    fault::{AvroDecodeError, AvroEncodeError},
    framing::{self, WriterSchema},
    plan::ReadPlan,
};

/// Decoder of messages to JSON. Clones share it.
#[derive(Clone, Debug)]
pub struct AvroDecoder(pub(super) Arc<DecodePlans>);

/// Plan for reading each writer's data, or the reason why it can't be read.
#[derive(Debug)]
pub(super) struct DecodePlans {
    pub by_fingerprint: HashMap<u64, Result<Arc<ReadPlan>, String>>,
    pub by_id: HashMap<u32, Result<Arc<ReadPlan>, String>>,
    /// Schemas of the decoded JSON: the reader's, else those of all writers.
    pub shapes: Vec<AvroSchema>,
}

impl AvroDecoder {
    /// Decodes a message to compact JSON.
    ///
    /// # Errors
    /// Returns an error if it is not such a message, its schema is unknown or can't be read, or its
    /// body does not match the schema.
    pub fn decode(&self, message: &[u8]) -> Result<Vec<u8>, AvroDecodeError> {
        let (writer, body) = framing::split(message)?;
        let plan = match writer {
            WriterSchema::Fingerprint(print) => self.0.by_fingerprint.get(&print),
            WriterSchema::Id(id) => self.0.by_id.get(&id),
        };
        match plan {
            None => Err(AvroDecodeError::new("unknown_schema", format!("no schema has the {writer}"))),
            Some(Err(why)) => Err(AvroDecodeError::new("avro_unresolvable", why)),
            Some(Ok(plan)) => plan.decode(message, body),
        }
    }
}

impl AvroDecoder {
    /// Returns the id in the header of a message in Confluent's framing, if no schema has it.
    pub fn unknown_id(&self, message: &[u8]) -> Option<u32> {
        match framing::split(message) {
            Ok((WriterSchema::Id(id), _)) => (!self.0.by_id.contains_key(&id)).then_some(id),
            _ => None,
        }
    }
}

/// Encoder of JSON to messages of one schema.
#[derive(Clone, Debug)]
pub struct AvroEncoder {
    pub(super) schema: AvroSchema,
    pub(super) header: Arc<[u8]>,
}

impl AvroEncoder {
    /// Encodes JSON as a message. Every field must be present or have a default; members that the
    /// schema lacks are left out. A union takes the first branch that fits exactly, else the first
    /// that fits.
    ///
    /// # Errors
    /// The schema and the path of the first value that does not fit (H44).
    pub fn encode(&self, json: &[u8]) -> Result<Vec<u8>, AvroEncodeError> {
        let ParsedSchema { name, types, root, .. } = &*self.schema.0;
        let mut out = Vec::with_capacity(self.header.len() + json.len());
        out.extend_from_slice(&self.header);
        let misfit = |pointer: String, why: Cow<'static, str>| AvroEncodeError { schema: name.clone(), pointer, why };
        let out = encode::encode(types, *root, json, out)
            .map_err(|encode::EncodeMismatch { pointer, why }| misfit(pointer, why))?;
        if self.header.is_empty() && out.len() > LARGEST_RECORD {
            return Err(misfit(String::new(), "becomes more than the 15 MiB of a record in a file".into()));
        }
        Ok(out)
    }
}

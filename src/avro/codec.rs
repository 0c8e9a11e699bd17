//! Messages to JSON and back.

use std::{collections::HashMap, sync::Arc};

use super::{
    Parsed, Schema, encode,
    fault::{Undecodable, Unencodable},
    framing::{self, Writer},
    plan::Plan,
};

/// Reads messages as JSON. Clones share it.
#[derive(Clone, Debug)]
pub struct Decoder(pub(super) Arc<Plans>);

/// For each writer how it is read, or why it can't be.
#[derive(Debug)]
pub(super) struct Plans {
    pub by_fingerprint: HashMap<u64, Result<Arc<Plan>, String>>,
    pub by_id: HashMap<u32, Result<Arc<Plan>, String>>,
    /// What the JSON looks like: as the reader has it, else as any of the writers.
    pub shapes: Vec<Schema>,
}

impl Decoder {
    /// Returns compact JSON.
    ///
    /// # Errors
    /// When it is no such message, its schema is unknown or can't be read, or its body is not what the schema says.
    pub fn decode(&self, message: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let (writer, body) = framing::split(message)?;
        let plan = match writer {
            Writer::Fingerprint(print) => self.0.by_fingerprint.get(&print),
            Writer::Id(id) => self.0.by_id.get(&id),
        };
        match plan {
            None => Err(Undecodable::new("unknown_schema", format!("no schema has the {writer}"))),
            Some(Err(why)) => Err(Undecodable::new("avro_unresolvable", why)),
            Some(Ok(plan)) => plan.decode(message, body),
        }
    }
}

/// Writes JSON as messages of one schema.
#[derive(Clone, Debug)]
pub struct Encoder {
    pub(super) schema: Schema,
    pub(super) header: Arc<[u8]>,
}

impl Encoder {
    /// Every field must be there or have a default; members that the schema has not are left out. A union takes the first
    /// branch that fits, exactly if there is one.
    ///
    /// # Errors
    /// Names the schema and the place of the first thing that does not fit (H44).
    pub fn encode(&self, json: &[u8]) -> Result<Vec<u8>, Unencodable> {
        let Parsed { name, types, root, .. } = &*self.schema.0;
        let mut out = Vec::with_capacity(self.header.len() + json.len());
        out.extend_from_slice(&self.header);
        encode::encode(types, *root, json, out).map_err(|encode::Misfit { pointer, why }| Unencodable {
            schema: name.clone(),
            pointer,
            why,
        })
    }
}

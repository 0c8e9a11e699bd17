//! Avro: messages marked with their writer's schema, decoded to JSON, and JSON encoded as such
//! messages.
//!
//! Schemas come from files and refer to each other's types. Those of an [`AvroSchemas`] are the
//! writers that an [`AvroDecoder`] knows; it converts what it reads to the reader's schema, by
//! Avro's rules of schema resolution, or returns a fault with a specific reason: nothing is
//! guessed. An [`AvroEncoder`] goes the other way.
//!
//! In JSON a record is an object with the fields in their order, a map one with the entries in
//! theirs. A union's value appears without its branch, and bytes are base64. Numbers that JSON
//! lacks are `"NaN"`, `"Infinity"` or `"-Infinity"`. Decimals are texts such as `"12.34"`, UUIDs
//! are texts, durations objects of `months`, `days` and `millis`; dates, times and local timestamps
//! are the integers on the wire. So are timestamps, unless a decoder is to write RFC 3339; an
//! encoder takes both.

use std::{fmt, sync::Arc};

use serde_json::Value;

mod attributes;
mod canonical;
mod codec;
mod compatibility;
pub mod container;
mod decimal;
mod decimals;
mod decode;
mod definitions;
mod encode;
mod fault;
mod framing;
mod inlined;
mod json;
mod out;
mod parse;
mod plan;
mod registry;
mod resolve;
mod scalars;
mod time;
mod types;
mod wire;

use definitions::TypeDefinitions;
use plan::ReadPlan;
use types::{AvroType, TypeIndex, TypeName};

pub use codec::{AvroDecoder, AvroEncoder};
pub use compatibility::{ReadVerdict, second_opinion};
pub use fault::{AvroDecodeError, AvroEncodeError};
pub use framing::Framing;
pub use registry::{AvroSchemas, SchemaProblem};
pub use time::TimeForm;

/// A schema. Clones share it. Two are equal if everything that matters for reading and writing is
/// equal.
#[derive(Clone)]
pub struct AvroSchema(Arc<ParsedSchema>);

struct ParsedSchema {
    name: String,
    /// Id in the schema registry that it came from.
    registry_id: Option<u32>,
    /// The schema as JSON that refers to no other file.
    json: Value,
    fingerprint: u64,
    types: Vec<AvroType>,
    root: TypeIndex,
    /// Plan for reading the data as it was written.
    plan: Arc<ReadPlan>,
}

impl AvroSchema {
    fn parse<'a>(name: &str, file: usize, json: &'a Value, definitions: &TypeDefinitions<'a>) -> Result<Self, String> {
        let (types, root) = parse::parse(file, json, definitions)?;
        let plan = Arc::new(resolve::resolve((&types, root), (&types, root), TimeForm::Integer)?);
        let fingerprint = canonical::fingerprint(&types, root);
        let json = inlined::inlined(file, json, definitions)?;
        let (name, registry_id) = (name.to_owned(), None);
        Ok(Self(Arc::new(ParsedSchema { name, registry_id, json, fingerprint, types, root, plan })))
    }

    /// Parses a schema of a schema registry and gives it the name `registry:ID`. `references` are
    /// the schemas whose types it takes.
    ///
    /// # Errors
    /// Returns an error if it is not a valid schema.
    pub fn registered(id: u32, text: &str, references: &[String]) -> Result<Self, String> {
        let parse =
            |text: &str| serde_json::from_str::<Value>(text).map_err(|error| format!("it is not JSON: {error}"));
        let json = parse(text)?;
        let references: Vec<_> = references.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
        let name = format!("registry:{id}");
        let files = [&json].into_iter().chain(&references).map(|json| (name.as_str(), json));
        let whole = Self::parse(&name, 0, &json, &TypeDefinitions::of(files))?;
        // Parsed again without references, so that it equals the one that a cache has.
        let json = whole.json();
        let parsed = Self::parse(&name, 0, json, &TypeDefinitions::of([(name.as_str(), json)]))?;
        let parsed = Arc::into_inner(parsed.0).ok_or("it is in use already")?;
        Ok(Self(Arc::new(ParsedSchema { registry_id: Some(id), ..parsed })))
    }

    fn read_as(&self, reader: Option<&Self>, times: TimeForm) -> Result<Arc<ReadPlan>, String> {
        let written = &self.0;
        let reader = reader.map_or(written, |reader| &reader.0);
        if times == TimeForm::Integer && written == reader {
            return Ok(written.plan.clone());
        }
        let plan = resolve::resolve((&written.types, written.root), (&reader.types, reader.root), times);
        plan.map(Arc::new).map_err(|why| format!("`{}` can't be read as `{}`: {why}", written.name, reader.name))
    }

    /// Returns the name of its file, or `registry:ID`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the full name of its type, if it has one.
    pub fn full_name(&self) -> Option<&str> {
        self.type_name().map(|name| name.full.as_str())
    }

    /// Returns the id in the schema registry that it came from, if it came from one.
    pub fn registry_id(&self) -> Option<u32> {
        self.0.registry_id
    }

    fn type_name(&self) -> Option<&TypeName> {
        match &self.0.types[self.0.root] {
            AvroType::Record(name, _) | AvroType::Enum(name, _) | AvroType::Fixed(name, ..) => Some(name),
            _ => None,
        }
    }

    /// Returns the CRC-64-AVRO of the Parsing Canonical Form (H42).
    pub fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    pub fn canonical_form(&self) -> String {
        canonical::canonical(&self.0.types, self.0.root)
    }

    /// Decodes data without a header, as this schema wrote it, to compact JSON.
    ///
    /// # Errors
    /// Returns an error if it does not match the schema.
    pub fn decode(&self, data: &[u8]) -> Result<Vec<u8>, AvroDecodeError> {
        self.0.plan.decode(data, 0)
    }

    /// Returns the schema as written, with the types that it takes from other files in it.
    pub fn json(&self) -> &Value {
        &self.0.json
    }

    /// Returns the fields of a record with their types' names; nothing for another type.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        let types = &self.0.types;
        match &types[self.0.root] {
            AvroType::Record(_, fields) => {
                fields.all.iter().map(|field| (field.name.as_str(), types[field.of].name())).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl PartialEq for ParsedSchema {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.types, self.root) == (&other.name, &other.types, other.root)
    }
}

impl PartialEq for AvroSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl fmt::Debug for AvroSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:016x}", self.name(), self.fingerprint())
    }
}

#[cfg(test)]
mod tests;

//! A schema in the rows of lists.

use serde::Serialize;

use crate::{
    avro::AvroSchema,
    config::{Config, WireFormat},
};

/// A schema of a folder, and who uses it.
#[derive(Serialize)]
pub(super) struct SchemaRow {
    pub(super) name: String,
    /// Full name of its type, if it has one.
    #[serde(rename = "type")]
    pub(super) full_name: Option<String>,
    /// CRC-64-AVRO of its canonical form, in hex.
    pub(super) fingerprint: String,
    /// Ids in a registry, the latest last.
    pub(super) ids: Vec<u32>,
    /// Keys that read by it.
    pub(super) read_by: Vec<String>,
    /// Sinks that write by it.
    pub(super) written_by: Vec<String>,
}

impl SchemaRow {
    pub(super) fn of(schema: &AvroSchema, config: &Config) -> Self {
        let keys = config.registry.keys.iter().filter(|key| {
            matches!(&key.decode, WireFormat::Avro(Some(reader)) | WireFormat::Auto(Some(reader)) if reader == schema)
        });
        let sinks = config.sinks.iter().filter(|sink| {
            let named = sink.encode.as_ref().and_then(|encode| config.registry.avro.get(&encode.schema));
            named.as_ref() == Some(schema)
        });
        Self {
            name: schema.name().to_owned(),
            full_name: schema.full_name().map(str::to_owned),
            fingerprint: fingerprint(schema),
            ids: config.registry.avro.ids(schema),
            read_by: keys.map(|key| key.name.clone()).collect(),
            written_by: sinks.map(|sink| sink.name.clone()).collect(),
        }
    }

    /// Returns all schemas of a folder, sorted by name.
    pub(super) fn all(config: &Config) -> Vec<Self> {
        let schemas = &config.registry.avro;
        schemas.names().filter_map(|name| schemas.get(name)).map(|schema| Self::of(&schema, config)).collect()
    }
}

pub(super) fn fingerprint(schema: &AvroSchema) -> String {
    format!("{:016x}", schema.fingerprint())
}

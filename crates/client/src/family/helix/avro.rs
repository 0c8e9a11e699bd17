//! Helix events as Avro: schemas made of their types, and JSON to records and back.

use std::{collections::BTreeMap, sync::LazyLock};

use apache_avro::{AvroSchema, Schema};
use jiff::Timestamp;
use serde_json::Value;
use trommel_avro::{AvroDecoder, AvroSchemas, Framing, TimeForm};

use super::{
    super::{MalformedEvent, UnencodableEvent},
    AuditEvent, HelixEvent, NodeEvent, SchedulerEvent, SessionEvent,
};

const TIMESTAMP: &str = "timestamp";

/// Schemas of the events by the names that the preset has for them: `helix-node-v1`,
/// `helix-node-v2`, `helix-session`, `helix-scheduler` and `helix-audit`.
///
/// # Errors
/// Returns an error if one of them can't be parsed.
pub fn schemas() -> Result<AvroSchemas, String> {
    let node = || NodeEvent::get_schema();
    let parsed = [
        ("helix-node-v1", without(node(), &["action", "metadata"])),
        ("helix-node-v2", without(node(), &["metadata"])),
        ("helix-session", SessionEvent::get_schema()),
        ("helix-scheduler", SchedulerEvent::get_schema()),
        ("helix-audit", AuditEvent::get_schema()),
    ];
    let written = parsed.map(|(name, schema)| (name, serde_json::to_string(&schema).unwrap_or_default()));
    let files: Vec<_> = written.iter().map(|(name, text)| (*name, text.as_str())).collect();
    AvroSchemas::parse(&files).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

/// The schema of a record without some of its fields.
fn without(schema: Schema, fields: &[&str]) -> Schema {
    let Schema::Record(mut record) = schema else { return schema };
    record.fields.retain(|field| !fields.contains(&field.name.as_str()));
    Schema::Record(record)
}

/// The schemas, with a decoder to each of them.
struct HelixCodec {
    schemas: AvroSchemas,
    decoders: BTreeMap<String, AvroDecoder>,
}

static CODEC: LazyLock<Result<HelixCodec, String>> = LazyLock::new(|| {
    let schemas = schemas()?;
    let decoder = |name: &str| Some((name.to_owned(), schemas.decoder(Some(&schemas.get(name)?), TimeForm::Integer)));
    let decoders = schemas.names().filter_map(decoder).collect();
    Ok(HelixCodec { schemas, decoders })
});

/// Encodes an event as a record in single-object encoding.
pub(super) fn encode<E: HelixEvent>(event: &E, schema: &str) -> Result<Vec<u8>, UnencodableEvent> {
    if event.metadata().is_some_and(|metadata| !metadata.is_empty()) {
        let detail = "its metadata has no place in the Avro schema: write it as JSON, or without";
        return Err(UnencodableEvent(detail.to_owned()));
    }
    let failed = |error: &dyn ToString| UnencodableEvent(error.to_string());
    let nanoseconds = i64::try_from(event.timestamp().as_nanosecond())
        .map_err(|_| UnencodableEvent("its timestamp is not between the years 1678 and 2261".to_owned()))?;
    let mut json = serde_json::to_value(event).map_err(|error| failed(&error))?;
    if let Some(members) = json.as_object_mut() {
        members.insert(TIMESTAMP.to_owned(), nanoseconds.into());
    }
    let HelixCodec { schemas, .. } = CODEC.as_ref().map_err(|error| failed(error))?;
    let encoder = schemas.get(schema).and_then(|schema| schemas.encoder(&schema, Framing::SingleObject));
    let encoder = encoder.ok_or_else(|| failed(&format!("there is no schema `{schema}`")))?;
    encoder.encode(json.to_string().as_bytes()).map_err(|error| failed(&error))
}

/// Decodes a record of any version.
pub(super) fn decode<E: HelixEvent>(record: &[u8], schema: Option<&str>) -> Result<E, MalformedEvent> {
    let failed = |error: &dyn ToString| MalformedEvent(error.to_string());
    let codec = CODEC.as_ref().map_err(|error| failed(error))?;
    let decoder = schema.and_then(|schema| codec.decoders.get(schema));
    let decoder = decoder.ok_or_else(|| failed(&"it is Avro, and should be JSON"))?;
    let json = decoder.decode(record).map_err(|error| failed(&error))?;
    let mut json: Value = serde_json::from_slice(&json).map_err(|error| failed(&error))?;
    if let Some(nanoseconds) = json[TIMESTAMP].as_i64() {
        let timestamp = Timestamp::from_nanosecond(nanoseconds.into()).map_err(|error| failed(&error))?;
        json[TIMESTAMP] = timestamp.to_string().into();
    }
    serde_json::from_value(json).map_err(|error| failed(&error))
}

//! Avro schemas by the names that settings give them.

use super::{
    nearest::suggest,
    problem::{ConfigPlace, Problem, UnknownName},
};
use crate::avro::{AvroSchema, AvroSchemas};

/// The schema with a given name: that of a file without `.avsc`, or a full name.
///
/// # Errors
/// Returns an error if it does not exist.
pub fn known_schema(schemas: &AvroSchemas, name: &str) -> Result<AvroSchema, UnknownName> {
    let unknown = || UnknownName {
        message: format!("there is no Avro schema `{name}`"),
        hint: suggest(name, schemas.names().collect::<Vec<_>>(), "Avro schemas", "there is no `.avsc` in `schemas/`"),
    };
    schemas.get(name).ok_or_else(unknown)
}

/// Finds a schema for a setting at `place`.
///
/// # Errors
/// Returns an error if it does not exist.
pub fn avro_schema(schemas: &AvroSchemas, name: &str, place: &ConfigPlace) -> Result<AvroSchema, Box<Problem>> {
    known_schema(schemas, name)
        .map_err(|UnknownName { message, hint }| Problem::error(place.clone(), message).hint(hint).into())
}

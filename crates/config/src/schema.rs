//! The schema of a key's outputs: a JSON Schema that the key declares, and its validator. The only
//! module that uses `jsonschema` directly.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jsonschema::{ReferencingError, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};

use crate::json;

mod envelope;
mod overlay;

pub use overlay::FieldOverride;

/// Longest pointer or reason, in characters.
const LONGEST: usize = 500;

/// The part of an output that the declared schema describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaForm {
    /// The event inside the standard envelope, which is passed on unchanged (L15).
    Native,
    /// The whole output.
    Custom,
}

/// A declared JSON Schema: not a placeholder, and valid in itself.
#[derive(Clone, Debug)]
pub struct DeclaredSchema(Value);

/// Error while declaring a schema.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// `null`, `{}`, or not a schema at all (L12).
    #[error("it is a placeholder: a schema is a JSON object that says something")]
    Placeholder,
    /// Invalid in its dialect, or with a `$ref` that can't be resolved. Other documents are never
    /// fetched.
    #[error("it is not a valid JSON Schema{}: {detail}", at(pointer))]
    Unsound { pointer: String, detail: String },
}

impl DeclaredSchema {
    /// # Errors
    /// Returns an error if it is a placeholder or unsound.
    pub fn new(schema: Value) -> Result<Self, SchemaError> {
        if schema.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(SchemaError::Placeholder);
        }
        validator(&schema)?;
        Ok(Self(schema))
    }

    /// The schema of any object.
    pub fn object() -> Self {
        Self(json!({ "type": "object" }))
    }
}

/// Error while resolving a schema.
#[derive(Debug)]
pub enum UnresolvedSchema {
    /// Overrides of pointers that do not exist, sorted (L13), and the existing pointers.
    Orphans { orphans: Vec<String>, known: Vec<String> },
    /// The overrides make it invalid.
    Unsound(SchemaError),
}

/// The resolved schema of a key's outputs: the declared one, in its envelope, with its overrides.
/// Clones share it. Two are equal if their form and JSON are.
#[derive(Clone)]
pub struct OutputSchema(Arc<ResolvedSchema>);

struct ResolvedSchema {
    form: SchemaForm,
    json: Value,
    validator: Validator,
}

/// Error for an output that does not conform to the schema.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaMismatch {
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// The JSON pointer into the output, and the reason. The value itself is not repeated: it may
    /// be large, or a secret.
    #[error("does not fit the key's schema{}: {why}", at(pointer))]
    Unfit { pointer: String, why: String },
}

impl OutputSchema {
    /// Resolves a schema. Overrides are found by pointers into an output: those of a native schema
    /// begin at the envelope.
    ///
    /// # Errors
    /// Returns an error if overrides point nowhere, or make it unsound.
    pub fn new(
        form: SchemaForm,
        declared: DeclaredSchema,
        overrides: &BTreeMap<String, FieldOverride>,
    ) -> Result<Self, UnresolvedSchema> {
        let DeclaredSchema(mut json) = declared;
        if form == SchemaForm::Native {
            json = envelope::wrap(json);
        }
        let orphans = overlay::apply(&mut json, overrides);
        if !orphans.is_empty() {
            return Err(UnresolvedSchema::Orphans { orphans, known: overlay::places(&json) });
        }
        let validator = validator(&json).map_err(UnresolvedSchema::Unsound)?;
        Ok(Self(Arc::new(ResolvedSchema { form, json, validator })))
    }

    pub fn form(&self) -> SchemaForm {
        self.0.form
    }

    pub fn json(&self) -> &Value {
        &self.0.json
    }

    /// Validates an output against the schema.
    ///
    /// # Errors
    /// Returns the first mismatch.
    pub fn check(&self, output: &[u8]) -> Result<(), SchemaMismatch> {
        let output = json::parse(output).map_err(|error| SchemaMismatch::NotJson(error.to_string()))?;
        self.0.validator.validate(&output).map_err(|error| SchemaMismatch::Unfit {
            pointer: cut(error.instance_path().to_string()),
            why: cut(error.masked().to_string()),
        })
    }
}

impl PartialEq for OutputSchema {
    fn eq(&self, other: &Self) -> bool {
        self.0.form == other.0.form && self.0.json == other.0.json
    }
}

impl fmt::Debug for OutputSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0.form, self.0.json)
    }
}

/// Shortens a text to [`LONGEST`], as property names come from the sender and may be long.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The location in a document, as a phrase; empty for the whole document.
fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at `{pointer}`") }
}

/// Compiles a schema. No document is fetched: the library is built without the features for it. Its
/// options could forbid it as well, but they are generic: the whole library would be compiled once
/// more, with every build of ours.
fn validator(schema: &Value) -> Result<Validator, SchemaError> {
    jsonschema::validator_for(schema).map_err(|error| {
        let detail = match error.kind() {
            ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) => {
                format!("it refers to `{uri}`, and other documents are not fetched")
            }
            _ => error.to_string(),
        };
        SchemaError::Unsound { pointer: error.instance_path().to_string(), detail }
    })
}

#[cfg(test)]
mod tests;

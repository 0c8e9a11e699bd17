//! What a key's outputs look like: a JSON Schema that the key declares, and the validator made of it. Alone in naming
//! `jsonschema`.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jsonschema::{ReferencingError, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};

use crate::json;

mod envelope;
mod overlay;

pub use overlay::Override;

/// Characters of a pointer or a reason.
const LONGEST: usize = 500;

/// What the declared shape is the shape of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Of the event inside the standard envelope, which comes out as it came in (L15).
    Native,
    /// Of the output as it stands.
    Custom,
}

/// A JSON Schema as it was declared: it says something, and it is sound in itself.
#[derive(Clone, Debug)]
pub struct Declared(Value);

/// Why something can't be declared.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// `null`, `{}`, or no schema at all (L12).
    #[error("it is a placeholder: a schema is a JSON object that says something")]
    Placeholder,
    /// Against the rules of its dialect, or with a `$ref` that leads nowhere. Other documents are never fetched.
    #[error("it is not a valid JSON Schema{}: {detail}", at(pointer))]
    Unsound { pointer: String, detail: String },
}

impl Declared {
    /// # Errors
    /// When it is a placeholder or unsound.
    pub fn new(schema: Value) -> Result<Self, SchemaError> {
        if schema.as_object().is_none_or(serde_json::Map::is_empty) {
            return Err(SchemaError::Placeholder);
        }
        validator(&schema)?;
        Ok(Self(schema))
    }

    /// Any object.
    pub fn object() -> Self {
        Self(json!({ "type": "object" }))
    }
}

/// Why a schema can't be resolved.
#[derive(Debug)]
pub enum Unresolved {
    /// Overrides of places that there are not, sorted (L13), and the places that there are.
    Orphans { orphans: Vec<String>, known: Vec<String> },
    /// The overrides spoil it.
    Unsound(SchemaError),
}

/// The resolved schema of a key's outputs: what it declares, in its envelope, with its overrides. Clones share it. Two
/// are equal when they say the same.
#[derive(Clone)]
pub struct Schema(Arc<Resolved>);

struct Resolved {
    form: Form,
    json: Value,
    validator: Validator,
}

/// An output that is not what the schema says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// The place in the output as a JSON pointer. What stands there is not repeated: it may be large, or a secret.
    #[error("does not fit the key's schema{}: {why}", at(pointer))]
    Unfit { pointer: String, why: String },
}

impl Schema {
    /// Overrides are found by pointers into an output: those of a native schema begin at the envelope.
    ///
    /// # Errors
    /// When overrides point nowhere, or make it unsound.
    pub fn new(form: Form, declared: Declared, overrides: &BTreeMap<String, Override>) -> Result<Self, Unresolved> {
        let Declared(mut json) = declared;
        if form == Form::Native {
            json = envelope::wrap(json);
        }
        let orphans = overlay::apply(&mut json, overrides);
        if !orphans.is_empty() {
            return Err(Unresolved::Orphans { orphans, known: overlay::places(&json) });
        }
        let validator = validator(&json).map_err(Unresolved::Unsound)?;
        Ok(Self(Arc::new(Resolved { form, json, validator })))
    }

    pub fn form(&self) -> Form {
        self.0.form
    }

    pub fn json(&self) -> &Value {
        &self.0.json
    }

    /// Holds an output against the schema.
    ///
    /// # Errors
    /// The first thing that does not fit.
    pub fn check(&self, output: &[u8]) -> Result<(), Mismatch> {
        let output = json::parse(output).map_err(|error| Mismatch::NotJson(error.to_string()))?;
        self.0.validator.validate(&output).map_err(|error| Mismatch::Unfit {
            pointer: cut(error.instance_path().to_string()),
            why: cut(error.masked().to_string()),
        })
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.0.form == other.0.form && self.0.json == other.0.json
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.0.form, self.0.json)
    }
}

/// Properties have the names that the sender chose.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The place in a document, nothing when it is the whole.
fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at `{pointer}`") }
}

/// Nothing is fetched: the library is built without what it would take. Its options would do as well, but they are generic:
/// the whole library would be compiled once more, with every build of ours.
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

//! The JSON of a schema with the types of other files in it, as a file needs it that holds its
//! schema itself.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::definitions::{TypeDefinition, TypeDefinitions, in_namespace, named};

/// Returns the JSON of the schema in `file`, which has been parsed: each named type is defined
/// where it is named first.
///
/// # Errors
/// Returns the type that does not exist. Parsing has found it before.
pub(super) fn inlined<'a>(file: usize, json: &'a Value, definitions: &TypeDefinitions<'a>) -> Result<Value, String> {
    SchemaInliner { definitions, file, defined: HashSet::new() }.of(json, "")
}

struct SchemaInliner<'d, 'a> {
    definitions: &'d TypeDefinitions<'a>,
    /// File that the JSON is from.
    file: usize,
    /// Full names of the types that are defined already.
    defined: HashSet<String>,
}

impl<'a> SchemaInliner<'_, 'a> {
    fn of(&mut self, json: &'a Value, namespace: &str) -> Result<Value, String> {
        match json {
            Value::String(name) => self.name(name, namespace),
            Value::Array(branches) => {
                let branches: Result<_, _> = branches.iter().map(|branch| self.of(branch, namespace)).collect();
                Ok(Value::Array(branches?))
            }
            Value::Object(schema) => match schema.get("type") {
                Some(Value::String(kind)) => self.complex(kind, schema, namespace),
                Some(inner) => self.of(inner, namespace),
                None => Ok(json.clone()),
            },
            _ => Ok(json.clone()),
        }
    }

    fn name(&mut self, name: &str, namespace: &str) -> Result<Value, String> {
        if let "null" | "boolean" | "int" | "long" | "float" | "double" | "string" | "bytes" = name {
            return Ok(name.into());
        }
        let full = in_namespace(name, namespace);
        if self.defined.contains(&full) {
            return Ok(full.into());
        }
        let TypeDefinition { file, json, namespace } = self.definitions.find(&full, self.file)?;
        let back = std::mem::replace(&mut self.file, *file);
        let inner = self.of(json, namespace);
        self.file = back;
        inner
    }

    fn complex(&mut self, kind: &str, schema: &'a Map<String, Value>, namespace: &str) -> Result<Value, String> {
        let mut whole = schema.clone();
        match kind {
            "record" | "enum" | "fixed" => {
                let Some((full, own)) = named(schema, namespace) else { return Ok(Value::Object(whole)) };
                if !self.defined.insert(full.clone()) {
                    return Ok(full.into());
                }
                let short = full.rsplit_once('.').map_or(full.as_str(), |(_, short)| short);
                whole.insert("name".to_owned(), short.into());
                // Also if it is empty: the type that it is defined in may have another.
                whole.insert("namespace".to_owned(), own.as_str().into());
                let fields = schema.get("fields").and_then(Value::as_array);
                if let (Some(fields), Some(Value::Array(copies))) = (fields, whole.get_mut("fields")) {
                    for (field, copy) in fields.iter().zip(copies) {
                        if let (Some(of), Some(copy)) = (field.get("type"), copy.get_mut("type")) {
                            *copy = self.of(of, &own)?;
                        }
                    }
                }
            }
            "array" | "map" => {
                let member = if kind == "array" { "items" } else { "values" };
                if let Some(inner) = schema.get(member) {
                    whole.insert(member.to_owned(), self.of(inner, namespace)?);
                }
            }
            name => match self.name(name, namespace)? {
                // A primitive, with its logical type beside it.
                Value::String(primitive) if primitive == name => {}
                inner => return Ok(inner),
            },
        }
        Ok(Value::Object(whole))
    }
}

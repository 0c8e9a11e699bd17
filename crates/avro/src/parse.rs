//! Parsing of a schema's JSON into types, with the named types that it takes from other files.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    attributes::{check_name, decimal, fixed, is_name, symbols, texts, timestamp},
    definitions::{TypeDefinition, TypeDefinitions, in_namespace, named},
    encode,
    types::{AvroType, BytesForm, RecordField, RecordFields, TypeIndex, TypeName},
};

/// Deepest nesting of types. Files nest each other's types, so no parser of JSON bounds it.
const DEEPEST: usize = 200;
/// Returns the types of the schema in `file`, and the index of its root.
///
/// # Errors
/// Returns what is wrong.
pub(super) fn parse<'a>(
    file: usize,
    json: &'a Value,
    definitions: &TypeDefinitions<'a>,
) -> Result<(Vec<AvroType>, TypeIndex), String> {
    let named = HashMap::new();
    let mut parser = SchemaParser { definitions, file, depth: 0, types: Vec::new(), named, defaults: Vec::new() };
    let root = parser.parse(json, "")?;
    parser.encode_defaults()?;
    Ok((parser.types, root))
}

struct SchemaParser<'d, 'a> {
    definitions: &'d TypeDefinitions<'a>,
    /// File that is being parsed.
    file: usize,
    depth: usize,
    types: Vec<AvroType>,
    /// Named types by full name, each with the JSON that defines it.
    named: HashMap<String, (TypeIndex, &'a Value)>,
    /// Defaults of record fields, those of inner records first: outer ones may rely on them.
    defaults: Vec<(TypeIndex, usize, &'a Value)>,
}

impl<'a> SchemaParser<'_, 'a> {
    fn parse(&mut self, json: &'a Value, namespace: &str) -> Result<TypeIndex, String> {
        if self.depth == DEEPEST {
            return Err(format!("nests more than {DEEPEST} types"));
        }
        self.depth += 1;
        let parsed = match json {
            Value::String(name) => self.primitive_or_reference(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(schema) => match schema.get("type") {
                Some(Value::String(kind)) => self.complex(kind, json, schema, namespace),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => self.parse(inner, namespace),
                _ => Err("a type has no `type`".to_owned()),
            },
            _ => Err("a type is a name, an object, or the array of a union".to_owned()),
        };
        self.depth -= 1;
        parsed
    }

    fn add(&mut self, of: AvroType) -> TypeIndex {
        self.types.push(of);
        self.types.len() - 1
    }

    fn primitive_or_reference(&mut self, name: &str, namespace: &str) -> Result<TypeIndex, String> {
        let of = match name {
            "null" => AvroType::Null,
            "boolean" => AvroType::Boolean,
            "int" => AvroType::Int,
            "long" => AvroType::Long,
            "float" => AvroType::Float,
            "double" => AvroType::Double,
            "string" => AvroType::String,
            "bytes" => AvroType::Bytes(BytesForm::Base64),
            _ => return self.reference(&in_namespace(name, namespace)),
        };
        Ok(self.add(of))
    }

    fn reference(&mut self, full: &str) -> Result<TypeIndex, String> {
        if let Some((id, _)) = self.named.get(full) {
            return Ok(*id);
        }
        let TypeDefinition { file, json, namespace } = self.definitions.find(full, self.file)?;
        let back = std::mem::replace(&mut self.file, *file);
        let parsed = self.parse(json, namespace);
        self.file = back;
        parsed
    }

    fn complex(
        &mut self,
        kind: &str,
        json: &'a Value,
        schema: &'a Map<String, Value>,
        namespace: &str,
    ) -> Result<TypeIndex, String> {
        match kind {
            "record" | "enum" | "fixed" => {
                let (full, own) =
                    named(schema, namespace).ok_or_else(|| format!("a type of kind `{kind}` has no `name`"))?;
                check_name(&full)?;
                match self.named.get(&full) {
                    // Defined already, through a reference from an earlier file.
                    Some((id, first)) if std::ptr::eq::<Value>(*first, json) => return Ok(*id),
                    Some(_) => return Err(format!("`{full}` is defined twice")),
                    None => {}
                }
                let id = self.add(AvroType::Null);
                self.named.insert(full.clone(), (id, json));
                let aliases = texts(schema, "aliases")?.iter().map(|alias| in_namespace(alias, &own)).collect();
                let naming = TypeName { full, aliases };
                let of = match kind {
                    "record" => AvroType::Record(naming, RecordFields::default()),
                    "enum" => symbols(naming, schema)?,
                    _ => fixed(naming, schema)?,
                };
                self.types[id] = of;
                if kind == "record" {
                    self.fields(id, schema, &own)?;
                }
                Ok(id)
            }
            "array" => {
                let items = schema.get("items").ok_or("an array has no `items`")?;
                let item = self.parse(items, namespace)?;
                Ok(self.add(AvroType::Array(item)))
            }
            "map" => {
                let values = schema.get("values").ok_or("a map has no `values`")?;
                let value = self.parse(values, namespace)?;
                Ok(self.add(AvroType::Map(value)))
            }
            "bytes" => {
                let form = decimal(schema)?.unwrap_or(BytesForm::Base64);
                Ok(self.add(AvroType::Bytes(form)))
            }
            "long" => Ok(self.add(timestamp(schema).map_or(AvroType::Long, AvroType::Timestamp))),
            name => self.primitive_or_reference(name, namespace),
        }
    }

    fn fields(&mut self, id: TypeIndex, schema: &'a Map<String, Value>, namespace: &str) -> Result<(), String> {
        let record = self.types[id].name().to_owned();
        let fields =
            schema.get("fields").and_then(Value::as_array).ok_or_else(|| format!("`{record}` has no `fields`"))?;
        let mut parsed = RecordFields::default();
        for field in fields {
            let field = field.as_object().ok_or_else(|| format!("a field of `{record}` is not an object"))?;
            let name = field.get("name").and_then(Value::as_str).filter(|name| is_name(name));
            let name = name.ok_or_else(|| format!("a field of `{record}` has no proper name"))?;
            let of = field.get("type").ok_or_else(|| format!("field `{name}` of `{record}` has no `type`"))?;
            let of = self.parse(of, namespace)?;
            if parsed.by_name.insert(name.to_owned(), parsed.all.len()).is_some() {
                return Err(format!("`{record}` has two fields `{name}`"));
            }
            if let Some(default) = field.get("default") {
                self.defaults.push((id, parsed.all.len(), default));
            }
            parsed.all.push(RecordField {
                name: name.to_owned(),
                aliases: texts(field, "aliases")?,
                of,
                default: None,
            });
        }
        if let AvroType::Record(_, fields) = &mut self.types[id] {
            *fields = parsed;
        }
        Ok(())
    }

    fn encode_defaults(&mut self) -> Result<(), String> {
        for (record, place, json) in std::mem::take(&mut self.defaults) {
            let AvroType::Record(named, fields) = &self.types[record] else { continue };
            let RecordField { name, of, .. } = &fields.all[place];
            let encoded = encode::default(&self.types, *of, json)
                .map_err(|why| format!("the default of field `{name}` of `{}` does not fit: {why}", named.full))?;
            if let AvroType::Record(_, fields) = &mut self.types[record] {
                fields.all[place].default = Some(encoded);
            }
        }
        Ok(())
    }

    fn union(&mut self, branches: &'a [Value], namespace: &str) -> Result<TypeIndex, String> {
        let mut seen = HashSet::new();
        let mut parsed = Vec::new();
        for branch in branches {
            let id = self.parse(branch, namespace)?;
            let of = &self.types[id];
            if matches!(of, AvroType::Union(_)) {
                return Err("a union is a branch of another".to_owned());
            }
            if !seen.insert(of.name().to_owned()) {
                return Err(format!("a union has two branches `{}`", of.name()));
            }
            parsed.push(id);
        }
        if parsed.is_empty() {
            return Err("a union has no branches".to_owned());
        }
        Ok(self.add(AvroType::Union(parsed)))
    }
}

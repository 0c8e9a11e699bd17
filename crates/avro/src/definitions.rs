//! Named types that files define, for each other to refer to.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Definition of a named type.
pub(super) struct TypeDefinition<'a> {
    pub file: usize,
    pub json: &'a Value,
    /// Namespace that encloses it.
    pub namespace: String,
}

/// Definitions by full name. One name may be defined in several files: two versions of a record
/// side by side (H52).
pub(super) struct TypeDefinitions<'a> {
    files: Vec<&'a str>,
    by_name: HashMap<String, Vec<TypeDefinition<'a>>>,
}

impl<'a> TypeDefinitions<'a> {
    /// Collects the definitions of files, given with their names.
    pub fn of(files: impl IntoIterator<Item = (&'a str, &'a Value)>) -> Self {
        let mut definitions = Self { files: Vec::new(), by_name: HashMap::new() };
        for (file, (name, json)) in files.into_iter().enumerate() {
            definitions.files.push(name);
            definitions.collect(file, json, "");
        }
        definitions
    }

    fn collect(&mut self, file: usize, json: &'a Value, namespace: &str) {
        match json {
            Value::Array(branches) => branches.iter().for_each(|branch| self.collect(file, branch, namespace)),
            Value::Object(schema) => {
                let mut own = namespace.to_owned();
                if let Some(Value::String(kind)) = schema.get("type")
                    && let "record" | "enum" | "fixed" = kind.as_str()
                    && let Some((full, inner)) = named(schema, namespace)
                {
                    own = inner;
                    let definition = TypeDefinition { file, json, namespace: namespace.to_owned() };
                    self.by_name.entry(full).or_default().push(definition);
                }
                let fields = schema.get("fields").and_then(Value::as_array).into_iter().flatten();
                let types = fields.filter_map(|field| field.get("type"));
                let inner = ["type", "items", "values"].into_iter().filter_map(|member| schema.get(member));
                types.chain(inner).for_each(|inner| self.collect(file, inner, &own));
            }
            _ => {}
        }
    }

    /// Finds the type that `full` means in `file`: its own, or the one that the others agree on.
    ///
    /// # Errors
    /// Returns an error if there is none, or several that differ.
    pub fn find(&self, full: &str, file: usize) -> Result<&TypeDefinition<'a>, String> {
        let all = self.by_name.get(full).map(Vec::as_slice).unwrap_or_default();
        if let Some(own) = all.iter().find(|definition| definition.file == file) {
            return Ok(own);
        }
        let (first, others) = all.split_first().ok_or_else(|| format!("there is no type `{full}`"))?;
        match others.iter().find(|other| (other.json, &other.namespace) != (first.json, &first.namespace)) {
            None => Ok(first),
            Some(other) => {
                let (one, another) = (self.files[first.file], self.files[other.file]);
                Err(format!("`{full}` may be that of `{one}` or that of `{another}`, and they differ"))
            }
        }
    }
}

/// Returns the full name of a type and the namespace of the types in it. `None` if it has no name.
pub(super) fn named(schema: &Map<String, Value>, enclosing: &str) -> Option<(String, String)> {
    let name = schema.get("name")?.as_str()?;
    let namespace = schema.get("namespace").and_then(Value::as_str).unwrap_or(enclosing);
    let full = in_namespace(name, namespace);
    let own = full.rsplit_once('.').map(|(namespace, _)| namespace.to_owned()).unwrap_or_default();
    Some((full, own))
}

/// Qualifies a name by a namespace. Names with dots are full already.
pub(super) fn in_namespace(name: &str, namespace: &str) -> String {
    if namespace.is_empty() || name.contains('.') { name.to_owned() } else { format!("{namespace}.{name}") }
}

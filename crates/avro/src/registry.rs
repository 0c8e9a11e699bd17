//! Registry of known schemas.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;

use super::{
    AvroSchema,
    codec::{AvroDecoder, AvroEncoder, DecodePlans},
    definitions::TypeDefinitions,
    framing::{Framing, WriterSchema},
    time::TimeForm,
};

/// Schemas by name, fingerprint and id. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AvroSchemas(Arc<SchemaIndex>);

#[derive(Clone, Debug, Default)]
struct SchemaIndex {
    by_file: BTreeMap<String, AvroSchema>,
    /// Schemas by full name; `None` if several that differ have the name.
    by_full_name: HashMap<String, Option<AvroSchema>>,
    by_fingerprint: HashMap<u64, AvroSchema>,
    by_id: BTreeMap<u32, AvroSchema>,
    /// Schemas of a schema registry, by their ids there.
    registered: BTreeMap<u32, AvroSchema>,
}

/// Error in a schema file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct SchemaProblem {
    /// Index of the file among those given.
    pub file: usize,
    pub why: String,
}

impl PartialEq for AvroSchemas {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (&own.by_file, &own.by_id, &own.registered) == (&others.by_file, &others.by_id, &others.registered)
    }
}

impl AvroSchemas {
    /// Parses schema files, each given as its name without `.avsc` and its text. The order does not
    /// matter, but of files whose schemas are equal the last counts (H47).
    ///
    /// # Errors
    /// Returns every problem found.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, Vec<SchemaProblem>> {
        let mut problems = Vec::new();
        let mut parsed = Vec::new();
        for (file, (_, text)) in files.iter().enumerate() {
            parsed.push(serde_json::from_str(text).unwrap_or_else(|error| {
                problems.push(SchemaProblem { file, why: format!("it is not JSON: {error}") });
                Value::Null
            }));
        }
        let names = files.iter().map(|(name, _)| *name);
        let definitions = TypeDefinitions::of(names.zip(&parsed));
        let mut registry = SchemaIndex::default();
        for (file, ((name, _), json)) in files.iter().zip(&parsed).enumerate() {
            if problems.iter().any(|problem| problem.file == file) {
                continue;
            }
            match AvroSchema::parse(name, file, json, &definitions) {
                Ok(_) if registry.by_file.contains_key(*name) => {
                    problems.push(SchemaProblem { file, why: format!("there is a schema `{name}` already") });
                }
                Ok(schema) => registry.add(schema),
                Err(why) => problems.push(SchemaProblem { file, why }),
            }
        }
        problems.sort_by_key(|problem| problem.file);
        if problems.is_empty() { Ok(Self(Arc::new(registry))) } else { Err(problems) }
    }

    /// Replaces the known ids by those that Confluent's registry gave to schemas.
    ///
    /// # Errors
    /// Returns the ids whose schemas do not exist.
    pub fn with_ids(&self, ids: &BTreeMap<u32, String>) -> Result<Self, Vec<u32>> {
        let found = ids.iter().map(|(id, name)| self.get(name).map(|schema| (*id, schema)).ok_or(*id));
        let (known, unknown): (Vec<_>, Vec<_>) = found.partition(Result::is_ok);
        if !unknown.is_empty() {
            return Err(unknown.into_iter().filter_map(Result::err).collect());
        }
        let by_id = known.into_iter().flatten().collect();
        Ok(Self(Arc::new(SchemaIndex { by_id, ..SchemaIndex::clone(&self.0) })))
    }

    /// Adds schemas of a schema registry. An id that is known from [`Self::with_ids`] stays what it
    /// is.
    pub fn with_registered(&self, schemas: impl IntoIterator<Item = AvroSchema>) -> Self {
        let mut index = SchemaIndex::clone(&self.0);
        index.registered.extend(schemas.into_iter().filter_map(|schema| Some((schema.registry_id()?, schema))));
        Self(Arc::new(index))
    }

    /// Returns the ids of the schemas of a schema registry.
    pub fn registered_ids(&self) -> impl Iterator<Item = u32> {
        self.0.registered.keys().copied()
    }

    /// Returns a schema by the name of its file, else by its full name if no other that differs has
    /// it too; one of a schema registry by `registry:ID`.
    pub fn get(&self, name: &str) -> Option<AvroSchema> {
        let file = self.0.by_file.get(name);
        let registered = || self.0.registered.get(&name.strip_prefix("registry:")?.parse().ok()?);
        file.or_else(|| self.0.by_full_name.get(name)?.as_ref()).or_else(registered).cloned()
    }

    pub fn by_fingerprint(&self, fingerprint: u64) -> Option<AvroSchema> {
        self.0.by_fingerprint.get(&fingerprint).cloned()
    }

    /// Returns the ids of a schema in Confluent's registry, the latest last.
    pub fn ids(&self, schema: &AvroSchema) -> Vec<u32> {
        if let Some(id) = schema.registry_id() {
            return vec![id];
        }
        let known = self.0.by_id.iter().filter(|(_, known)| known.fingerprint() == schema.fingerprint());
        known.map(|(id, _)| *id).collect()
    }

    /// Returns the names of the files, sorted, and of the schemas of a schema registry, by their
    /// ids.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.by_file.keys().map(String::as_str).chain(self.0.registered.values().map(AvroSchema::name))
    }

    /// Creates a decoder of data that any of the schemas wrote: as `reader` has it, else as it was
    /// written (H53).
    pub fn decoder(&self, reader: Option<&AvroSchema>, times: TimeForm) -> AvroDecoder {
        let plan = |schema: &AvroSchema| schema.read_as(reader, times);
        let by_fingerprint = self.0.by_fingerprint.iter().map(|(print, schema)| (*print, plan(schema))).collect();
        let by_id = self.0.registered.iter().chain(&self.0.by_id).map(|(id, schema)| (*id, plan(schema))).collect();
        let writers = || self.0.by_fingerprint.values().chain(self.0.registered.values()).cloned().collect();
        let shapes = reader.map_or_else(writers, |reader| vec![reader.clone()]);
        AvroDecoder(Arc::new(DecodePlans { by_fingerprint, by_id, shapes }))
    }

    /// Creates an encoder for `schema`. `None` if the framing needs an id and the schema has none.
    pub fn encoder(&self, schema: &AvroSchema, framing: Framing) -> Option<AvroEncoder> {
        let header = match framing {
            Framing::Bare => Vec::new(),
            Framing::SingleObject => WriterSchema::Fingerprint(schema.fingerprint()).header(),
            Framing::Confluent => {
                // The highest id is the latest.
                let declared = || {
                    let mut ids = self.0.by_id.iter().rev();
                    ids.find(|(_, known)| known.0.fingerprint == schema.0.fingerprint).map(|(id, _)| *id)
                };
                WriterSchema::Id(schema.registry_id().or_else(declared)?).header()
            }
        };
        Some(AvroEncoder { schema: schema.clone(), header: header.into() })
    }
}

impl SchemaIndex {
    fn add(&mut self, schema: AvroSchema) {
        if let Some(full) = schema.full_name() {
            let known = self.by_full_name.entry(full.to_owned()).or_insert_with(|| Some(schema.clone()));
            *known = known.take().filter(|known| known.fingerprint() == schema.fingerprint()).map(|_| schema.clone());
        }
        self.by_fingerprint.insert(schema.fingerprint(), schema.clone());
        self.by_file.insert(schema.name().to_owned(), schema);
    }
}

//! Folder with what a router knows of its schema registry, which it uses while that is away:
//! `ID.avsc` has a schema with all the types that it takes, `SUBJECT@VERSION.id` the id of a
//! version.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use super::{
    WriterSubject,
    read::{LARGEST_SCHEMA, read_text},
};
use crate::avro::AvroSchema;

/// Largest file that holds an id.
const LARGEST_ID: u64 = 64;

/// Folder of cached schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaCache(PathBuf);

impl SchemaCache {
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Reads every schema. A file with another name is ignored.
    ///
    /// # Errors
    /// Returns each file that can't be used, with the reason.
    pub fn schemas(&self) -> (Vec<AvroSchema>, Vec<(PathBuf, String)>) {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), Vec::new()),
            Err(error) => return (Vec::new(), vec![(self.0.clone(), format!("can't list the folder: {error}"))]),
        };
        let (mut schemas, mut problems) = (Vec::new(), Vec::new());
        for path in entries.flatten().map(|entry| entry.path()) {
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".avsc")?.parse().ok()) else {
                continue;
            };
            match text(&path, LARGEST_SCHEMA).and_then(|text| AvroSchema::registered(id, &text, &[])) {
                Ok(schema) => schemas.push(schema),
                Err(why) => problems.push((path, why)),
            }
        }
        problems.sort();
        (schemas, problems)
    }

    /// Returns the id of a subject's version. `None` if it is not cached.
    pub fn id(&self, subject: &WriterSubject) -> Option<u32> {
        text(&self.subject_path(subject), LARGEST_ID).ok()?.trim().parse().ok()
    }

    /// Returns whether the schema of an id is cached.
    pub fn has(&self, id: u32) -> bool {
        self.schema_path(id).is_file()
    }

    /// Stores a schema of the registry.
    ///
    /// # Errors
    /// Returns an error if the file can't be written.
    pub fn store(&self, schema: &AvroSchema) -> io::Result<()> {
        let Some(id) = schema.registry_id() else { return Ok(()) };
        self.write(&self.schema_path(id), &format!("{}\n", schema.json()))
    }

    /// Stores the schema of a subject's version.
    ///
    /// # Errors
    /// Returns an error if a file can't be written.
    pub fn store_version(&self, subject: &WriterSubject, schema: &AvroSchema) -> io::Result<()> {
        self.store(schema)?;
        let id = schema.registry_id().map(|id| format!("{id}\n"));
        self.write(&self.subject_path(subject), &id.unwrap_or_default())
    }

    fn schema_path(&self, id: u32) -> PathBuf {
        self.0.join(format!("{id}.avsc"))
    }

    /// Returns the path of a subject's file. Subjects may hold any character, `/` among them.
    fn subject_path(&self, WriterSubject { name, version }: &WriterSubject) -> PathBuf {
        let mut file = String::new();
        for byte in name.bytes() {
            match byte {
                b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => file.push(byte.into()),
                other => file.push_str(&format!("%{other:02X}")),
            }
        }
        self.0.join(version.map_or(format!("{file}@latest.id"), |version| format!("{file}@{version}.id")))
    }

    /// Replaces a file at once: another router may read or write it.
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = self.0.join(format!(".{name}.{}", process::id()));
        let written = fs::File::create(&temporary).and_then(|mut file| {
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()
        });
        written.and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
            let _ = fs::remove_file(&temporary);
        })
    }
}

fn text(path: &Path, limit: u64) -> Result<String, String> {
    let bytes = read_text(path, limit).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let cache = SchemaCache::new(dir.path().join("deep/cache"));
        assert_eq!(cache.schemas(), (Vec::new(), Vec::new()));
        let order = r#"{"type":"record","name":"shop.Order","fields":[{"name":"at","type":"Time"}]}"#;
        let time = r#"{"type":"fixed","name":"Time","namespace":"shop","size":8}"#;
        let schema = AvroSchema::registered(7, order, &[time.to_owned()]).unwrap();
        cache.store(&schema).unwrap();
        fs::write(dir.path().join("deep/cache/notes.avsc"), "mine").unwrap();
        assert_eq!(cache.schemas(), (vec![schema.clone()], Vec::new()));
        assert!(cache.has(7) && !cache.has(8));
        for (name, version) in [("orders-value", None), ("orders-value", Some(3)), ("../é:%2F/x", Some(1))] {
            let subject = WriterSubject { name: name.to_owned(), version };
            assert_eq!(cache.id(&subject), None);
            cache.store_version(&subject, &schema).unwrap();
            assert_eq!(cache.id(&subject), Some(7));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is written elsewhere");
    }

    #[test]
    fn a_file_that_is_damaged_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("7.avsc"), "{").unwrap();
        let (schemas, problems) = SchemaCache::new(dir.path().to_owned()).schemas();
        assert!(schemas.is_empty());
        assert!(problems[0].0.ends_with("7.avsc") && problems[0].1.contains("not JSON"), "{problems:?}");
    }
}

//! The schema files in a router's folder, and those of its presets.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::{Path, PathBuf},
};

use crate::{
    config::{ConfigPlace, LARGEST_SCHEMA, Preset, Problem, TextPosition, UnknownName, suggest},
    listing::FolderFiles,
    problem::ProblemReport,
};
use trommel_config::schema::DeclaredSchema;

/// Schema files, each read on first use; problems of a file are reported once.
pub(crate) struct SchemaFiles {
    files: FolderFiles,
    folder: PathBuf,
    /// The folder as written in the configuration.
    shown: PathBuf,
    names: BTreeSet<String>,
    /// Schemas of the presets, by their names, which have a slash.
    built_in: BTreeMap<&'static str, &'static str>,
    read: RefCell<HashMap<String, Option<DeclaredSchema>>>,
}

impl SchemaFiles {
    pub(crate) fn list(files: &FolderFiles, folder: &Path) -> io::Result<Self> {
        let names =
            files.list(folder, "json")?.into_iter().filter_map(|name| Some(name.to_str()?.to_owned())).collect();
        let shown = folder.strip_prefix(&files.dir).unwrap_or(folder).to_owned();
        Ok(Self {
            files: files.clone(),
            folder: folder.to_owned(),
            shown,
            names,
            built_in: BTreeMap::new(),
            read: RefCell::default(),
        })
    }

    /// Adds the schemas of the presets.
    pub(crate) fn with(self, presets: &[Preset]) -> Self {
        Self { built_in: presets.iter().flat_map(|preset| preset.schemas).copied().collect(), ..self }
    }

    /// Finds the schema in the file of this name. Returns `None` if the file is invalid; the error
    /// is then in the report.
    pub(crate) fn find(&self, name: &str, report: &ProblemReport) -> Result<Option<DeclaredSchema>, UnknownName> {
        if !self.names.contains(name) && !self.built_in.contains_key(name) {
            let shown = self.shown.display();
            let names = self.names.iter().map(String::as_str).chain(self.built_in.keys().copied());
            let (introduction, nothing) =
                (format!("schemas in `{shown}/`"), format!("there is no schema in `{shown}/`"));
            return Err(UnknownName {
                message: format!("there is no schema `{shown}/{name}`"),
                hint: suggest(name, names, &introduction, &nothing),
            });
        }
        let mut read = self.read.borrow_mut();
        let schema = read.entry(name.to_owned()).or_insert_with(|| {
            let read = self.read(name).map_err(|(position, message)| {
                let place = ConfigPlace { file: self.shown.join(name), position };
                report.add(Problem::error(place, message));
            });
            read.ok()
        });
        Ok(schema.clone())
    }

    fn read(&self, name: &str) -> Result<DeclaredSchema, (Option<TextPosition>, String)> {
        let text = match self.built_in.get(name) {
            Some(text) => text.as_bytes().to_vec(),
            None => {
                self.files.read(&self.folder.join(name), LARGEST_SCHEMA).map_err(|error| (None, error.to_string()))?
            }
        };
        let schema = serde_json::from_slice(&text).map_err(|error| {
            // The column is 0 before the first character.
            let position = TextPosition { line: error.line(), column: error.column().max(1) };
            let message = error.to_string();
            let message = message.split(" at line ").next().unwrap_or_default();
            (Some(position), format!("the file is not JSON: {message}"))
        })?;
        DeclaredSchema::new(schema).map_err(|error| (None, error.to_string()))
    }
}

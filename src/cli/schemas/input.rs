//! Schemas that a command names: those of a folder, and those in files.

use std::{
    fs::{self, File},
    io::{BufReader, Read},
    path::Path,
};

use crate::{
    avro::{
        AvroSchema, AvroSchemas,
        container::{ContainerReader, MAGIC},
    },
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{Config, LARGEST_SCHEMA, UnknownName, known_schema, read_text},
};

/// Finds a schema of a folder by the name of its file, or its full name.
pub(super) fn named(config: &Config, name: &str) -> Result<AvroSchema, CommandRefusal> {
    known_schema(&config.registry.avro, name).map_err(|UnknownName { message, hint }| {
        CommandRefusal::new(RefusalKind::Validation, "unknown_schema", message).param(name).hint(hint)
    })
}

/// Reads the schema in a file: an `.avsc`, or a container file.
pub(super) fn of_file(path: &Path) -> Result<AvroSchema, CommandRefusal> {
    if is_container(path) {
        let file = File::open(path).map_err(|error| unreadable(path, error.to_string()))?;
        let reader = ContainerReader::open(BufReader::new(file), None);
        return reader.map(|reader| reader.schema().clone()).map_err(|fault| unreadable(path, fault.to_string()));
    }
    let own = (stem(path), text(path).map_err(|why| unreadable(path, why))?);
    if let Ok(schemas) = parsed(std::slice::from_ref(&own)) {
        return schemas.get(&own.0).ok_or_else(|| unreadable(path, "it has no schema".to_owned()));
    }
    // It may take types from the files beside it, some of which may be wrong.
    let mut files = vec![own];
    files.extend(beside(path));
    let schemas = parsed(&files).map_err(|why| unreadable(path, why))?;
    schemas.get(&files[0].0).ok_or_else(|| unreadable(path, "it has no schema".to_owned()))
}

fn parsed(files: &[(String, String)]) -> Result<AvroSchemas, String> {
    let texts: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    AvroSchemas::parse(&texts).map_err(|problems| {
        // Those of the first file come first.
        problems
            .into_iter()
            .next()
            .map(|problem| match problem.file {
                0 => problem.why,
                other => format!("`{}.avsc`, which is beside it: {}", files[other].0, problem.why),
            })
            .unwrap_or_default()
    })
}

fn beside(path: &Path) -> Vec<(String, String)> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut others: Vec<_> = entries
        .filter(|other| other.extension().is_some_and(|it| it == "avsc") && other.file_name() != path.file_name())
        .collect();
    others.sort_unstable();
    others.into_iter().filter_map(|other| Some((stem(&other), text(&other).ok()?))).collect()
}

fn text(path: &Path) -> Result<String, String> {
    let text = read_text(path, LARGEST_SCHEMA).map_err(|error| error.to_string())?;
    String::from_utf8(text).map_err(|_| "the file is not UTF-8".to_owned())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_container(path: &Path) -> bool {
    let mut start = [0; MAGIC.len()];
    let is_file = path.metadata().is_ok_and(|found| found.is_file());
    is_file && File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok() && start == MAGIC
}

fn unreadable(path: &Path, why: String) -> CommandRefusal {
    let message = format!("`{}`: {why}", path.display());
    let refusal = CommandRefusal::new(RefusalKind::Validation, "bad_schema", message);
    refusal.param(path.display().to_string()).hint("expected a schema, as in `order.avsc`, or an Avro container file")
}

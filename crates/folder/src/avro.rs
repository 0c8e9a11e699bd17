//! The Avro schemas of a router's folder, and those of its presets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    config::{
        AvroEncoding, Config, ConfigPlace, LARGEST_SCHEMA, Preset, Problem, RegistryConfig, SinkKind, SourceKind,
        UnknownName, WireFormat, avro_schema, known_schema,
    },
    listing::FolderFiles,
    problem::ProblemReport,
};
use trommel_avro::{
    AvroSchemas, Framing, ReadVerdict,
    container::{ContainerFormat, ContainerWriter, SyncMarker},
};

/// Reads `schemas/*.avsc`, and the cache of the schema registry. Returns `None` if one of the first
/// is invalid; the error is then in the report.
pub(crate) fn schemas(files: &FolderFiles, config: &Config, report: &ProblemReport) -> Option<AvroSchemas> {
    let declared = declared_schemas(files, &config.schemas, &config.presets, &config.avro_ids, report)?;
    let Some(registry) = &config.schema_registry else { return Some(declared) };
    let (cached, problems) = registry.cache.schemas();
    for (path, why) in problems {
        let place = ConfigPlace::file(path.strip_prefix(&config.dir).unwrap_or(&path));
        let hint = "delete the file: the schema is fetched again when it is needed";
        report.add(Problem::warning(place, format!("this schema of the registry can't be used: {why}")).hint(hint));
    }
    Some(declared.with_registered(cached))
}

fn declared_schemas(
    files: &FolderFiles,
    folder: &Path,
    presets: &[Preset],
    ids: &BTreeMap<u32, String>,
    report: &ProblemReport,
) -> Option<AvroSchemas> {
    let shown = folder.strip_prefix(&files.dir).unwrap_or(folder);
    let listed = files.list(folder, "avsc").map_err(|error| {
        report.add(Problem::error(ConfigPlace::file(shown), format!("can't list the folder: {error}")));
    });
    let (mut paths, mut texts) = (Vec::new(), Vec::new());
    for file in listed.ok()? {
        let text = files.read(&folder.join(&file), LARGEST_SCHEMA).map_err(|error| error.to_string());
        match text.and_then(|text| String::from_utf8(text).map_err(|error| format!("the file is not UTF-8: {error}"))) {
            Ok(text) => texts.push((stem(&file), text)),
            Err(message) => {
                report.add(Problem::error(ConfigPlace::file(shown.join(&file)), message));
                continue;
            }
        }
        paths.push(shown.join(file));
    }
    let is_whole = paths.len() == texts.len();
    // The folder may replace the schemas of a preset.
    for (name, text) in presets.iter().flat_map(|preset| preset.avro) {
        if texts.iter().all(|(known, _)| known != name) {
            texts.push(((*name).to_owned(), (*text).to_owned()));
            paths.push(PathBuf::from(format!("preset/{name}.avsc")));
        }
    }
    let texts: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let parsed = AvroSchemas::parse(&texts).map_err(|wrong| {
        for wrong in wrong {
            report.add(Problem::error(ConfigPlace::file(&paths[wrong.file]), wrong.why));
        }
    });
    let schemas = parsed.ok()?;
    let with_ids = schemas.with_ids(ids).map_err(|unknown| {
        for id in unknown {
            let Err(UnknownName { message, hint }) = known_schema(&schemas, &ids[&id]) else { continue };
            let place = ConfigPlace::file(Path::new("trommel.toml"));
            report.add(Problem::error(place, format!("id {id} in `[avro]`: {message}")).hint(hint));
        }
    });
    with_ids.ok().filter(|_| is_whole)
}

/// Looks up, in the cache, the schemas that sinks write by and that the schema registry has.
pub(crate) fn resolve_subjects(config: &mut Config, schemas: &AvroSchemas, report: &ProblemReport) {
    for encode in config.sinks.iter_mut().filter_map(|sink| sink.encode.as_mut()) {
        let Some(subject) = &encode.subject else { continue };
        let Some(registry) = &config.schema_registry else {
            let message = format!("there is no schema registry that has {subject}");
            let hint = "add `[avro.registry]` with, say, `url = \"http://127.0.0.1:8081\"`";
            report.add(Problem::error(encode.place.clone(), message).hint(hint));
            continue;
        };
        let name = registry.cache.id(subject).map(|id| format!("registry:{id}"));
        match name.filter(|name| schemas.get(name).is_some()) {
            Some(name) => encode.schema = name,
            None => {
                let folder = registry.cache.folder();
                let shown = folder.strip_prefix(&config.dir).unwrap_or(folder).display();
                let message = format!("the schema of {subject} is not known: it is not in the cache `{shown}`");
                let hint = "`trommel schemas fetch` asks the schema registry for it; nothing is registered there";
                report.add(Problem::error(encode.place.clone(), message).hint(hint));
            }
        }
    }
}

/// Looks up the schemas that are the same until the router ends: those of the files that it reads
/// and writes.
pub(crate) fn resolve_files(config: &mut Config, schemas: &AvroSchemas, report: &ProblemReport) {
    let known = |name: &str, place: &ConfigPlace| {
        avro_schema(schemas, name, place).map_err(|problem| report.add(*problem)).ok()
    };
    for sink in &mut config.sinks {
        let is_container = |encode: &&AvroEncoding| encode.framing == Framing::Bare && !encode.schema.is_empty();
        let Some(encode) = sink.encode.as_ref().filter(is_container) else { continue };
        let format = known(&encode.schema, &encode.place).map(|schema| ContainerFormat { schema, codec: encode.codec });
        if let Some(Err(why)) = format.as_ref().map(|format| ContainerWriter::new(format, SyncMarker::default())) {
            report.add(Problem::error(encode.place.clone(), why));
        }
        match &mut sink.kind {
            SinkKind::File(_, file) | SinkKind::Files(_, file) => file.container = format,
            SinkKind::Folder(folder) => folder.container = format,
            // Refused when it was read.
            SinkKind::Stdout
            | SinkKind::Nats(_)
            | SinkKind::Webhook(_)
            | SinkKind::Bus(_)
            | SinkKind::Exec(_)
            | SinkKind::Program(_)
            | SinkKind::Null => {}
        }
    }
    for source in &mut config.sources {
        if let SourceKind::AvroFile(files) = &mut source.kind {
            files.reader = files.reader_schema.as_ref().and_then(|(name, place)| known(name, place));
        }
    }
}

/// Warns of schemas that have changed for sinks whose files have the one of the start.
pub(crate) fn check_files(config: &Config, schemas: &AvroSchemas, report: &ProblemReport) {
    for sink in &config.sinks {
        let (Some(encode), Some(format)) = (&sink.encode, sink.container()) else { continue };
        if schemas.get(&encode.schema).as_ref() != Some(&format.schema) {
            let message = format!("sink `{}` goes on writing by `{}` as it was at the start", sink.name, encode.schema);
            report.add(Problem::warning(encode.place.clone(), message).hint("start the router again"));
        }
    }
}

/// Warns of schemas of a reader's type that the reader of a key can't read.
pub(crate) fn check_readers(dir: &Path, folder: &Path, registry: &RegistryConfig, report: &ProblemReport) {
    let shown = folder.strip_prefix(dir).unwrap_or(folder);
    let writers: Vec<_> = registry.avro.names().filter_map(|name| registry.avro.get(name)).collect();
    for key in &registry.keys {
        let (WireFormat::Avro(Some(reader)) | WireFormat::Auto(Some(reader))) = &key.decode else { continue };
        for writer in writers.iter().filter(|writer| writer.is_meant_for(reader)) {
            let (extent, why) = match writer.read_by(reader) {
                ReadVerdict::All => continue,
                ReadVerdict::Some(reasons) => ("only a part of what", reasons.join(", ")),
                ReadVerdict::Nothing(why) => ("nothing of what", why),
            };
            let file = format!("{}.avsc", writer.name());
            let place =
                if folder.join(&file).is_file() { ConfigPlace::file(shown.join(file)) } else { key.place.clone() };
            let message = format!(
                "key `{}`, which reads by `{}`, can read {extent} `{}` writes: {why}",
                key.name,
                reader.name(),
                writer.name()
            );
            let hint =
                "give fields that are missing a default in the reader's schema; `trommel schemas check` compares two";
            report.add(Problem::warning(place, message).hint(hint));
        }
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

//! The Avro schemas of a router's folder, and those of its presets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    config::{ConfigPlace, LARGEST_SCHEMA, Preset, Problem, UnknownName, known_schema},
    listing::FolderFiles,
    problem::ProblemReport,
};
use trommel_avro::AvroSchemas;

/// Reads `schemas/*.avsc`. Returns `None` if one of them is invalid; the error is then in the
/// report.
pub(crate) fn schemas(
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

fn stem(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

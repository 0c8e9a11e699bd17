//! `[[sink]]` of type `file`.

use crate::{
    config::{ConfigPlace, FilePath, FileSink, FileUpkeep, Fsync, Problem, RecordSettings, SinkKind},
    json::SecretName,
    table::TomlTable,
};

/// Smallest limit: the text that replaces an oversized value needs some room itself.
const LEAST_MAX: u64 = 256;

/// The files that sinks write, and the positions of their settings.
#[derive(Default)]
pub(crate) struct SinkFiles(Vec<(FilePath, ConfigPlace)>);

impl SinkFiles {
    /// Reports a file that is claimed twice: two writers of one file would rotate it away under
    /// each other.
    pub(crate) fn claim(&mut self, table: &TomlTable<'_>, field: &str, path: FilePath) {
        let place = table.place_of(field);
        if let Some((other, first)) = self.0.iter().find(|(other, _)| other.meets(&path)) {
            let problem = match (&path, other) {
                (FilePath::One(path), FilePath::One(_)) => {
                    Problem::error(place, format!("the file `{}` appears twice", path.display()))
                        .hint(format!("first at {first}"))
                }
                _ => Problem::error(place, "an output may have the same file here and in another sink")
                    .hint(format!("name another folder than at {first}")),
            };
            table.report(problem);
            return;
        }
        self.0.push((path, place));
    }
}

pub(crate) fn file(table: &mut TomlTable<'_>, files: &mut SinkFiles) -> Option<SinkKind> {
    let dir = table.dir();
    let path = table.required("path", |table, field| table.parsed(field, |text| FilePath::parse(dir, text)));
    let settings = FileSink { upkeep: upkeep(table), record: record(table), container: None };
    let path = path?;
    files.claim(table, "path", path.clone());
    Some(match path {
        FilePath::One(path) => SinkKind::File(path, settings),
        FilePath::Many(template) => SinkKind::Files(template, settings),
    })
}

fn upkeep(table: &mut TomlTable<'_>) -> FileUpkeep {
    let max_size = table.size("max_size");
    let max_age = table.duration("max_age");
    let keep = table.positive("keep", usize::MAX);
    let fsync = fsync(table);
    if table.has("keep") && !table.has("max_size") && !table.has("max_age") {
        let hint = "say when to rotate with `max_size` or `max_age`".to_owned();
        table.error(table.place_of("keep"), "`keep` means nothing for a file that is never rotated", Some(hint));
    }
    FileUpkeep { max_size, max_age, keep, fsync }
}

pub(crate) fn fsync(table: &mut TomlTable<'_>) -> Fsync {
    table.choice("fsync", &[("never", Fsync::Never), ("batch", Fsync::Batch)]).unwrap_or_default()
}

fn record(table: &mut TomlTable<'_>) -> RecordSettings {
    let redact = if table.holds_flag("redact") {
        table.flag("redact").filter(|redact| *redact).map(|_| SecretName::defaults())
    } else {
        let names = table.list("redact", secret_name);
        if names.as_ref().is_some_and(Vec::is_empty) {
            let hint = "leave it out, or write `true` for the names that are mostly meant".to_owned();
            table.error(table.place_of("redact"), "`redact` names nothing", Some(hint));
        }
        names
    };
    let max_field = table.size_from("max_field", LEAST_MAX);
    let max_record = table.size_from("max_record", LEAST_MAX);
    if let (Some(field), Some(record)) = (max_field, max_record)
        && field > record
    {
        let hint = "a member of that size would make its whole record too large".to_owned();
        table.error(table.place_of("max_field"), "`max_field` is larger than `max_record`", Some(hint));
    }
    RecordSettings { redact: redact.unwrap_or_default(), max_field, max_record }
}

fn secret_name(text: &str) -> Result<SecretName, String> {
    if matches!(text, "true" | "false") {
        // As a name, it would leave every secret unredacted.
        return Err(format!("write `{text}` without quotes"));
    }
    text.parse::<SecretName>().map_err(|error| error.to_string())
}

//! Positions of the tables of `trommel.toml`, for problems that are found later.

use std::path::Path;

use crate::{
    config::{Config, ConfigPlace},
    document::TomlDocument,
    listing::FolderFiles,
    load::SETTINGS,
    problem::ProblemReport,
    table::TomlTable,
};

/// Tables that there are many of, each with a name.
const NAMED: [&str; 3] = ["source", "sink", "stream"];
/// Tables that there is one of.
const SINGLE: [&str; 8] = ["nats", "admin", "api", "webhooks", "dead_letter", "limits", "state", "telemetry"];

/// Positions of the tables of `trommel.toml`, by their names.
#[derive(Clone, Debug, Default)]
pub struct DeclaredPlaces(Vec<(&'static str, Option<String>, ConfigPlace)>);

impl DeclaredPlaces {
    /// Reads the positions of a folder that is known to be good.
    pub fn read(config: &Config) -> Self {
        let files = FolderFiles { dir: config.dir.clone(), texts: config.texts.clone() };
        let report = ProblemReport::default();
        let document = TomlDocument::open(&files, Path::new(SETTINGS), &report);
        Self(document.and_then(|document| document.read(places)).unwrap_or_default())
    }

    /// The position of `[table]`, or of the `[[table]]` with this name; the file if there is none.
    pub fn of(&self, table: &str, name: Option<&str>) -> ConfigPlace {
        let is_it = |(of, named, _): &&(&str, Option<String>, _)| *of == table && named.as_deref() == name;
        self.0.iter().find(is_it).map_or_else(|| ConfigPlace::file(SETTINGS), |(.., place)| place.clone())
    }
}

fn places(root: &mut TomlTable<'_>) -> Vec<(&'static str, Option<String>, ConfigPlace)> {
    let mut places = Vec::new();
    for kind in NAMED {
        places.extend(root.tables(kind, |table| {
            let name = table.text("name");
            table.ignore_rest();
            (kind, name, table.place())
        }));
    }
    for kind in SINGLE {
        places.extend(root.table(kind, |table| {
            table.ignore_rest();
            (kind, None, table.place())
        }));
    }
    root.ignore_rest();
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TextPosition;

    #[test]
    fn a_table_is_found_by_its_name() {
        let text = "[nats]\nurl = \"nats://a\"\n\n[[source]]\nname = \"in\"\ntype = \"lines\"\n\n[[sink]]\nname = \"out\"\n\
            type = \"stdout\"\n";
        let key = "[[key]]\nkey = \"a\"\nsubject = \"a\"\n";
        let config = crate::parse(&std::env::temp_dir(), [(SETTINGS, text), ("keys/a.toml", key)]).unwrap();
        let places = DeclaredPlaces::read(&config);
        let line = |table, name| places.of(table, name).position.map(|TextPosition { line, .. }| line);
        assert_eq!(line("nats", None), Some(1));
        assert_eq!((line("source", Some("in")), line("sink", Some("out"))), (Some(4), Some(8)));
        assert_eq!((line("sink", Some("other")), line("admin", None)), (None, None));
    }
}

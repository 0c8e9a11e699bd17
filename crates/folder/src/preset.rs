//! `[[preset]]`: event families that are built into trommel.

use std::{path::Path, time::Duration};

use crate::{
    config::{Preset, StreamConfig, StreamLimit},
    document::TomlDocument,
    problem::ProblemReport,
    stream::{self, stream},
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
};

mod helix;

const CTRLPLANE: &str = include_str!("preset/ctrlplane/ctrlplane.toml");
const FLOWCRAFT: &str = include_str!("preset/flowcraft/flowcraft.toml");
const LARK: &str = include_str!("preset/lark/lark.toml");
/// What the components that ship for Lark put out.
const LARK_SCHEMAS: [(&str, &str); 3] = [
    ("lark/flatten.json", include_str!("preset/lark/flatten.json")),
    ("lark/im-message.json", include_str!("preset/lark/im-message.json")),
    ("lark/mail.json", include_str!("preset/lark/mail.json")),
];
const JB_MESH: &str = include_str!("preset/jb-mesh/jb-mesh.toml");

/// The keys and streams of an event family, as a file of the folder.
pub(crate) fn document<'a>(preset: &Preset, dir: &'a Path, report: &'a ProblemReport) -> TomlDocument<'a> {
    let file = Path::new("preset").join(preset.name).with_extension("toml");
    TomlDocument::of(dir, &file, preset.text.clone(), report)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventFamily {
    Ctrlplane,
    Flowcraft,
    Helix,
    JbMesh,
    Lark,
}

/// What a folder says of a preset's streams.
struct StreamOptions {
    is_left_out: bool,
    replicas: Option<usize>,
    max_age: Option<StreamLimit<Duration>>,
}

/// A preset with its streams.
type PresetStreams = (Preset, Vec<PlacedValue<StreamConfig>>);

pub(crate) fn preset(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<PresetStreams> {
    let families = [
        ("ctrlplane", EventFamily::Ctrlplane),
        ("flowcraft", EventFamily::Flowcraft),
        ("helix", EventFamily::Helix),
        ("jb-mesh", EventFamily::JbMesh),
        ("lark", EventFamily::Lark),
    ];
    let family = table.required("name", |table, field| table.choice(field, &families))?;
    let options = StreamOptions {
        is_left_out: table.flag("streams") == Some(false),
        replicas: stream::replicas(table),
        max_age: stream::max_age(table),
    };
    let (name, text, avro) = match family {
        EventFamily::Helix => ("helix", helix::text(table)?, helix::AVRO.as_slice()),
        EventFamily::Ctrlplane => ("ctrlplane", CTRLPLANE.to_owned(), &[][..]),
        EventFamily::Flowcraft => ("flowcraft", FLOWCRAFT.to_owned(), &[][..]),
        EventFamily::JbMesh => ("jb-mesh", JB_MESH.to_owned(), &[][..]),
        EventFamily::Lark => ("lark", LARK.to_owned(), &[][..]),
    };
    names.claim(table, name, table.place_of("name"), format!("preset `{name}`"));
    let schemas = if family == EventFamily::Lark { LARK_SCHEMAS.as_slice() } else { &[] };
    let preset = Preset { name, text, avro, schemas };
    let streams = streams(table, &preset, options);
    Some((preset, streams))
}

/// The streams of a preset, with what its options say of them. What else it says is for those that
/// are created: an existing stream is taken as it is.
fn streams(table: &TomlTable<'_>, preset: &Preset, options: StreamOptions) -> Vec<PlacedValue<StreamConfig>> {
    let StreamOptions { is_left_out, replicas, max_age } = options;
    let mut names = ClaimedValues::default();
    let read = |table: &mut TomlTable<'_>| {
        table.ignore_rest();
        table.tables("stream", |table| stream(table, &mut names, &[])).into_iter().flatten().collect::<Vec<_>>()
    };
    let streams = document(preset, table.dir(), table.problems()).read(read).unwrap_or_default();
    if streams.is_empty() || is_left_out {
        let options = ["streams", "replicas", "max_age"].into_iter().filter(|option| table.has(option));
        for option in options.filter(|option| streams.is_empty() || *option != "streams") {
            let message = format!("preset `{}` declares no streams that `{option}` could be for", preset.name);
            table.error(table.place_of(option), message, Some("leave it out".to_owned()));
        }
        return Vec::new();
    }
    let adopting = |PlacedValue { value, place }: PlacedValue<StreamConfig>| {
        let (name, subjects) = (value.name.clone(), value.subjects.clone());
        let at_creation = Some(Box::new(value));
        let value = StreamConfig { name, subjects, replicas, max_age, at_creation, ..StreamConfig::default() };
        PlacedValue { value, place }
    };
    streams.into_iter().map(adopting).collect()
}

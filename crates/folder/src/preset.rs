//! `[[preset]]`: event families that are built into trommel.

use std::path::Path;

use crate::{
    config::{Preset, StreamConfig, values},
    document::TomlDocument,
    problem::ProblemReport,
    stream::stream,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
};

const CTRLPLANE: &str = include_str!("preset/ctrlplane/ctrlplane.toml");
const FLOWCRAFT: &str = include_str!("preset/flowcraft/flowcraft.toml");
const HELIX: &str = include_str!("preset/helix/helix.toml");
const HELIX_AUDIT: &str = include_str!("preset/helix/audit.toml");
const LARK: &str = include_str!("preset/lark/lark.toml");
const JB_MESH: &str = include_str!("preset/jb-mesh/jb-mesh.toml");

/// Avro schemas of Helix, by the names that `reader_schema` uses for them.
const HELIX_AVRO: [(&str, &str); 5] = [
    ("helix-node-v1", include_str!("preset/helix/node-v1.avsc")),
    ("helix-node-v2", include_str!("preset/helix/node-v2.avsc")),
    ("helix-session", include_str!("preset/helix/session.avsc")),
    ("helix-scheduler", include_str!("preset/helix/scheduler.avsc")),
    ("helix-audit", include_str!("preset/helix/audit.avsc")),
];

/// The streams of an event family.
pub(crate) fn streams(preset: &Preset, dir: &Path, report: &ProblemReport) -> Vec<PlacedValue<StreamConfig>> {
    let mut names = ClaimedValues::default();
    let read = |table: &mut TomlTable<'_>| {
        table.ignore_rest();
        table.tables("stream", |table| stream(table, &mut names)).into_iter().flatten().collect()
    };
    document(preset, dir, report).read(read).unwrap_or_default()
}

/// Its keys and streams, as a file of the folder.
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

pub(crate) fn preset(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<Preset> {
    let families = [
        ("ctrlplane", EventFamily::Ctrlplane),
        ("flowcraft", EventFamily::Flowcraft),
        ("helix", EventFamily::Helix),
        ("jb-mesh", EventFamily::JbMesh),
        ("lark", EventFamily::Lark),
    ];
    let family = table.required("name", |table, field| table.choice(field, &families))?;
    let (name, text, avro) = match family {
        EventFamily::Helix => {
            let prefix = table.parsed("subject_prefix", values::server_subject);
            let prefix = prefix.or_else(|| (!table.has("subject_prefix")).then(|| "helix".to_owned()))?;
            // X1, H16
            let audit = if table.flag("audit").unwrap_or(false) { HELIX_AUDIT } else { "" };
            ("helix", format!("{HELIX}{audit}").replace("{prefix}", &prefix), HELIX_AVRO.as_slice())
        }
        EventFamily::Ctrlplane => ("ctrlplane", CTRLPLANE.to_owned(), &[][..]),
        EventFamily::Flowcraft => ("flowcraft", FLOWCRAFT.to_owned(), &[][..]),
        EventFamily::JbMesh => ("jb-mesh", JB_MESH.to_owned(), &[][..]),
        EventFamily::Lark => ("lark", LARK.to_owned(), &[][..]),
    };
    names.claim(table, name, table.place_of("name"), format!("preset `{name}`"));
    Some(Preset { name, text, avro })
}

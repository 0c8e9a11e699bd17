//! `[[preset]]`: streams, keys and schemas of event families that are built into trommel.

use std::path::Path;

use super::{
    StreamConfig,
    document::TomlDocument,
    problem::ProblemReport,
    stream::stream,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
    values,
};

/// An enabled event family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    family: EventFamily,
    /// Its declarations, as a user would write them.
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EventFamily {
    Ctrlplane,
    Flowcraft,
    Helix,
    JbMesh,
}

const CTRLPLANE: &str = include_str!("preset/ctrlplane/ctrlplane.toml");
const FLOWCRAFT: &str = include_str!("preset/flowcraft/flowcraft.toml");
const HELIX: &str = include_str!("preset/helix/helix.toml");
const HELIX_AUDIT: &str = include_str!("preset/helix/audit.toml");
const JB_MESH: &str = include_str!("preset/jb-mesh/jb-mesh.toml");

/// Avro schemas of Helix, by the names that `reader_schema` uses for them.
const HELIX_AVRO: [(&str, &str); 5] = [
    ("helix-node-v1", include_str!("preset/helix/node-v1.avsc")),
    ("helix-node-v2", include_str!("preset/helix/node-v2.avsc")),
    ("helix-session", include_str!("preset/helix/session.avsc")),
    ("helix-scheduler", include_str!("preset/helix/scheduler.avsc")),
    ("helix-audit", include_str!("preset/helix/audit.avsc")),
];

impl Preset {
    /// The name in messages and file positions.
    pub(super) fn name(&self) -> &'static str {
        match self.family {
            EventFamily::Ctrlplane => "ctrlplane",
            EventFamily::Flowcraft => "flowcraft",
            EventFamily::Helix => "helix",
            EventFamily::JbMesh => "jb-mesh",
        }
    }

    /// The streams of the family.
    pub(super) fn streams(&self, dir: &Path, report: &ProblemReport) -> Vec<PlacedValue<StreamConfig>> {
        let mut names = ClaimedValues::default();
        let read = |table: &mut TomlTable<'_>| {
            table.ignore_rest();
            table.tables("stream", |table| stream(table, &mut names)).into_iter().flatten().collect()
        };
        self.document(dir, report).read(read).unwrap_or_default()
    }

    /// Its keys and streams, as a file of the folder.
    pub(super) fn document<'a>(&self, dir: &'a Path, report: &'a ProblemReport) -> TomlDocument<'a> {
        let file = Path::new("preset").join(self.name()).with_extension("toml");
        TomlDocument::of(dir, &file, self.text.clone(), report)
    }

    pub(super) fn avro(&self) -> &'static [(&'static str, &'static str)] {
        match self.family {
            EventFamily::Helix => &HELIX_AVRO,
            EventFamily::Ctrlplane | EventFamily::Flowcraft | EventFamily::JbMesh => &[],
        }
    }
}

pub(super) fn preset(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<Preset> {
    let families = [
        ("ctrlplane", EventFamily::Ctrlplane),
        ("flowcraft", EventFamily::Flowcraft),
        ("helix", EventFamily::Helix),
        ("jb-mesh", EventFamily::JbMesh),
    ];
    let family = table.required("name", |table, field| table.choice(field, &families))?;
    let text = match family {
        EventFamily::Helix => {
            let prefix = table.parsed("subject_prefix", values::server_subject);
            let prefix = prefix.or_else(|| (!table.has("subject_prefix")).then(|| "helix".to_owned()))?;
            // X1, H16
            let audit = if table.flag("audit").unwrap_or(false) { HELIX_AUDIT } else { "" };
            format!("{HELIX}{audit}").replace("{prefix}", &prefix)
        }
        EventFamily::Ctrlplane => CTRLPLANE.to_owned(),
        EventFamily::Flowcraft => FLOWCRAFT.to_owned(),
        EventFamily::JbMesh => JB_MESH.to_owned(),
    };
    let preset = Preset { family, text };
    names.claim(table, preset.name(), table.place_of("name"), format!("preset `{}`", preset.name()));
    Some(preset)
}

//! The preset of Helix: its wires, and the streams, keys and schemas on them.

use crate::{config::values, table::TomlTable};

const KEYS: &str = include_str!("helix/helix.toml");
const AUDIT: &str = include_str!("helix/audit.toml");

/// Avro schemas, by the names that `reader_schema` uses for them.
pub(super) const AVRO: [(&str, &str); 5] = [
    ("helix-node-v1", include_str!("helix/node-v1.avsc")),
    ("helix-node-v2", include_str!("helix/node-v2.avsc")),
    ("helix-session", include_str!("helix/session.avsc")),
    ("helix-scheduler", include_str!("helix/scheduler.avsc")),
    ("helix-audit", include_str!("helix/audit.avsc")),
];

/// The domains of events, each with a stream of its own.
const DOMAINS: [&str; 5] = ["nodes", "sessions", "scheduler", "health", "alerts"];

/// The subjects and streams that a cluster's programs use (X1, H12, H17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HelixWire {
    /// The table of streams: `helix.nodes.>` in `HELIX_NODES`, and so on.
    Helix,
    /// `HelixBackend`: `nodes.>` in `HELIX_NODES`, and so on.
    HelixBackend,
    /// `NATSBackend`: everything as `eventbus.>` in `EVENTBUS`.
    NatsBackend,
}

/// The streams and keys, as a user would write them.
pub(super) fn text(table: &mut TomlTable<'_>) -> Option<String> {
    let wires = [
        ("helix", HelixWire::Helix),
        ("helix-backend", HelixWire::HelixBackend),
        ("nats-backend", HelixWire::NatsBackend),
    ];
    let wire = table.choice("wire", &wires);
    let prefix = table.parsed("subject_prefix", values::server_subject);
    let audit = table.flag("audit").unwrap_or(false);
    let wire = wire.or_else(|| (!table.has("wire")).then_some(HelixWire::Helix))?;
    if wire != HelixWire::Helix && table.has("subject_prefix") {
        let hint = "leave one of them out: `subject_prefix` is for `wire = \"helix\"`".to_owned();
        table.error(table.place_of("subject_prefix"), "the subjects follow from `wire`", Some(hint));
    }
    let prefix = match wire {
        HelixWire::Helix if table.has("subject_prefix") => format!("{}.", prefix?),
        HelixWire::Helix => "helix.".to_owned(),
        HelixWire::HelixBackend => String::new(),
        HelixWire::NatsBackend => "eventbus.".to_owned(),
    };
    let streams = if wire == HelixWire::NatsBackend {
        stream("EVENTBUS", &format!("{prefix}>"))
    } else {
        // H16
        let domains = DOMAINS.into_iter().chain(audit.then_some("audit"));
        domains
            .map(|domain| stream(&format!("HELIX_{}", domain.to_uppercase()), &format!("{prefix}{domain}.>")))
            .collect()
    };
    let keys = if audit { [KEYS, AUDIT].concat() } else { KEYS.to_owned() };
    Some(streams + &keys.replace("{prefix}", &prefix))
}

/// A stream as the page of Helix has it (H02).
fn stream(name: &str, subject: &str) -> String {
    format!(
        "[[stream]]\nname = \"{name}\"\nsubjects = [\"{subject}\"]\nmax_age = \"24h\"\nreplicas = 1\nstorage = \"file\"\n\n"
    )
}

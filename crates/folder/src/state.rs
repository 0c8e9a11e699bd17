//! `[state]`: where filters keep values, and how much.

use crate::{
    config::{StateBucket, StateConfig, StateKeeping, values},
    settings::NO_SERVER,
    table::TomlTable,
};

const BUCKET: &str = "trommel_state";
const MAX_BYTES: u64 = 256 << 20;

/// Most replicas that a server makes of a stream.
const MOST_REPLICAS: usize = 5;

pub(crate) fn state(table: &mut TomlTable<'_>, has_server: bool) -> StateConfig {
    let is_shared = table.choice("store", &[("memory", false), ("nats", true)]).unwrap_or_default();
    let default = StateConfig::default();
    let key_bytes = table.memory_size("key_bytes").unwrap_or(default.key_bytes);
    let route_bytes = table.memory_size("route_bytes");
    let max_age = table.duration("max_age");
    let bucket = StateBucket {
        name: table.parsed("bucket", values::server_name).unwrap_or_else(|| BUCKET.to_owned()),
        replicas: table.positive("replicas", MOST_REPLICAS).map(Into::into),
        max_bytes: table.size("max_bytes").unwrap_or(MAX_BYTES),
    };
    if is_shared && !has_server {
        table.error(table.place_of("store"), "`store = \"nats\"` needs a server", Some(NO_SERVER.into()));
    }
    if !is_shared {
        for name in ["bucket", "replicas", "max_bytes"].into_iter().filter(|name| table.has(name)) {
            let hint = "add `store = \"nats\"`; in memory, `[limits] state` is what all filters together may keep";
            table.error(table.place_of(name), format!("`{name}` is of a bucket on the server"), Some(hint.into()));
        }
    }
    let keeping = if is_shared { StateKeeping::Nats(bucket) } else { StateKeeping::Memory };
    StateConfig { keeping, key_bytes, route_bytes, max_age }
}

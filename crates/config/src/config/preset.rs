//! Presets: streams, keys and schemas of event families that are built into trommel.

/// An enabled event family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name in messages and file positions.
    pub name: &'static str,
    /// Its streams and keys, as a user would write them.
    pub text: String,
    /// Its Avro schemas, by the names that `reader_schema` uses for them.
    pub avro: &'static [(&'static str, &'static str)],
    /// Its JSON Schemas, by the names that `file` in `[key.schema]` uses for them.
    pub schemas: &'static [(&'static str, &'static str)],
}

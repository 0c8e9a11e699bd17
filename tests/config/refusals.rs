//! What is said of a folder that can't be used, by the part of it that a test writes.

use crate::config_folder::ConfigFolder;

/// All that is said about a folder with these files and a component, `plugins/orders.wasm`.
pub fn problems(files: &[(&str, &str)]) -> String {
    ConfigFolder::of(&[&[("plugins/orders.wasm", "")], files].concat()).problems()
}

/// What is said about `trommel.toml`.
pub fn in_settings(text: &str) -> String {
    problems(&[("trommel.toml", text)])
}

/// What is said about `trommel.toml` with this beside a source.
pub fn beside_source(text: &str) -> String {
    in_settings(&format!("{text}\n[[source]]\nname = \"in\"\ntype = \"lines\"\n"))
}

pub const SETTINGS: &str = "
[[source]]
name = \"in\"
type = \"lines\"

[[sink]]
name = \"out\"
type = \"stdout\"

[[sink]]
name = \"large\"
type = \"null\"
";

/// What is said about `keys/orders.toml` beside good settings.
pub fn in_keys(text: &str) -> String {
    problems(&[("trommel.toml", SETTINGS), ("keys/orders.toml", text)])
}

/// What is said about a route, beside a key with params.
pub fn in_route(text: &str) -> String {
    in_keys(&format!(
        r#"[[key]]
key = "orders.large"
subject = "orders.>"
filter = "orders"
params = [
    {{ name = "min_amount", type = "int", required = true, description = "Smallest amount that passes" }},
    {{ name = "regions", type = "multi", values = {{ eu = "Europe", us = "America", asia = "Asia" }} }},
    {{ name = "currency", type = "enum", values = {{ eur = "Euro", usd = "Dollar" }}, default = "eur" }},
    {{ name = "paid", type = "bool" }},
]

[[key]]
key = "orders.all"
subject = "orders.>"

[[route]]
{text}"#
    ))
}

/// What is said about a key with these fields, beside these schemas.
pub fn in_schema(fields: &str, schemas: &[(&str, &str)]) -> String {
    let key = format!("[[key]]\nkey = \"orders\"\nsubject = \"orders.>\"\n{fields}\n");
    problems(&[&[("trommel.toml", SETTINGS), ("keys/orders.toml", key.as_str())], schemas].concat())
}

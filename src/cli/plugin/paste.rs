//! Key file and settings that a filter asks for in its manifest, to be pasted and completed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    endpoint::Endpoint,
    filter::{Filter, FilterNeeds},
};

/// Returns the key file and the settings of a filter. `None` if its manifest says nothing of what
/// it needs.
pub(super) fn files(filter: &Filter) -> Option<String> {
    let manifest = filter.manifest();
    let needs = &manifest.needs;
    if *needs == FilterNeeds::default() && manifest.capabilities.is_empty() {
        return None;
    }
    let name = filter.name();
    let mut key = vec![
        format!("# keys/{name}.toml"),
        "[[key]]".to_owned(),
        format!("key = {}", text(name)),
        "subject = \"…\"".to_owned(),
        format!("filter = {}", text(name)),
    ];
    if !needs.endpoints.is_empty() {
        key.push(format!("api = {}", list(needs.endpoints.iter().cloned())));
    }
    for param in &needs.params {
        key.push("[[key.params]]".to_owned());
        key.push(format!("name = {}", text(&param.name)));
        key.push(format!("type = {}", text(param.kind.word())));
        if param.required {
            key.push("required = true".to_owned());
        }
        key.extend(param.default.iter().map(|default| format!("default = {}", text(default))));
        if !param.description.is_empty() {
            key.push(format!("description = {}", text(&param.description)));
        }
        if !param.values.is_empty() {
            let values = param.values.iter().map(|(value, meaning)| format!("{} = {}", text(value), text(meaning)));
            key.push(format!("values = {{ {} }}", values.collect::<Vec<_>>().join(", ")));
        }
    }
    let mut settings =
        vec![format!("# filters/{name}.toml"), "[[filter]]".to_owned(), format!("name = {}", text(name))];
    if !manifest.capabilities.is_empty() {
        let why = manifest.capabilities.iter().filter_map(|wish| Some((wish, needs.reasons.get(wish)?)));
        settings
            .extend(why.filter(|(_, why)| !why.is_empty()).map(|(wish, why)| format!("# {wish}: {}", one_line(why))));
        settings.push(format!("grants = {}", list(manifest.capabilities.iter().cloned())));
    }
    settings.extend(needs.memory.map(|memory| format!("limits = {{ memory = {memory} }}")));
    let has_settings = settings.len() > 3;
    let settings = if has_settings { format!("\n\n{}", settings.join("\n")) } else { String::new() };
    Some(key.join("\n") + &settings + &apis(needs))
}

/// Tables for the APIs with names that a filter calls.
fn apis(needs: &FilterNeeds) -> String {
    let endpoints: Vec<Endpoint> = needs.endpoints.iter().filter_map(|text| text.parse().ok()).collect();
    let names: BTreeSet<&str> = endpoints.iter().map(Endpoint::api).filter(|name| !name.is_empty()).collect();
    let tables = names.into_iter().map(|name| format!("\n\n# trommel.toml\n[apis.{}]\nbase_url = \"…\"", text(name)));
    tables.collect()
}

/// A TOML string, which is written as JSON's are.
fn text(text: &str) -> String {
    Value::from(text).to_string()
}

fn list(texts: impl Iterator<Item = String>) -> String {
    format!("[{}]", texts.map(|one| text(&one)).collect::<Vec<_>>().join(", "))
}

fn one_line(said: &str) -> String {
    said.replace(['\n', '\r'], " ")
}

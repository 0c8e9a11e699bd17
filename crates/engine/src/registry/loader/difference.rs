//! What a reload has changed, by name.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::components::{FiltersByName, ServedComponent};
use crate::config::{ConfigPlace, FilterSettings, KeyConfig, RegistryConfig, RouteConfig, TypeSelection, Webhook};

/// Names that one line lists; of more it has the number.
const LISTED: usize = 8;

/// Entries of the registry that differ between two generations.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct RegistryDifference(pub Vec<ChangedEntry>);

/// An entry of the registry that has changed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ChangedEntry {
    pub what: EntryKind,
    /// Its name, of a component with version and digest.
    pub name: String,
    pub how: EntryChange,
    /// The file that declares it, as far as there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    Key,
    Webhook,
    Component,
    Schemas,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryChange {
    Added,
    Changed,
    Removed,
}

impl fmt::Display for ChangedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            EntryKind::Key => "key ",
            EntryKind::Webhook => "webhook ",
            EntryKind::Component => "component ",
            EntryKind::Schemas => "",
        };
        write!(f, "{what}{}", self.name)
    }
}

impl RegistryDifference {
    /// Finds what differs between two registries and their components.
    pub(super) fn between(
        (old, old_filters): (&RegistryConfig, &FiltersByName),
        (new, new_filters): (&RegistryConfig, &FiltersByName),
    ) -> Self {
        let mut entries = Vec::new();
        entries.extend(difference(EntryKind::Key, &declared_keys(old), &declared_keys(new)));
        entries.extend(difference(EntryKind::Webhook, &webhooks(old), &webhooks(new)));
        entries.extend(difference(EntryKind::Component, &components(old_filters), &components(new_filters)));
        if old.avro != new.avro {
            let name = "Avro schemas".to_owned();
            entries.push(ChangedEntry { what: EntryKind::Schemas, name, how: EntryChange::Changed, file: None });
        }
        Self(entries)
    }

    /// Lists the entries that changed in one way; `None` if none did.
    pub fn listed(&self, how: EntryChange) -> Option<String> {
        listed(self.0.iter().filter(|entry| entry.how == how).map(ToString::to_string))
    }

    /// Lists the files of all entries; `None` if there is none.
    pub fn files(&self) -> Option<String> {
        let files: BTreeSet<_> = self.0.iter().filter_map(|entry| entry.file.as_deref()).collect();
        listed(files.into_iter().map(str::to_owned))
    }
}

fn listed(all: impl Iterator<Item = String>) -> Option<String> {
    let all: Vec<_> = all.collect();
    let (first, rest) = all.split_at(all.len().min(LISTED));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    (!first.is_empty()).then(|| format!("{}{more}", first.join(", ")))
}

/// A named entry: its content, whatever its position, its file and how it is shown.
struct NamedEntry<T> {
    name: String,
    content: T,
    file: Option<String>,
    shown: String,
}

fn difference<T: PartialEq>(what: EntryKind, old: &[NamedEntry<T>], new: &[NamedEntry<T>]) -> Vec<ChangedEntry> {
    let find = |all: &[NamedEntry<T>], name: &str| all.binary_search_by(|entry| (*entry.name).cmp(name)).ok();
    let entry = |of: &NamedEntry<T>, how| ChangedEntry { what, name: of.shown.clone(), how, file: of.file.clone() };
    let mut changed = Vec::new();
    for one in new {
        match find(old, &one.name).map(|found| &old[found]) {
            None => changed.push(entry(one, EntryChange::Added)),
            Some(before) if before.content != one.content => changed.push(entry(one, EntryChange::Changed)),
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|one| find(new, &one.name).is_none());
    changed.extend(gone.map(|one| entry(one, EntryChange::Removed)));
    changed
}

fn sorted<T>(mut all: Vec<NamedEntry<T>>) -> Vec<NamedEntry<T>> {
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn nowhere() -> ConfigPlace {
    ConfigPlace::file("")
}

/// A key with its routes, wherever they are in their files.
type DeclaredKey = (KeyConfig, Vec<RouteConfig>, Option<(TypeSelection, Vec<String>)>);

fn declared_keys(registry: &RegistryConfig) -> Vec<NamedEntry<DeclaredKey>> {
    let mut routes = HashMap::<&str, Vec<RouteConfig>>::new();
    for route in &registry.routes {
        routes.entry(&route.key).or_default().push(RouteConfig { place: nowhere(), ..route.clone() });
    }
    let entry = |key: &KeyConfig, routes, types| {
        let content = (KeyConfig { place: nowhere(), ..key.clone() }, routes, types);
        NamedEntry { name: key.name.clone(), content, file: file(&key.place.file), shown: key.name.clone() }
    };
    let keys = registry.keys.iter().map(|key| entry(key, routes.remove(&*key.name).unwrap_or_default(), None));
    let mut all: Vec<_> = keys.collect();
    let by_type = registry.type_routes.iter();
    all.extend(by_type.map(|one| entry(&one.key, Vec::new(), Some((one.types.clone(), one.sinks.clone())))));
    sorted(all)
}

fn webhooks(registry: &RegistryConfig) -> Vec<NamedEntry<Webhook>> {
    let entry = |webhook: &Arc<Webhook>| {
        let content = Webhook { place: nowhere(), ..(**webhook).clone() };
        let name = &webhook.name;
        NamedEntry { name: name.clone(), content, file: file(&webhook.place.file), shown: name.clone() }
    };
    sorted(registry.webhooks.iter().map(entry).collect())
}

/// Components with their version and digest.
fn components(filters: &FiltersByName) -> Vec<NamedEntry<(String, FilterSettings)>> {
    let entry = |(name, component): (&String, &ServedComponent)| {
        let (digest, version) = (component.filter.digest(), &component.filter.manifest().version);
        let shown = format!("{name} {version} sha256:{}", digest.get(..12).unwrap_or(digest));
        let content = (digest.to_owned(), component.settings.clone());
        NamedEntry { name: name.clone(), content, file: Some(format!("plugins/{name}.wasm")), shown }
    };
    sorted(filters.iter().map(entry).collect())
}

fn file(path: &Path) -> Option<String> {
    (!path.as_os_str().is_empty()).then(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: usize, how: EntryChange) -> ChangedEntry {
        let file = Some(format!("keys/{}.toml", name % 2));
        ChangedEntry { what: EntryKind::Key, name: format!("k{name}"), how, file }
    }

    #[test]
    fn a_long_list_ends_with_a_number() {
        let difference = RegistryDifference((0..45).map(|name| entry(name, EntryChange::Added)).collect());
        let listed = difference.listed(EntryChange::Added).unwrap();
        assert!(listed.starts_with("key k0, key k1, ") && listed.ends_with("key k7 and 37 more"), "{listed}");
        assert_eq!(difference.listed(EntryChange::Removed), None);
        assert_eq!(difference.files().unwrap(), "keys/0.toml, keys/1.toml");
    }
}

//! The components in service: read from their files, tried against the keys that name them, and
//! rolled back.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::PathBuf,
};

use anyhow::{Context, bail, ensure};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
};

use super::Loader;
use crate::{
    config::{self, Config, ConfigPlace, FilterSettings, OnQuarantine, ParamKind, Problem},
    endpoint::Endpoint,
    filter::{self, Filter, LoadError},
    health::{HealthCell, HealthLevel},
    registry::ReloadReport,
    schema::SchemaForm,
};

/// What lifts the trouble of a filter.
const MEND: &str = "put a mended component in its place; the log has what broke";

/// The components in service, by name.
pub(super) type FiltersByName = BTreeMap<String, ServedComponent>;

#[derive(Clone)]
pub(super) struct ServedComponent {
    pub(super) filter: Filter,
    /// Settings that it was loaded with.
    pub(super) settings: FilterSettings,
    /// Last good component before this one, until it was rolled back to.
    previous: Option<Filter>,
    /// Digest of content that was tried and refused, so that it is not tried again until it
    /// changes.
    refused: Option<String>,
    /// True once it was logged that it is quarantined without an earlier component.
    given_up: bool,
}

impl ServedComponent {
    fn new(filter: Filter, settings: FilterSettings, previous: Option<Filter>) -> Self {
        Self { filter, settings, previous, refused: None, given_up: false }
    }

    /// Digest of the newest content of its file, if that was refused.
    pub(super) fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Lifts the quarantine of a component. Returns whether it was quarantined.
    pub(super) fn lift(&mut self) -> bool {
        let was_quarantined = self.filter.is_quarantined();
        if was_quarantined {
            self.filter.lift();
            self.given_up = false;
        }
        was_quarantined
    }

    /// Rolls back to the last good component if this one is quarantined.
    pub(super) fn roll_back(&mut self, settings: &FilterSettings, health: &HealthCell) {
        let (filter, on_quarantine) = (&settings.name, settings.on_quarantine);
        if !self.filter.is_quarantined() {
            return;
        }
        if let Some(previous) = self.previous.take() {
            let (from, to) = (self.filter.digest(), previous.digest());
            tracing::error!(filter, from, to, "quarantined, going back to the last good component");
            let why = format!("quarantined was the component {from}, the last good one, {to}, is in its place");
            health.report(HealthLevel::Degraded, why, MEND);
            self.refused = Some(from.to_owned());
            self.filter = previous;
        } else if !self.given_up {
            tracing::error!(filter, ?on_quarantine, "quarantined, and there is no earlier component to go back to");
            let events = match on_quarantine {
                OnQuarantine::Pause => "wait",
                OnQuarantine::DeadLetter => "become dead letters",
            };
            let why = format!("quarantined, since nearly all of its calls broke: its events {events}");
            health.report(HealthLevel::Down, why, MEND);
            self.given_up = true;
        }
    }
}

impl Loader {
    /// Loads every component that the registry names. Also returns the problems of those that
    /// failed.
    pub(super) async fn load_all(&self, registry: &config::RegistryConfig) -> (FiltersByName, Vec<Problem>) {
        let (mut filters, mut problems) = (FiltersByName::new(), Vec::new());
        for name in filter_names(registry) {
            let settings = self.settings(registry, &name);
            match self.load(&name, &settings).await {
                Ok(filter) => {
                    filters.insert(name, ServedComponent::new(filter, settings, None));
                }
                Err(error) => problems.push(self.problem(&name, &error)),
            }
        }
        (filters, problems)
    }

    /// Loads the components that the registry names: those whose content has changed are loaded
    /// anew and tried against the keys that name them, the rest is kept. Also returns the names of
    /// those that are still being loaded.
    pub(super) async fn load_changed(
        &mut self,
        registry: &config::RegistryConfig,
        report: &mut ReloadReport,
    ) -> (FiltersByName, BTreeSet<String>) {
        let (mut filters, mut waiting, names) = (FiltersByName::new(), BTreeSet::new(), filter_names(registry));
        self.compiling.retain(|name| names.contains(name));
        for name in names {
            let current = self.filters.get(&name).cloned();
            match self.candidate(&name, current.as_ref(), registry).await {
                Ok(None) => {
                    filters.extend(current.map(|current| (name.clone(), current)));
                    waiting.insert(name);
                }
                Ok(Some((filter, settings))) => {
                    let component = match current {
                        Some(current) if current.filter == filter => current,
                        Some(current) => ServedComponent::new(filter, settings, Some(current.filter)),
                        None => ServedComponent::new(filter, settings, None),
                    };
                    filters.insert(name, component);
                }
                Err((error, digest)) => {
                    let problem = self.problem(&name, &error);
                    if current.is_some() {
                        let why = format!("{}, the last good one stays in service", problem.message);
                        self.metrics.filter(&name).health.report(HealthLevel::Degraded, why, MEND);
                    }
                    report.refused.push(problem);
                    if let Some(current) = current {
                        filters.insert(name, ServedComponent { refused: digest, ..current });
                    }
                }
            }
        }
        (filters, waiting)
    }

    /// Notes the filters whose newest component is in service and not quarantined.
    pub(super) fn note_all_sound(&self, filters: &FiltersByName) {
        let sound = |component: &ServedComponent| component.refused.is_none() && !component.filter.is_quarantined();
        filters.iter().filter(|(_, component)| sound(component)).for_each(|(name, _)| self.note_sound(name));
    }

    fn note_sound(&self, name: &str) {
        if let Some(lasted) = self.metrics.filter(name).health.recover() {
            tracing::info!(filter = name, after = format!("{} s", lasted.as_secs()), "the filter is sound again");
        }
    }

    /// Makes keys wait for the components that are still being loaded: each stays as it is, or
    /// absent.
    pub(super) fn hold_back(
        &self,
        registry: &mut config::RegistryConfig,
        filters: &mut FiltersByName,
        waiting: &BTreeSet<String>,
    ) {
        if *registry == *self.registry {
            return;
        }
        let waits = |key: &config::KeyConfig| key.filter.as_ref().is_some_and(|filter| waiting.contains(filter));
        let held: BTreeSet<String> =
            registry.keys.iter().filter(|key| waits(key)).map(|key| key.name.clone()).collect();
        if held.is_empty() {
            return;
        }
        let is_held = |name: &String| held.contains(name);
        for key in &mut registry.keys {
            if is_held(&key.name)
                && let Some(current) = self.registry.keys.iter().find(|current| current.name == key.name)
            {
                key.clone_from(current);
            }
        }
        registry.keys.retain(|key| !waits(key) || self.registry.keys.iter().any(|current| current.name == key.name));
        registry.routes.retain(|route| !is_held(&route.key));
        registry.routes.extend(self.registry.routes.iter().filter(|route| is_held(&route.key)).cloned());
        for name in filter_names(registry) {
            if let Some(current) = self.filters.get(&name) {
                filters.entry(name).or_insert_with(|| current.clone());
            }
        }
    }

    /// Returns the filter for the component's current file, `None` while it is being loaded. An
    /// error comes with the content's digest if the content is at fault.
    async fn candidate(
        &mut self,
        name: &str,
        current: Option<&ServedComponent>,
        registry: &config::RegistryConfig,
    ) -> Result<Option<(Filter, FilterSettings)>, (anyhow::Error, Option<String>)> {
        let settings = self.settings(registry, name);
        let kept = |current: &ServedComponent| Ok(Some((current.filter.clone(), current.settings.clone())));
        let (bytes, doubt) = match (self.read(name, &settings).await, current) {
            (Ok(read), _) => read,
            // A missing file is a problem of the keys that name it, and reported there.
            (Err(error), Some(current)) if is_not_found(&error) => return kept(current),
            (Err(error), _) => return Err((error, None)),
        };
        let digest = filter::digest(&bytes);
        // Refused content may fit once the keys are fixed.
        let is_refused =
            |current: &ServedComponent| current.refused.as_ref() == Some(&digest) && *registry == *self.registry;
        if let Some(current) = current {
            let is_served = current.filter.digest() == digest && current.settings == settings;
            // What was rolled back to is the file's content again.
            if is_served && !current.filter.is_quarantined() {
                self.note_sound(name);
            }
            if is_served || is_refused(current) {
                self.compiling.retain(|other| other != name);
                return kept(current);
            }
        }
        let Some((digest, settings, loaded)) = self.compiling.take(&self.host, (&digest, bytes), &settings) else {
            return Ok(None);
        };
        let refused = |error: anyhow::Error| (error, Some(digest.clone()));
        let filter = loaded.map_err(|error| refused(error.into()))?;
        for key in registry.keys.iter().filter(|key| key.filter.as_deref() == Some(name)) {
            fits(&filter, key, &self.config).map_err(refused)?;
            for route in registry.routes.iter().filter(|route| route.key == key.name) {
                let made = self.subscriptions.make(&filter, &settings, key, route).await;
                made.with_context(|| route_of(key, route)).map_err(refused)?;
            }
        }
        self.metrics.filter(name).reloads.inc();
        say(&filter, &settings, doubt);
        Ok(Some((filter, settings)))
    }

    async fn load(&self, name: &str, settings: &FilterSettings) -> anyhow::Result<Filter> {
        let (bytes, doubt) = self.read(name, settings).await?;
        let filter = self.host.load(name, bytes, settings).await?;
        say(&filter, settings, doubt);
        Ok(filter)
    }

    /// Reads the component's file, unless it is larger than a component may be. Also returns a
    /// reason not to trust it, if any.
    async fn read(&self, name: &str, settings: &FilterSettings) -> anyhow::Result<(Vec<u8>, Option<String>)> {
        let (path, limit) = (self.path(name), settings.limits.component);
        let found = fs::metadata(&path).await?;
        // Opening a pipe would wait for its writer.
        ensure!(found.is_file(), "it is not a file");
        let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(LoadError::TooLarge { size, limit }.into());
        }
        let mut bytes = Vec::with_capacity(size);
        let file = File::open(path).await?;
        let doubt = doubt(&file.metadata().await?).filter(|_| settings.digest.is_none());
        if let Some(doubt) = doubt.as_ref().filter(|_| !settings.grants.is_empty()) {
            bail!("{doubt}, or pin its content with `digest` in `[[filter]]`, to grant it anything");
        }
        // One byte more than the limit reveals a file that has grown meanwhile.
        file.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
        Ok((bytes, doubt))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.plugins.join(format!("{name}.wasm"))
    }

    /// Makes a problem of an error with a component's file.
    fn problem(&self, name: &str, error: &anyhow::Error) -> Problem {
        Problem::error(self.place(name), format!("the component is refused: {error:#}"))
    }

    pub(super) fn place(&self, name: &str) -> ConfigPlace {
        let path = self.path(name);
        ConfigPlace::file(path.strip_prefix(&self.config.dir).unwrap_or(&path))
    }

    pub(super) fn settings(&self, registry: &config::RegistryConfig, name: &str) -> FilterSettings {
        self.config.filter_of(registry, name)
    }
}

/// Returns the reason not to trust a file, and the way out: other users may change it. Checks owner
/// and mode, as ssh does for keys.
fn doubt(found: &Metadata) -> Option<String> {
    let (owner, mode) = (found.uid(), found.mode() & 0o7777);
    if !filter::is_trusted(owner) {
        return Some(format!("it belongs to another user ({owner}), who may change it: `chown` it"));
    }
    (mode & 0o022 != 0).then(|| format!("others may change it (mode {mode:o}): `chmod go-w` it"))
}

/// Logs the content that is to go into service under a name, and its grants.
fn say(filter: &Filter, settings: &FilterSettings, doubt: Option<String>) {
    let (digest, imports, grants) = (format!("sha256:{}", filter.digest()), filter.imports(), &settings.grants);
    let (name, version) = (filter.name(), &*filter.manifest().version);
    tracing::info!(filter = name, version, digest, ?imports, ?grants, "loaded a component");
    if let Some(doubt) = doubt {
        tracing::warn!(filter = name, "a component is not safe from others: {doubt}");
    }
}

/// Checks that a key with a native schema has a filter without `process`, whose output would no
/// longer have the native shape (L10).
pub(super) fn fits(filter: &Filter, key: &config::KeyConfig, config: &Config) -> anyhow::Result<()> {
    let is_native = key.schema.as_ref().is_some_and(|schema| schema.form() == SchemaForm::Native);
    ensure!(
        !is_native || !filter.manifest().hooks.process,
        "key `{}` has a native schema, but its filter `{}` has `process`: declare what that makes as `custom`",
        key.name,
        filter.name()
    );
    for endpoint in filter.manifest().needs.endpoints.iter().filter_map(|text| text.parse::<Endpoint>().ok()) {
        let api = endpoint.api();
        ensure!(
            api.is_empty() || config.apis.iter().any(|(name, _)| name == api),
            "filter `{}` calls the API `{api}`, which there is not: add `[apis.{api}]` with its `base_url`",
            filter.name()
        );
    }
    let needed = &filter.manifest().needs.params;
    // A filter that declares no params takes what its keys declare.
    if needed.is_empty() {
        return Ok(());
    }
    let (key_name, name) = (&key.name, filter.name());
    for need in needed {
        let (param, kind) = (&need.name, need.kind.word());
        match key.params.iter().find(|declared| declared.name == *param) {
            // A secret is a text that is kept elsewhere.
            Some(declared) => ensure!(
                declared.kind == need.kind || (declared.kind, need.kind) == (ParamKind::Secret, ParamKind::String),
                "key `{key_name}` declares its param `{param}` as `{}`, but its filter `{name}` takes `{kind}`",
                declared.kind.word()
            ),
            None => ensure!(
                !need.required,
                "key `{key_name}` lacks the param `{param}` of type `{kind}`, which its filter `{name}` needs: \
                 `trommel plugin check` prints what to declare"
            ),
        }
    }
    let unknown = key.params.iter().find(|declared| needed.iter().all(|need| need.name != declared.name));
    match unknown {
        Some(declared) => {
            bail!("key `{key_name}` declares the param `{}`, which its filter `{name}` has not", declared.name)
        }
        None => Ok(()),
    }
}

pub(super) fn route_of(key: &config::KeyConfig, route: &config::RouteConfig) -> String {
    format!("route `{}` of key `{}`", route.name, key.name)
}

fn filter_names(registry: &config::RegistryConfig) -> BTreeSet<String> {
    registry.keys.iter().filter_map(|key| key.filter.clone()).collect()
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Returns whether two sets have the same filters in service.
pub(super) fn same(one: &FiltersByName, other: &FiltersByName) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, component)| other.get(name).is_some_and(|known| known.filter == component.filter))
}

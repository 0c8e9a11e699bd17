//! The components in service: read from their files, tried against the keys that name them, and rolled back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use anyhow::{Context, ensure};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
};

use super::{Loader, subscriptions::Wanted};
use crate::{
    config::{self, FilterSettings, Place, Problem},
    filter::{self, Filter, LoadError},
    registry::Report,
    schema::Form,
};

/// The components in service, by name.
pub(super) type Filters = BTreeMap<String, Component>;

#[derive(Clone)]
pub(super) struct Component {
    pub(super) filter: Filter,
    /// The last good one before it, until that was rolled back to.
    previous: Option<Filter>,
    /// Content that was tried and refused, so that it is not tried again until it changes.
    refused: Option<String>,
    /// Quarantined with nothing to go back to, which was said.
    given_up: bool,
}

impl Component {
    fn new(filter: Filter, previous: Option<Filter>) -> Self {
        Self { filter, previous, refused: None, given_up: false }
    }

    /// Gives a quarantined component another chance. Says whether it was one.
    pub(super) fn lift(&mut self) -> bool {
        let was_quarantined = self.filter.is_quarantined();
        if was_quarantined {
            self.filter.lift();
            self.given_up = false;
        }
        was_quarantined
    }

    /// Goes back to the last good one if this one is quarantined.
    pub(super) fn roll_back(&mut self, settings: &FilterSettings) {
        let (filter, on_quarantine) = (&settings.name, settings.on_quarantine);
        if !self.filter.is_quarantined() {
            return;
        }
        if let Some(previous) = self.previous.take() {
            let (from, to) = (self.filter.digest(), previous.digest());
            tracing::error!(filter, from, to, "quarantined, going back to the last good component");
            self.refused = Some(from.to_owned());
            self.filter = previous;
        } else if !self.given_up {
            tracing::error!(filter, ?on_quarantine, "quarantined, and there is no earlier component to go back to");
            self.given_up = true;
        }
    }
}

impl Loader {
    /// Every component that the registry names, and what is wrong with the others.
    pub(super) async fn load_all(&self, registry: &config::Registry) -> (Filters, Vec<Problem>) {
        let (mut filters, mut problems) = (Filters::new(), Vec::new());
        for name in filter_names(registry) {
            match self.load(&name).await {
                Ok(filter) => {
                    filters.insert(name, Component::new(filter, None));
                }
                Err(error) => problems.push(self.problem(&name, &error)),
            }
        }
        (filters, problems)
    }

    /// The components that the registry names: those whose content has changed loaded anew and tried against the keys
    /// that name them, the rest as they are.
    pub(super) async fn load_changed(&mut self, registry: &config::Registry, report: &mut Report) -> Filters {
        let mut filters = Filters::new();
        for name in filter_names(registry) {
            let current = self.filters.get(&name).cloned();
            match self.candidate(&name, current.as_ref(), registry).await {
                Ok(filter) => {
                    let component = match current {
                        Some(current) if current.filter == filter => current,
                        Some(current) => Component::new(filter, Some(current.filter)),
                        None => Component::new(filter, None),
                    };
                    filters.insert(name, component);
                }
                Err((error, digest)) => {
                    report.refused.push(self.problem(&name, &error));
                    if let Some(current) = current {
                        filters.insert(name, Component { refused: digest, ..current });
                    }
                }
            }
        }
        filters
    }

    /// The filter that the component's file makes now. Its error comes with the content's digest when it is the content
    /// that is at fault.
    async fn candidate(
        &mut self,
        name: &str,
        current: Option<&Component>,
        registry: &config::Registry,
    ) -> Result<Filter, (anyhow::Error, Option<String>)> {
        let settings = self.settings(name);
        let bytes = match (self.read(name, &settings).await, current) {
            (Ok(bytes), _) => bytes,
            // A file that is gone is a problem of the keys that name it, and reported there.
            (Err(error), Some(current)) if is_not_found(&error) => return Ok(current.filter.clone()),
            (Err(error), _) => return Err((error, None)),
        };
        let digest = filter::digest(&bytes);
        // What was refused may fit once the keys are mended.
        let is_refused = |current: &Component| current.refused.as_ref() == Some(&digest) && *registry == self.registry;
        if let Some(current) = current
            && (current.filter.digest() == digest || is_refused(current))
        {
            return Ok(current.filter.clone());
        }
        let refused = |error: anyhow::Error| (error, Some(digest.clone()));
        let filter = self.host.load(name, bytes, &settings).await.map_err(|error| refused(error.into()))?;
        for key in registry.keys.iter().filter(|key| key.filter.as_deref() == Some(name)) {
            fits(&filter, key).map_err(refused)?;
            for route in registry.routes.iter().filter(|route| route.key == key.name) {
                let wanted = Wanted::new(&filter, &settings.limits, key, route);
                let made = self.subscriptions.make(wanted, &filter).await;
                made.with_context(|| route_of(key, route)).map_err(refused)?;
            }
        }
        self.metrics.filter(name).reloads.inc();
        Ok(filter)
    }

    async fn load(&self, name: &str) -> anyhow::Result<Filter> {
        let settings = self.settings(name);
        let bytes = self.read(name, &settings).await?;
        Ok(self.host.load(name, bytes, &settings).await?)
    }

    /// The component's file, which is not read at all when it is larger than a component may be.
    async fn read(&self, name: &str, settings: &FilterSettings) -> anyhow::Result<Vec<u8>> {
        let (path, limit) = (self.path(name), settings.limits.component);
        let found = fs::metadata(&path).await?;
        // Opening a pipe would wait for its writer.
        ensure!(found.is_file(), "it is not a file");
        let size = usize::try_from(found.len()).unwrap_or(usize::MAX);
        if size > limit {
            return Err(LoadError::TooLarge { size, limit }.into());
        }
        let mut bytes = Vec::with_capacity(size);
        // One byte more than the limit tells of a file that has grown meanwhile.
        File::open(path).await?.take(limit as u64 + 1).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.config.plugins.join(format!("{name}.wasm"))
    }

    /// What is wrong with a component's file.
    fn problem(&self, name: &str, error: &anyhow::Error) -> Problem {
        Problem::error(self.place(name), format!("the component is refused: {error:#}"))
    }

    pub(super) fn place(&self, name: &str) -> Place {
        let path = self.path(name);
        Place::file(path.strip_prefix(&self.config.dir).unwrap_or(&path))
    }

    pub(super) fn settings(&self, name: &str) -> FilterSettings {
        let given = self.config.filters.iter().find(|settings| settings.name == name).cloned();
        given.unwrap_or_else(|| FilterSettings {
            name: name.to_owned(),
            grants: Vec::new(),
            on_quarantine: Default::default(),
            limits: self.config.limits,
        })
    }
}

/// L10: what `process` makes is not the native shape any more.
pub(super) fn fits(filter: &Filter, key: &config::Key) -> anyhow::Result<()> {
    let is_native = key.schema.as_ref().is_some_and(|schema| schema.form() == Form::Native);
    ensure!(
        !is_native || !filter.manifest().hooks.process,
        "key `{}` has a native schema, but its filter `{}` has `process`: declare what that makes as `custom`",
        key.name,
        filter.name()
    );
    Ok(())
}

pub(super) fn route_of(key: &config::Key, route: &config::Route) -> String {
    format!("route `{}` of key `{}`", route.name, key.name)
}

fn filter_names(registry: &config::Registry) -> BTreeSet<String> {
    registry.keys.iter().filter_map(|key| key.filter.clone()).collect()
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether two sets have the same content in service.
pub(super) fn same(one: &Filters, other: &Filters) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, component)| other.get(name).is_some_and(|known| known.filter == component.filter))
}

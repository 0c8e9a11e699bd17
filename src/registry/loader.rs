//! Builds snapshots: at start, and whenever the folders change. Everything is checked off the data path; whatever fails
//! leaves what is in force in force.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context, ensure};
use tokio::{
    fs::{self, File},
    io::AsyncReadExt,
    sync::{Semaphore, watch},
};

use crate::{
    config::{self, Config, FilterSettings, Limits, OrderBy, Place, Problem, Problems},
    filter::{CallLimits, Filter, Host, LoadError, Subscription},
    metrics::Metrics,
    registry::{Interest, Key, Ordering, Route, Snapshot, Snapshots},
    sink::outlet::Queue,
};

/// Owns the registry: the only one that makes snapshots.
pub struct Loader {
    host: Host,
    config: Config,
    sinks: HashMap<String, Queue>,
    metrics: Arc<Metrics>,
    registry: config::Registry,
    filters: Filters,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// The components in service, by name.
type Filters = BTreeMap<String, Component>;

#[derive(Clone)]
struct Component {
    filter: Filter,
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
}

/// What a reload came to.
#[derive(Debug, Default)]
pub struct Report {
    /// The generation now in force, if it is a new one.
    pub generation: Option<u64>,
    /// What was refused, and why.
    pub refused: Vec<Problem>,
}

impl Loader {
    /// Loads every component that a key names and takes every route into service.
    ///
    /// # Errors
    /// All of what is wrong: at start there is nothing to fall back to.
    pub async fn start(
        host: Host,
        config: Config,
        sinks: HashMap<String, Queue>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Problems> {
        let registry = config.registry.clone();
        let (snapshots, _) = watch::channel(Arc::default());
        let mut loader = Self { host, config, sinks, metrics, registry, filters: Filters::new(), snapshots };
        let mut problems = Vec::new();
        for name in filter_names(&loader.registry) {
            match loader.load(&name).await {
                Ok(filter) => {
                    loader.filters.insert(name, Component::new(filter, None));
                }
                Err(error) => problems.push(loader.problem(&name, &error)),
            }
        }
        match loader.build(&loader.registry, &loader.filters).await {
            Ok(snapshot) if problems.is_empty() => {
                loader.snapshots.send_replace(Arc::new(snapshot));
                return Ok(loader);
            }
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(Problems::new(problems))
    }

    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.subscribe()
    }

    /// Takes what the folders hold now into service, as far as it is good.
    pub async fn reload(&mut self) -> Report {
        let mut report = Report::default();
        let registry = match config::load_registry(&self.config) {
            Ok(registry) => registry,
            Err(problems) => {
                report.refused.extend(problems.iter().cloned());
                self.registry.clone()
            }
        };
        let mut filters = self.load_changed(&registry, &mut report).await;
        let mut changed = registry != self.registry || !same(&filters, &self.filters);
        for component in filters.values_mut().filter(|component| component.filter.is_quarantined()) {
            component.filter.lift();
            component.given_up = false;
            changed = true;
        }
        if !changed {
            return report;
        }
        match self.build(&registry, &filters).await {
            Ok(snapshot) => self.swap(registry, filters, snapshot, &mut report),
            Err(problems) => {
                report.refused.extend(problems);
                // The keys are at fault: every changed component was tried against them. It may still fit the old ones.
                filters.retain(|name, _| self.filters.contains_key(name));
                if let Ok(snapshot) = self.build(&self.registry, &filters).await
                    && !same(&filters, &self.filters)
                {
                    self.swap(self.registry.clone(), filters, snapshot, &mut report);
                }
            }
        }
        report
    }

    /// Goes back to the last good component of every filter that is quarantined and has one.
    pub async fn roll_back(&mut self) -> Report {
        let mut report = Report::default();
        let mut filters = self.filters.clone();
        for (name, component) in &mut filters {
            if !component.filter.is_quarantined() {
                continue;
            }
            if let Some(previous) = component.previous.take() {
                tracing::error!(
                    filter = name,
                    from = component.filter.digest(),
                    to = previous.digest(),
                    "quarantined, going back to the last good component"
                );
                component.refused = Some(component.filter.digest().to_owned());
                component.filter = previous;
            } else if !component.given_up {
                let on_quarantine = self.settings(name).on_quarantine;
                tracing::error!(
                    filter = name,
                    ?on_quarantine,
                    "quarantined, and there is no earlier component to go back to"
                );
                component.given_up = true;
            }
        }
        if same(&filters, &self.filters) {
            self.filters = filters;
            return report;
        }
        match self.build(&self.registry, &filters).await {
            Ok(snapshot) => self.swap(self.registry.clone(), filters, snapshot, &mut report),
            Err(problems) => report.refused.extend(problems),
        }
        report
    }

    fn swap(&mut self, registry: config::Registry, filters: Filters, snapshot: Snapshot, report: &mut Report) {
        let generation = snapshot.generation;
        (self.registry, self.filters) = (registry, filters);
        self.snapshots.send_replace(Arc::new(snapshot));
        report.generation = Some(generation);
    }

    /// The components that the registry names: those whose content has changed loaded anew and tried against the keys
    /// that name them, the rest as they are.
    async fn load_changed(&self, registry: &config::Registry, report: &mut Report) -> Filters {
        let mut filters = Filters::new();
        for name in filter_names(registry) {
            let current = self.filters.get(&name);
            match self.candidate(&name, current, registry).await {
                Ok(filter) => {
                    let component = match current {
                        Some(current) if current.filter == filter => current.clone(),
                        Some(current) => Component::new(filter, Some(current.filter.clone())),
                        None => Component::new(filter, None),
                    };
                    filters.insert(name, component);
                }
                Err((error, digest)) => {
                    report.refused.push(self.problem(&name, &error));
                    if let Some(current) = current {
                        filters.insert(name, Component { refused: digest, ..current.clone() });
                    }
                }
            }
        }
        filters
    }

    /// The filter that the component's file makes now. Its error comes with the content's digest when it is the content
    /// that is at fault.
    async fn candidate(
        &self,
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
        let digest = crate::filter::digest(&bytes);
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
            for route in registry.routes.iter().filter(|route| route.key == key.name) {
                let subscribed = subscribe(&filter, &settings.limits, key, route).await;
                subscribed.with_context(|| route_of(key, route)).map_err(refused)?;
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

    fn place(&self, name: &str) -> Place {
        let path = self.path(name);
        Place::file(path.strip_prefix(&self.config.dir).unwrap_or(&path))
    }

    fn settings(&self, name: &str) -> FilterSettings {
        let given = self.config.filters.iter().find(|settings| settings.name == name).cloned();
        given.unwrap_or_else(|| FilterSettings {
            name: name.to_owned(),
            grants: Vec::new(),
            on_quarantine: Default::default(),
            limits: self.config.limits,
        })
    }

    /// Makes the next snapshot, or says everything that is wrong with it.
    async fn build(&self, registry: &config::Registry, filters: &Filters) -> Result<Snapshot, Vec<Problem>> {
        let (mut keys, mut problems) = (Vec::new(), Vec::new());
        for key in &registry.keys {
            let filter = match &key.filter {
                Some(name) => match filters.get(name) {
                    Some(component) => Some(component.filter.clone()),
                    None => {
                        let message = format!("key `{}` can't be served: its filter `{name}` was refused", key.name);
                        problems.push(Problem::error(self.place(name), message));
                        continue;
                    }
                },
                None => None,
            };
            let mut routes = Vec::new();
            for route in registry.routes.iter().filter(|route| route.key == key.name) {
                let subscription = match &filter {
                    Some(filter) => match subscribe(filter, &self.settings(filter.name()).limits, key, route).await {
                        Ok(subscription) => Some(subscription),
                        Err(error) => {
                            let message = format!("{}: {error:#}", route_of(key, route));
                            problems.push(Problem::error(route.place.clone(), message));
                            continue;
                        }
                    },
                    None => None,
                };
                let sinks = route.sinks.iter().filter_map(|sink| self.sinks.get(sink).cloned()).collect();
                routes.push(Route { name: route.name.as_str().into(), subscription, sinks });
            }
            let interest = Interest { subject: key.subject.clone(), event_type: key.event_type.clone() };
            keys.push((interest, self.key(key, filter, routes)));
        }
        if problems.is_empty() {
            Ok(Snapshot::new(self.snapshots.borrow().generation + 1, keys))
        } else {
            Err(problems)
        }
    }

    fn key(&self, key: &config::Key, filter: Option<Filter>, routes: Vec<Route>) -> Key {
        Key {
            name: key.name.as_str().into(),
            ordering: match &key.order_by {
                OrderBy::None => Ordering::None,
                OrderBy::Field(field) => Ordering::By(field.clone()),
            },
            workers: Semaphore::new(key.workers.get()),
            buffer: Semaphore::new(key.buffer_size.get()),
            retry: key.retry,
            on_quarantine: filter.as_ref().map(|filter| self.settings(filter.name()).on_quarantine).unwrap_or_default(),
            filter,
            routes,
            metrics: self.metrics.key(&key.name),
        }
    }
}

/// Lets the guest normalise a route's params and take its interest.
async fn subscribe(
    filter: &Filter,
    limits: &Limits,
    key: &config::Key,
    route: &config::Route,
) -> anyhow::Result<Arc<Subscription>> {
    let params = filter.normalize_params(&key.name, route.params.clone()).await?;
    Ok(filter.subscribe(&key.name, params, CallLimits::new(limits, &key.limits)).await?)
}

fn route_of(key: &config::Key, route: &config::Route) -> String {
    format!("route `{}` of key `{}`", route.name, key.name)
}

fn filter_names(registry: &config::Registry) -> BTreeSet<String> {
    registry.keys.iter().filter_map(|key| key.filter.clone()).collect()
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Whether two sets have the same content in service.
fn same(one: &Filters, other: &Filters) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, component)| other.get(name).is_some_and(|known| known.filter == component.filter))
}

//! Builds snapshots: at start, whenever the folders change, and when a consumer attaches to a key.
//! Everything is checked off the data path; on failure, the current snapshot stays in force.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    mem,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};

use crate::{
    avro::AvroSchema,
    config::{self, Config, ConfigPlace, Problem, Problems, RouterRole, Webhook},
    filter::Host,
    metrics::Metrics,
    registry::{
        AttachError, AttachRequest, Key, KeyInterest, RegistryChange, ServedConsumer, Snapshot, Snapshots, Tenures,
    },
    schema_registry::SchemaRequests,
    sink::outlet::SinkQueue,
};

mod compiling;
mod components;
mod difference;
mod draft;
mod held;
mod orders;
mod subscriptions;

use compiling::CompilingComponents;
use components::{FiltersByName, same};
pub use difference::{ChangedEntry, EntryChange, EntryKind, RegistryDifference};
use draft::SnapshotDraft;
use held::TenuresByRoute;
pub use orders::ReleaseError;
use subscriptions::SubscriptionCache;

/// Longest time that reading the folders may hold up other work, such as rolling back. A file
/// system that hangs is waited for in the background.
const READING: Duration = Duration::from_secs(10);

/// Reads the registry of a router's folder again, against its configuration.
pub type RegistryReader = fn(&Config) -> Result<config::RegistryConfig, Problems>;

/// Owner of the registry, and the only maker of snapshots.
pub struct Loader {
    host: Host,
    reader: RegistryReader,
    /// Configuration without its registry.
    config: Config,
    sinks: HashMap<String, SinkQueue>,
    metrics: Arc<Metrics>,
    registry: Arc<config::RegistryConfig>,
    /// Keys of the generation in force, including those without a route, which are in no snapshot.
    keys: Vec<(KeyInterest, Arc<Key>)>,
    reading: Option<JoinHandle<Result<config::RegistryConfig, Problems>>>,
    filters: FiltersByName,
    compiling: CompilingComponents,
    subscriptions: SubscriptionCache,
    attached: Vec<AttachRequest>,
    /// Names of paused keys, those included that do not exist now.
    paused: BTreeSet<String>,
    /// True if settings have changed that are not in the registry, which the keys were made with.
    is_outdated: bool,
    /// `None` if nothing is to be done upstream.
    tenures: Option<Arc<Tenures>>,
    held: TenuresByRoute,
    /// Requests for schemas; `None` without a schema registry.
    schema_requests: Option<SchemaRequests>,
    snapshots: watch::Sender<Arc<Snapshot>>,
}

/// Result of a reload.
#[derive(Debug, Default)]
pub struct ReloadReport {
    /// The generation now in force, if it is a new one.
    pub generation: Option<u64>,
    /// Problems for which something was refused.
    pub refused: Vec<Problem>,
    /// What the new generation has that the one before had not.
    pub difference: RegistryDifference,
}

impl Loader {
    /// Loads every component that a key names and takes every route into service. Nothing is held
    /// upstream before [`Self::hold_all`].
    ///
    /// # Errors
    /// Returns all problems: at start there is nothing to fall back to.
    pub async fn start(
        host: Host,
        reader: RegistryReader,
        mut config: Config,
        sinks: HashMap<String, SinkQueue>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Problems> {
        let registry = Arc::new(mem::take(&mut config.registry));
        let (snapshots, _) = watch::channel(Arc::default());
        let schema_requests = config.schema_registry.as_ref().map(|_| SchemaRequests::default());
        let mut loader = Self {
            host,
            reader,
            config,
            sinks,
            metrics,
            registry: Arc::clone(&registry),
            keys: Vec::new(),
            reading: None,
            filters: FiltersByName::default(),
            compiling: CompilingComponents::default(),
            subscriptions: SubscriptionCache::default(),
            attached: Vec::new(),
            paused: BTreeSet::new(),
            is_outdated: false,
            tenures: None,
            held: TenuresByRoute::default(),
            schema_requests,
            snapshots,
        };
        let (filters, mut problems) = loader.load_all(&registry).await;
        match loader.take_over(registry, filters).await {
            Ok(_) if problems.is_empty() => return Ok(loader),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        }
        Err(Problems::new(problems))
    }

    pub fn snapshots(&self) -> Snapshots {
        self.snapshots.subscribe()
    }

    /// Requests of events for schemas that are not known; `None` without a schema registry.
    pub fn schema_requests(&self) -> Option<&SchemaRequests> {
        self.schema_requests.as_ref()
    }

    /// The webhooks in force.
    pub fn webhooks(&self) -> &Vec<Arc<Webhook>> {
        &self.registry.webhooks
    }

    /// Waits until a component is loaded that a reload has found changed; the next reload takes it
    /// into service. Cancel safe.
    pub async fn compiled(&mut self) {
        self.compiling.done().await;
    }

    /// Takes the current content of the folders into service, as far as it is valid. Keys of a
    /// component that is still to be loaded stay as they are until then.
    pub async fn reload(&mut self) -> ReloadReport {
        let (registry, filters) = (Arc::clone(&self.registry), self.filters.clone());
        let mut report = self.read_again().await;
        if report.generation.is_some() {
            report.difference = RegistryDifference::between((&registry, &filters), (&self.registry, &self.filters));
        }
        report
    }

    async fn read_again(&mut self) -> ReloadReport {
        let mut report = ReloadReport::default();
        let mut registry = match self.read_registry().await {
            Ok(registry) if self.config.role == RouterRole::Observer => registry.without_routes(),
            Ok(registry) => registry,
            Err(problems) => {
                report.refused.extend(problems.iter().cloned());
                (*self.registry).clone()
            }
        };
        let (mut filters, waiting) = self.load_changed(&registry, &mut report).await;
        self.hold_back(&mut registry, &mut filters, &waiting);
        let registry = Arc::new(registry);
        let mut changed = registry != self.registry || !same(&filters, &self.filters);
        changed |= mem::take(&mut self.is_outdated);
        for (_, component) in filters.iter_mut().filter(|(name, _)| !waiting.contains(*name)) {
            changed |= component.lift();
        }
        self.note_all_sound(&filters);
        if !changed {
            return report;
        }
        match self.take_over(registry, filters.clone()).await {
            Ok(generation) => report.generation = Some(generation),
            Err(problems) => {
                report.refused.extend(problems);
                // The keys are at fault, as every changed component was tried against them. It may
                // still fit the old ones.
                filters.retain(|name, _| self.filters.contains_key(name));
                if !same(&filters, &self.filters) {
                    report.generation = self.take_over(Arc::clone(&self.registry), filters).await.ok();
                }
            }
        }
        report
    }

    /// Takes schemas of the schema registry into service. Without any, it only makes waiting events
    /// hear that theirs were refused.
    pub async fn learn(&mut self, schemas: Vec<AvroSchema>) -> ReloadReport {
        if schemas.is_empty() {
            return ReloadReport { generation: Some(self.put_in_force()), ..ReloadReport::default() };
        }
        let avro = self.registry.avro.with_registered(schemas);
        let registry = config::RegistryConfig { avro, ..(*self.registry).clone() };
        match self.take_over(Arc::new(registry), self.filters.clone()).await {
            Ok(generation) => ReloadReport { generation: Some(generation), ..ReloadReport::default() },
            Err(refused) => ReloadReport { refused, ..ReloadReport::default() },
        }
    }

    /// Reads the folders. One reading at a time is under way, however long it takes.
    async fn read_registry(&mut self) -> Result<config::RegistryConfig, Problems> {
        let place = ConfigPlace::file(&self.config.dir);
        let broken = |message: String| Problems::new(vec![Problem::error(place.clone(), message)]);
        let late = |_| broken(format!("the folders could not be read within {READING:?}"));
        if let Some(reading) = &mut self.reading {
            // It may miss later changes, so its result is not used.
            let _ = timeout(READING, reading).await.map_err(late)?;
        }
        let config = Config { registry: config::RegistryConfig::clone(&self.registry), ..self.config.clone() };
        let reader = self.reader;
        let reading = self.reading.insert(spawn_blocking(move || reader(&config)));
        let read = timeout(READING, reading).await.map_err(late)?;
        self.reading = None;
        read.map_err(|error| broken(format!("the folders could not be read: {error}")))?
    }

    /// Rolls back every quarantined filter that has an earlier good component.
    pub async fn roll_back(&mut self) -> ReloadReport {
        let mut report = ReloadReport::default();
        let mut filters = self.filters.clone();
        for (name, component) in &mut filters {
            let settings = self.config.filter_of(&self.registry, name);
            component.roll_back(&settings, &self.metrics.filter(name).health);
        }
        if same(&filters, &self.filters) {
            self.filters = filters;
            return report;
        }
        let (registry, before) = (Arc::clone(&self.registry), self.filters.clone());
        match self.take_over(Arc::clone(&registry), filters).await {
            Ok(generation) => report.generation = Some(generation),
            Err(problems) => report.refused = problems,
        }
        report.difference = RegistryDifference::between((&registry, &before), (&registry, &self.filters));
        report
    }

    /// Attaches and detaches consumers, all of them with one new generation, in which only their
    /// keys are made anew. The standing of each consumer shows the result.
    pub async fn change(&mut self, changes: Vec<RegistryChange>) {
        let mut concerned = BTreeSet::new();
        for change in changes {
            match change {
                RegistryChange::Attach(attach) => {
                    concerned.insert(attach.key.clone());
                    self.attached.push(attach);
                }
                RegistryChange::Detach(name) => {
                    concerned.extend(self.attached.extract_if(.., |attached| attached.name == name).map(|one| one.key));
                }
            }
        }
        if let Err(problems) = self.redo(&concerned).await {
            // The folders' content is in service already: only a filter that breaks leads here.
            let problems = Problems::new(problems).to_string();
            tracing::error!(problems, "can't serve attached consumers");
            self.attached.retain(|one| one.is_served() || one.lose(AttachError::Refused(problems.clone())));
        }
    }

    /// Makes these keys anew and leaves all others as they are.
    async fn redo(&mut self, concerned: &BTreeSet<String>) -> Result<(), Vec<Problem>> {
        let (registry, filters) = (Arc::clone(&self.registry), self.filters.clone());
        let is_concerned = |name: &str| concerned.contains(name);
        let SnapshotDraft { keys, attached, held } = self.draft(&registry, &filters, is_concerned).await?;
        let mut made: HashMap<_, _> = keys.into_iter().map(|made| (Arc::clone(&made.1.name), made)).collect();
        for key in &mut self.keys {
            if let Some(made) = made.remove(&key.1.name) {
                *key = made;
            }
        }
        self.put_in_force();
        // Dropping a tenure leaves the subscription: events of the routes that are gone have been
        // taken off by then.
        self.held.retain(|(key, _), _| !is_concerned(key));
        self.held.extend(held);
        // Told only after the generation is in force: to be served means that events come.
        self.tell(attached);
        Ok(())
    }

    /// Puts a registry and its components into service, or returns all problems with them.
    /// Consumers whose key no longer accepts them are notified.
    async fn take_over(
        &mut self,
        registry: Arc<config::RegistryConfig>,
        filters: FiltersByName,
    ) -> Result<u64, Vec<Problem>> {
        let SnapshotDraft { keys, attached, held } = self.draft(&registry, &filters, |_| true).await?;
        for (name, component) in &filters {
            if let Some(before) = self.filters.get(name) {
                before.filter.leave_service();
            }
            component.filter.enter_service();
        }
        (self.registry, self.filters, self.keys) = (registry, filters, keys);
        let generation = self.put_in_force();
        self.show_filters();
        let names = |filter: &str, key: &config::KeyConfig| key.filter.as_deref() == Some(filter);
        let keys = &self.registry.keys;
        self.host.retain_state(|filter, key| keys.iter().any(|one| one.name == key && names(filter, one)));
        let names: HashSet<&str> = self.keys.iter().map(|(_, key)| &*key.name).collect();
        self.metrics.retain(|key| names.contains(key), |filter| self.filters.contains_key(filter));
        // Dropping a tenure leaves the subscription, as in `redo`.
        self.held = held;
        self.tell(attached);
        Ok(generation)
    }

    /// Publishes the keys as a new generation.
    fn put_in_force(&self) -> u64 {
        // Before the generation: an event of the one before asks for none of its schemas.
        if let Some(requests) = &self.schema_requests {
            requests.note_known(self.registry.avro.registered_ids());
        }
        let generation = self.snapshots.borrow().generation + 1;
        self.snapshots.send_replace(Arc::new(Snapshot::new(generation, self.keys.iter().cloned())));
        self.metrics.generation.set(generation.cast_signed());
        generation
    }

    /// Notifies consumers of their standing. Those without a result keep theirs.
    fn tell(&mut self, mut attached: HashMap<Arc<str>, Result<ServedConsumer, AttachError>>) {
        self.subscriptions.retain_used();
        self.attached.retain(|one| match attached.remove(&one.name) {
            Some(Ok(serving)) => one.serve(serving),
            Some(Err(error)) => one.lose(error),
            None => true,
        });
    }
}

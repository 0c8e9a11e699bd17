//! Builds snapshots: at start, whenever the folders change, and when somebody attaches to a key. Everything is checked
//! off the data path; whatever fails leaves what is in force in force.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    config::{self, Config, Problem, Problems, Role, Webhook},
    filter::Host,
    metrics::Metrics,
    registry::{Attach, AttachError, Change, Snapshot, Snapshots, Tenures},
    sink::outlet::Queue,
};

mod compiling;
mod components;
mod draft;
mod held;
mod subscriptions;

use compiling::Compiling;
use components::{Filters, same};
use draft::Draft;
use held::Held;
use subscriptions::Subscriptions;

/// Owns the registry: the only one that makes snapshots.
pub struct Loader {
    host: Host,
    config: Config,
    sinks: HashMap<String, Queue>,
    metrics: Arc<Metrics>,
    registry: config::Registry,
    filters: Filters,
    compiling: Compiling,
    subscriptions: Subscriptions,
    attached: Vec<Attach>,
    /// `None` where nothing is to be done upstream.
    tenures: Option<Arc<Tenures>>,
    held: Held,
    snapshots: watch::Sender<Arc<Snapshot>>,
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
    /// Loads every component that a key names and takes every route into service. Nothing is held upstream before
    /// [`Self::hold_all`].
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
        let (filters, compiling, subscriptions, attached, tenures, held) = Default::default();
        let mut loader = Self {
            host,
            config,
            sinks,
            metrics,
            registry,
            filters,
            compiling,
            subscriptions,
            attached,
            tenures,
            held,
            snapshots,
        };
        let registry = loader.registry.clone();
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

    /// The webhooks in force.
    pub fn webhooks(&self) -> &Vec<Arc<Webhook>> {
        &self.registry.webhooks
    }

    /// Waits until a component is loaded that a reload found changed; the next reload takes it into service. Cancel safe.
    pub async fn compiled(&mut self) {
        self.compiling.done().await;
    }

    /// Takes what the folders hold now into service, as far as it is good. Keys of a component that is still to be loaded
    /// stay as they are until then.
    pub async fn reload(&mut self) -> Report {
        let mut report = Report::default();
        let mut registry = match config::load_registry(&self.config) {
            Ok(registry) if self.config.role == Role::Observer => registry.without_routes(),
            Ok(registry) => registry,
            Err(problems) => {
                report.refused.extend(problems.iter().cloned());
                self.registry.clone()
            }
        };
        let (mut filters, waiting) = self.load_changed(&registry, &mut report).await;
        self.hold_back(&mut registry, &mut filters, &waiting);
        let mut changed = registry != self.registry || !same(&filters, &self.filters);
        for (_, component) in filters.iter_mut().filter(|(name, _)| !waiting.contains(*name)) {
            changed |= component.lift();
        }
        if !changed {
            return report;
        }
        match self.take_over(registry, filters.clone()).await {
            Ok(generation) => report.generation = Some(generation),
            Err(problems) => {
                report.refused.extend(problems);
                // The keys are at fault: every changed component was tried against them. It may still fit the old ones.
                filters.retain(|name, _| self.filters.contains_key(name));
                if !same(&filters, &self.filters) {
                    report.generation = self.take_over(self.registry.clone(), filters).await.ok();
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
            component.roll_back(&self.settings(name));
        }
        if same(&filters, &self.filters) {
            self.filters = filters;
            return report;
        }
        match self.take_over(self.registry.clone(), filters).await {
            Ok(generation) => report.generation = Some(generation),
            Err(problems) => report.refused = problems,
        }
        report
    }

    /// Lets consumers attach and leave, all of them with one new generation. Each hears by its standing what came of it.
    pub async fn change(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Attach(attach) => self.attached.push(attach),
                Change::Detach(name) => self.attached.retain(|attached| attached.name != name),
            }
        }
        if let Err(problems) = self.take_over(self.registry.clone(), self.filters.clone()).await {
            // What the folders hold is in service already: only a filter that breaks comes here.
            let problems = Problems::new(problems).to_string();
            tracing::error!(problems, "can't serve who attached");
            self.attached.retain(|one| one.is_served() || one.lose(AttachError::Refused(problems.clone())));
        }
    }

    /// Puts a registry and its components into service, or says everything that is wrong with them. Who is attached to a
    /// key that does not take it any more is told.
    async fn take_over(&mut self, registry: config::Registry, filters: Filters) -> Result<u64, Vec<Problem>> {
        let Draft { keys, mut attached, held } = self.draft(&registry, &filters).await?;
        let generation = self.snapshots.borrow().generation + 1;
        (self.registry, self.filters) = (registry, filters);
        self.snapshots.send_replace(Arc::new(Snapshot::new(generation, keys)));
        self.metrics.generation.set(generation.cast_signed());
        self.show_filters();
        let names = |filter: &str, key: &config::Key| key.filter.as_deref() == Some(filter);
        let keys = &self.registry.keys;
        self.host.retain_state(|filter, key| keys.iter().any(|one| one.name == key && names(filter, one)));
        // Dropping a tenure leaves: events of the routes that are gone have been taken off by then.
        self.held = held;
        self.subscriptions.retain_used();
        self.attached.retain(|one| match attached.remove(&one.name) {
            Some(Ok(serving)) => one.serve(serving),
            Some(Err(error)) => one.lose(error),
            None => true,
        });
        Ok(generation)
    }
}

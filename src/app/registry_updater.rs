//! The task that keeps the registry of keys current.

use std::{borrow::Cow, mem, sync::Arc};

use tokio::sync::{Notify, mpsc, watch};

use crate::{
    avro::AvroSchema,
    config::{Config, Problem, Webhook},
    health::HealthLevel,
    metrics::Metrics,
    registry::{FolderWatch, Loader, RegistryChange, ReloadReport},
    schema_registry::SchemaFetcher,
};

/// Changes that wait for the loader.
pub(super) const CHANGES: usize = 256;

/// What lifts a refused reload.
const MEND: &str = "mend the file: it is read again when it changes";

/// The task that asks the schema registry for what events wait for, if there is one.
pub(super) fn schema_fetcher(config: &Config, loader: &Loader) -> anyhow::Result<Option<SchemaFetcher>> {
    let both = config.schema_registry.as_ref().zip(loader.schema_requests());
    both.map(|(settings, requests)| SchemaFetcher::new(settings, requests.clone())).transpose()
}

/// The task that keeps the registry current.
pub(super) struct RegistryUpdater {
    pub(super) loader: Loader,
    /// `None` without a schema registry.
    pub(super) fetcher: Option<SchemaFetcher>,
    pub(super) watch: FolderWatch,
    pub(super) reload: Arc<Notify>,
    pub(super) quarantined: Arc<Notify>,
    pub(super) webhooks: watch::Sender<Vec<Arc<Webhook>>>,
    pub(super) metrics: Arc<Metrics>,
}

impl RegistryUpdater {
    /// Reloads when the folders change or on request, takes up schemas of the schema registry, rolls
    /// back quarantined filters, and attaches and detaches consumers.
    pub(super) async fn keep(mut self, mut changes: mpsc::Receiver<RegistryChange>) -> anyhow::Result<()> {
        let mut arrived = Vec::new();
        loop {
            let Self { loader, fetcher, watch, reload, quarantined, .. } = &mut self;
            let report = tokio::select! {
                () = watch.changed() => self.reload().await,
                () = reload.notified() => self.reload().await,
                () = loader.compiled() => self.reload().await,
                () = quarantined.notified() => loader.roll_back().await,
                Some(schemas) = answered(fetcher) => self.learn(schemas).await,
                1.. = changes.recv_many(&mut arrived, CHANGES) => {
                    loader.change(mem::take(&mut arrived)).await;
                    continue;
                }
            };
            self.tell(report);
        }
    }

    /// Takes up schemas of the schema registry, and nothing else.
    pub(super) async fn keep_schemas(mut self) -> anyhow::Result<()> {
        while let Some(schemas) = answered(&mut self.fetcher).await {
            let report = self.learn(schemas).await;
            self.tell(report);
        }
        // The keys stay in force until the run ends.
        std::future::pending().await
    }

    /// Reads the folders again, and notes whether all of them is in force.
    async fn reload(&mut self) -> ReloadReport {
        let report = self.loader.reload().await;
        let health = &self.metrics.configuration;
        if let [first, rest @ ..] = &report.refused[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let why = format!("{}: {}{more}; what was good stays in force", first.place, first.message);
            health.report(HealthLevel::Degraded, why, first.hint.clone().map_or(Cow::Borrowed(MEND), Cow::Owned));
        } else {
            self.metrics.reloaded();
            if health.is_troubled() {
                health.recover();
                tracing::info!("the folders' files are all in force again");
            }
        }
        report
    }

    async fn learn(&mut self, schemas: Vec<AvroSchema>) -> ReloadReport {
        let report = self.loader.learn(schemas).await;
        if report.generation.is_none() {
            self.fetcher.iter_mut().for_each(SchemaFetcher::put_off);
        }
        report
    }

    fn tell(&self, ReloadReport { generation, refused }: ReloadReport) {
        for refused in refused {
            let Problem { place, message, hint, .. } = refused;
            tracing::error!(hint, "not reloaded, what was good stays in force: {place}: {message}");
        }
        let Some(generation) = generation else { return };
        self.webhooks.send_if_modified(|current| {
            let changed = *current != *self.loader.webhooks();
            if changed {
                current.clone_from(self.loader.webhooks());
            }
            changed
        });
        tracing::info!(generation, "reloaded");
    }
}

/// Waits for the schema registry's next answers. `None` without one.
async fn answered(fetcher: &mut Option<SchemaFetcher>) -> Option<Vec<AvroSchema>> {
    match fetcher {
        Some(fetcher) => Some(fetcher.answered().await),
        None => None,
    }
}

//! The task that keeps the registry of keys current.

use std::{borrow::Cow, mem, sync::Arc};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::{
    app::settings_watch::SettingsWatch,
    avro::AvroSchema,
    config::{Config, Problem, Webhook},
    control::operation::{RegistryOrder, ReloadProblem, ReloadResult},
    health::HealthLevel,
    metrics::Metrics,
    registry::{EntryChange, FolderWatch, Loader, RegistryChange, ReloadReport},
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
    pub(super) settings: SettingsWatch,
}

/// Operators that wait for a reload, and what it has come to so far.
#[derive(Default)]
struct AwaitedReload {
    waiting: Vec<oneshot::Sender<ReloadResult>>,
    result: ReloadResult,
}

impl RegistryUpdater {
    /// Reloads when the folders change or on request, takes up schemas of the schema registry,
    /// rolls back quarantined filters, and attaches and detaches consumers.
    pub(super) async fn keep(
        mut self,
        mut changes: mpsc::Receiver<RegistryChange>,
        mut orders: mpsc::Receiver<RegistryOrder>,
    ) -> anyhow::Result<()> {
        let (mut arrived, mut awaited) = (Vec::new(), AwaitedReload::default());
        loop {
            let Self { loader, fetcher, watch, reload, quarantined, settings, .. } = &mut self;
            let report = tokio::select! {
                () = watch.changed() => self.reload(&mut awaited).await,
                () = reload.notified() => self.reload(&mut awaited).await,
                () = loader.compiled() => self.reload(&mut awaited).await,
                () = settings.changed() => match self.take_settings_over().await {
                    true => self.reload(&mut awaited).await,
                    false => continue,
                },
                Some(order) = orders.recv() => match self.obey(order, &mut awaited).await {
                    Some(report) => report,
                    None => continue,
                },
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

    /// Carries out an operator's order.
    async fn obey(&mut self, order: RegistryOrder, awaited: &mut AwaitedReload) -> Option<ReloadReport> {
        // An operator that has left does not need the answer.
        match order {
            RegistryOrder::Reload(answer) => {
                awaited.waiting.push(answer);
                return Some(self.reload(awaited).await);
            }
            RegistryOrder::PauseKeys(names, answer) => drop(answer.send(self.loader.pause(names).await)),
            RegistryOrder::Release(name, answer) => {
                let released = self.loader.release(&name);
                let known = || self.loader.filter_names().map(str::to_owned).collect();
                drop(answer.send(released.map_err(|error| (error, known()))));
            }
        }
        None
    }

    /// Reads the folders again, and notes whether all of them is in force. Operators that wait are
    /// answered unless components are still to be loaded.
    async fn reload(&mut self, awaited: &mut AwaitedReload) -> ReloadReport {
        self.take_settings_over().await;
        let report = self.loader.reload().await;
        awaited.add(&report);
        if !self.loader.is_compiling() {
            awaited.answer(self.loader.standing_problems(), &self.settings);
        }
        let health = &self.metrics.configuration;
        if let [first, rest @ ..] = &report.refused[..] {
            let more = if rest.is_empty() { String::new() } else { format!(" (and {} more)", rest.len()) };
            let why = format!("{}: {}{more}; what was good stays in force", first.place, first.message);
            health.report(HealthLevel::Degraded, why, first.hint.clone().map_or(Cow::Borrowed(MEND), Cow::Owned));
        } else if !self.loader.is_compiling() && self.loader.standing_problems().is_empty() {
            self.metrics.reloaded();
            if health.is_troubled() {
                health.recover();
                tracing::info!("the folders' files are all in force again");
            }
        }
        report
    }

    /// Takes over what has changed in `trommel.toml` and needs no start. Returns whether the next
    /// reload takes something of it into service.
    async fn take_settings_over(&mut self) -> bool {
        match self.settings.look(&self.metrics).await {
            Some((filters, limits)) => match self.loader.adopt(filters, limits) {
                Ok(()) => true,
                Err(too_little) => {
                    self.settings.refused(&too_little, &self.metrics);
                    false
                }
            },
            None => false,
        }
    }

    async fn learn(&mut self, schemas: Vec<AvroSchema>) -> ReloadReport {
        let report = self.loader.learn(schemas).await;
        if report.generation.is_none() {
            self.fetcher.iter_mut().for_each(SchemaFetcher::put_off);
        }
        report
    }

    fn tell(&self, ReloadReport { generation, refused, difference }: ReloadReport) {
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
        let [added, changed, removed] =
            [EntryChange::Added, EntryChange::Changed, EntryChange::Removed].map(|how| difference.listed(how));
        tracing::info!(generation, added, changed, removed, files = difference.files(), "reloaded");
    }
}

impl AwaitedReload {
    /// Adds what one reading has come to: a component that was compiled takes another one.
    fn add(&mut self, report: &ReloadReport) {
        if self.waiting.is_empty() {
            return;
        }
        let ReloadResult { generation, changes, problems, .. } = &mut self.result;
        *generation = report.generation.or(*generation);
        changes.0.extend(report.difference.0.iter().cloned());
        problems.extend(report.refused.iter().cloned().map(Into::into));
    }

    /// Answers those who wait, with problems that are known from earlier as well.
    fn answer(&mut self, standing: Vec<Problem>, settings: &SettingsWatch) {
        if self.waiting.is_empty() {
            return;
        }
        let mut result = mem::take(&mut self.result);
        result.done = true;
        for problem in standing.into_iter().map(ReloadProblem::from) {
            // A file that was refused just now is among both.
            if result.problems.iter().all(|known| known.place != problem.place) {
                result.problems.push(problem);
            }
        }
        result.problems.extend(settings.problems.iter().cloned().map(Into::into));
        result.at_next_start.clone_from(&settings.at_next_start);
        // An operator that has left does not need the answer.
        self.waiting.drain(..).for_each(|waits| drop(waits.send(result.clone())));
    }
}

/// Waits for the schema registry's next answers. `None` without one.
async fn answered(fetcher: &mut Option<SchemaFetcher>) -> Option<Vec<AvroSchema>> {
    match fetcher {
        Some(fetcher) => Some(fetcher.answered().await),
        None => None,
    }
}

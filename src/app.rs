//! The composition root: builds every part from the configuration, runs them, and takes them down
//! in order. The only module that knows all others.

use std::{
    io,
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Notify, mpsc, watch},
    task::JoinSet,
};

use crate::{
    admin::{self, AdminListener, OwnCommands},
    api::{ApiClient, ApiClients},
    config::{
        ApiConfig, Config, ConfigPlace, MemoryPlan, Problem, Problems, RouterRole, StateConfig, StateKeeping, TooLittle,
    },
    control::{ConsumerDesk, LogSwitch},
    feed::LiveFeed,
    filter::{CodeCache, Host, MATCHER_STACK, StateStore},
    folder,
    metrics::Metrics,
    nats::ConnectError,
    pipeline::Pipeline,
    registry::{FolderWatch, Loader, Tenures, is_read},
    self_service::SelfServiceListener,
    sink::outlet::{OutletEnd, SinkQueue},
    source::{finite::InputProgress, letters::RetryJournal},
    stop::{Stop, Stopper, stop},
    summary::RunSummary,
    telemetry::{SpanExport, Tracer},
    verify::OutputRecording,
};

mod attended;
mod backfill;
mod clients;
mod deliveries;
mod isolated;
mod letter_key;
mod observer;
mod outlets;
mod partitioned;
mod patience;
mod program;
mod registry_updater;
mod replay;
mod retry;
mod running;
mod settings_watch;
mod silence;
mod sources;
mod streams;
mod verification;
mod watched;
mod writer_schemas;

use attended::{PlaneWithOrders, ServedControl};
pub use backfill::{BackfillSettings, backfill, feeding};
use clients::check_clients;
pub use letter_key::letter_signer;
use outlets::OutletStarter;
pub use outlets::dead_letter_stream;
use patience::StartupPatience;
pub use program::ProgramParts;
use registry_updater::{CHANGES, RegistryUpdater, schema_fetcher};
pub use replay::{ReplaySettings, replay};
pub use retry::{RetrySettings, fed, retry};
pub use running::{RunningRouter, start};
use settings_watch::SettingsWatch;
pub use sources::outstanding;
pub use streams::declared_streams;
pub use verification::{VerificationRun, verification};
pub use writer_schemas::load;

/// Error that ended a run. The variant names the area of the cause.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the configuration has problems")]
    Config(#[source] Problems),
    #[error("could not connect to NATS")]
    Connect(#[source] ConnectError),
    #[error(transparent)]
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for RunError {
    fn from(error: anyhow::Error) -> Self {
        error.downcast().map_or_else(Self::Failed, Self::Connect)
    }
}

/// Handles with which a router is controlled and observed while it runs.
pub struct RouterControls {
    pub stopper: Stopper,
    pub stop: Stop,
    /// Becomes true once the router runs, with its sources open.
    pub started: watch::Sender<bool>,
    /// Buses, sinks and sources of the embedding program.
    pub program: ProgramParts,
    /// Reloads without a change in the folders.
    pub reload: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    /// Progress through a finite input.
    pub progress: Arc<InputProgress>,
    /// Compiled components.
    pub cache: CodeCache,
    /// The router's folder; this router takes its control socket.
    pub place: Option<PathBuf>,
    /// Makes the router serve only attached consumers, and exit when none has been attached for
    /// this long.
    pub idle_exit: Option<Duration>,
    /// Longest wait at startup for a server that is away; unlimited without it.
    pub connect_timeout: Option<Duration>,
    /// Journal of the outcomes of retried dead letters.
    pub journal: Option<Arc<RetryJournal>>,
    /// Records outputs and dead letters, which are then not delivered.
    pub recording: Option<Arc<OutputRecording>>,
    /// Changes the level of the logs, if operators of the router may do so.
    pub log: Option<Arc<LogSwitch>>,
    /// True if this program is `trommel`, whose commands the console runs.
    pub has_commands: bool,
}

impl Default for RouterControls {
    fn default() -> Self {
        let (stopper, stop) = stop();
        Self {
            stopper,
            stop,
            started: watch::Sender::new(false),
            program: ProgramParts::default(),
            reload: Arc::default(),
            metrics: Arc::default(),
            progress: Arc::default(),
            cache: CodeCache::default(),
            place: None,
            idle_exit: None,
            connect_timeout: None,
            journal: None,
            recording: None,
            log: None,
            has_commands: false,
        }
    }
}

/// Loads every component and takes every route into service as a start would, without sources and
/// sinks. Must be called on a runtime with sockets: filters may call the API when they normalise
/// params.
///
/// # Errors
/// Returns all problems that were found.
pub async fn rehearse(config: &Config, cache: CodeCache) -> Result<Loader, Problems> {
    check_clients(config)?;
    rehearse_with(config, cache, apis(config)?).await
}

/// [`rehearse`], with these clients in the place of the router's own, which are not checked.
///
/// # Errors
/// Returns all problems that were found.
pub async fn rehearse_with(config: &Config, cache: CodeCache, apis: ApiClients) -> Result<Loader, Problems> {
    let metrics = Arc::<Metrics>::default();
    let plan = memory_plan(config)?;
    let state = StateStore::new(&StateConfig { keeping: StateKeeping::Memory, ..config.state.clone() });
    let host = Host::within(plan.components, cache, apis, state, Arc::clone(&metrics)).map_err(|error| {
        let message = format!("components can't be checked on this machine: {error:#}");
        Problems::new(vec![Problem::error(ConfigPlace::file(&config.plugins), message)])
    })?;
    let sinks = config.sinks.iter().map(|sink| (sink.name.clone(), SinkQueue::closed(&sink.name)));
    Loader::start(host, folder::load_registry, config.clone(), sinks.collect(), metrics).await
}

/// The clients for calls of the APIs. Makes no call yet.
fn apis(config: &Config) -> Result<ApiClients, Problems> {
    let client = |(name, settings): (&str, &ApiConfig)| match ApiClient::new(settings) {
        Ok(client) => Ok((name.to_owned(), client)),
        Err(error) => {
            let of = if name.is_empty() { String::new() } else { format!(" `{name}`") };
            let message = format!("the API{of} can't be called: {error:#}");
            Err(Problems::new(vec![Problem::error(settings.place.clone(), message)]))
        }
    };
    let unnamed = config.api.iter().map(|settings| ("", settings));
    let named = config.apis.iter().map(|(name, settings)| (name.as_str(), settings));
    Ok(ApiClients::new(unnamed.chain(named).map(client).collect::<Result<Vec<_>, _>>()?))
}

/// The part of the router's memory that each component of it may use.
fn memory_plan(config: &Config) -> Result<MemoryPlan, Problems> {
    MemoryPlan::new(config).map_err(|too_little| {
        let problem = Problem::error(ConfigPlace::file("trommel.toml"), too_little.to_string());
        Problems::new(vec![problem.hint(TooLittle::HINT)])
    })
}

/// The runtime to call [`run`] on, with a thread for every second core: sources, sinks and their
/// connections hand work to each other in steps of microseconds. On a thread for every core they
/// would wake and preempt each other more than they work.
///
/// # Errors
/// Returns an error if the system can't create its threads.
pub fn runtime() -> io::Result<Runtime> {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Runs a router until its sources end or it is told to stop. A server that is away at the start is
/// waited for.
///
/// # Errors
/// Returns an error if the router can't start, or after a failure that retrying does not resolve.
/// Open events are then given up, and redelivered by the broker.
pub async fn run(config: Config, controls: RouterControls) -> Result<RunSummary, RunError> {
    let began = Instant::now();
    if controls.stop.is_draining() {
        // Stopped before anything was opened.
        return Ok(RunSummary::new(&controls.metrics, began.elapsed()));
    }
    let config = if controls.idle_exit.is_some() { observer::observer(config) } else { config };
    let settings = SettingsWatch::new(&config);
    if config.sources.is_empty() {
        let message = "events come in over HTTP alone, where a router that only serves consumers does not listen: \
            start it without `--idle-exit`";
        return Err(RunError::Failed(anyhow::anyhow!(message)));
    }
    // What others watch or repeat must not change what the filters of the folder's own router keep.
    let config = match config.role {
        RouterRole::Router => config,
        _ => Config { state: StateConfig { keeping: StateKeeping::Memory, ..config.state }, ..config },
    };
    let plan = memory_plan(&config).map_err(RunError::Config)?;
    let config = plan.apply(config);
    let lanes = Builder::new_multi_thread().thread_name("lane").thread_stack_size(MATCHER_STACK).enable_time().build();
    let lanes = lanes.context("could not start the lanes' threads").map_err(RunError::Failed)?;
    // Loading thousands of keys takes long, and a filter may use up its time: events wait for
    // neither.
    let registry = Builder::new_multi_thread().worker_threads(1).thread_name("registry").enable_all().build();
    let registry = registry.context("could not start the registry's thread").map_err(RunError::Failed)?;
    let telemetry = config.telemetry.as_ref().map(SpanExport::start).transpose().map_err(RunError::Failed)?;
    let tracer = telemetry.as_ref().map(SpanExport::tracer);
    let (mut stop, mut tenures) = (controls.stop.clone(), None);
    let started = tokio::select! {
        started = RouterParts::start(
            (config, plan, settings), &controls, tracer, (lanes.handle(), registry.handle()), &mut tenures,
        ) => started.map(Some),
        // Whatever startup is waiting for, no event was taken yet.
        () = stop.draining() => Ok(None),
    };
    let ended = match started {
        Ok(Some(router)) => router.finish(&controls, tenures).await.map_err(RunError::Failed),
        not_started => {
            if let Some(tenures) = tenures {
                tenures.close().await;
            }
            not_started.map(drop)
        }
    };
    controls.stopper.end();
    lanes.shutdown_background();
    registry.shutdown_background();
    if let Some(telemetry) = telemetry {
        telemetry.finish().await;
    }
    ended.map(|()| RunSummary::new(&controls.metrics, began.elapsed()))
}

/// All running parts. They end in the order of the fields: each waits for those that feed it.
struct RouterParts {
    config: Config,
    sources: JoinSet<anyhow::Result<()>>,
    /// Notified when all sources but the clock of the filters have ended.
    last: Arc<Notify>,
    pipeline: Pipeline,
    lanes: JoinSet<()>,
    /// Admin and reload: they run as long as the rest does.
    background: JoinSet<anyhow::Result<()>>,
    outlets: JoinSet<anyhow::Result<OutletEnd>>,
    /// The dispatcher of stored deliveries, if there is a sink that stores some.
    deliveries: JoinSet<anyhow::Result<()>>,
    dead_letters: SinkQueue,
    /// Maintains the streams as long as there is something to store in them.
    streams: JoinSet<anyhow::Result<()>>,
    /// The control socket, if this router has it.
    attended: JoinSet<anyhow::Result<()>>,
}

impl RouterParts {
    /// Starts all parts. Changes nothing upstream before the whole folder is known to be valid.
    /// Holdings upstream are put in `tenures`, so that the caller can close them after dropping
    /// this future.
    async fn start(
        (config, plan, settings): (Config, MemoryPlan, SettingsWatch),
        controls: &RouterControls,
        tracer: Option<Tracer>,
        (lanes, registry): (&Handle, &Handle),
        tenures: &mut Option<Arc<Tenures>>,
    ) -> Result<Self, RunError> {
        let RouterControls { stop, metrics, started, .. } = controls;
        controls.program.check(&config, controls.recording.is_some()).map_err(RunError::Config)?;
        let apis = apis(&config).map_err(RunError::Config)?;
        check_clients(&config).map_err(RunError::Config)?;
        let mut background = JoinSet::new();
        let has_started = started.subscribe();
        let (sender, changes) = mpsc::channel(CHANGES);
        let desk = ConsumerDesk::new(sender, plan.consumers, has_started.clone(), stop.clone());
        let PlaneWithOrders { plane, orders, paused } = attended::plane(&config, controls).map_err(RunError::Failed)?;
        let feed = LiveFeed::new(Arc::clone(metrics), stop.clone());
        if let Some(settings) = &config.admin {
            let admin = AdminListener::bind(settings).await.map_err(RunError::Failed)?;
            if let Ok(address) = admin.listener.local_addr() {
                tracing::info!(%address, "listening for admin requests");
            }
            let (started, desk) = (has_started.clone(), Arc::clone(&desk));
            let (metrics, policy) = (Arc::clone(metrics), settings.ready);
            let commands = controls.has_commands.then(|| OwnCommands::new(&config, controls.cache.folder.clone()));
            let commands =
                commands.transpose().context("can't tell which program this is").map_err(RunError::Failed)?;
            let (plane, feed) = (Arc::clone(&plane), Arc::clone(&feed));
            let view = admin::AdminView { metrics, started, stop: stop.clone(), policy, desk, plane, feed, commands };
            background.spawn(admin.serve(view));
        }
        let self_service = match &config.self_service {
            Some(settings) => Some(SelfServiceListener::bind(settings).await.map_err(RunError::Failed)?),
            None => None,
        };
        let control = attended::open(controls).await?;
        let (webhooks, wanted) = watch::channel(config.registry.webhooks.clone());
        let mut outlets = OutletStarter::new(&config, &plan, controls, wanted.clone());
        let dead_letters = outlets.open_dead_letters().map_err(RunError::Failed)?;
        let sinks = outlets.open_sinks().map_err(RunError::Failed)?;
        let (outlets, dispatcher) = outlets.into_tasks();
        if let (Some(listener), Some(behind)) = (self_service, &dispatcher) {
            background.spawn(listener.serve(clients::self_service_view(&config, controls, wanted, behind)));
        }

        let state = StateStore::new(&config.state);
        let host = Host::within(plan.components, controls.cache.clone(), apis, Arc::clone(&state), Arc::clone(metrics));
        let host = host.map_err(RunError::Failed)?;
        let mut folders = vec![config.plugins.clone(), config.keys.clone(), config.schemas.clone()];
        folders.push(config.dir.join("filters"));
        folders.extend(config.schema_registry.iter().map(|registry| registry.cache.folder().to_owned()));
        let watch = FolderWatch::new(folders, is_read);
        let loader = Loader::start(host, folder::load_registry, config.clone(), sinks, Arc::clone(metrics)).await;
        let mut loader = loader.map_err(RunError::Config)?;
        loader.pause(paused).await.map_err(|problems| RunError::Config(Problems::new(problems)))?;
        tracing::info!("{plan}");

        let mut patience = StartupPatience::new(controls.connect_timeout, config.nats.as_ref());
        let setup = streams::converge(&config, &mut patience).await?;
        if let (Some(setup), StateKeeping::Nats(_)) = (&setup, &config.state.keeping) {
            setup.open_state(&state, &mut patience).await?;
        }
        if config.role != RouterRole::Replay {
            let held = attended::tenures(&config, controls, setup.as_ref()).map_err(RunError::Failed)?;
            let held = tenures.insert(Arc::new(held));
            loader.hold_all(Arc::clone(held)).await.map_err(RunError::Config)?;
        }
        let replicas = setup.as_ref().map_or(1, |setup| setup.replicas);
        let claims = attended::tick_claims(&config, setup.as_ref(), loader.snapshots());
        let mut streams = JoinSet::new();
        if let Some(setup) = setup.filter(|setup| !setup.streams.is_empty()) {
            streams.spawn(streams::keep(setup));
        }
        let snapshots = loader.snapshots();
        let quarantined = Arc::new(Notify::new());
        background.spawn(Arc::clone(&feed).follow(snapshots.clone()));
        let ServedControl { serves, attached } = attended::attend(control, controls, &snapshots, desk, plane, feed);
        let (reload, quarantine) = (Arc::clone(&controls.reload), Arc::clone(&quarantined));
        let fetcher = schema_fetcher(&config, &loader).map_err(RunError::Failed)?;
        let metrics = Arc::clone(&controls.metrics);
        let current =
            RegistryUpdater { loader, fetcher, watch, reload, quarantined: quarantine, webhooks, metrics, settings };
        match config.role {
            RouterRole::Replay => background.spawn_on(current.keep_schemas(), registry),
            RouterRole::Router | RouterRole::Observer => background.spawn_on(current.keep(changes, orders), registry),
        };

        let (pipeline, lanes) =
            Pipeline::start(&config, &snapshots, &dead_letters, &quarantined, stop, tracer, (lanes, &controls.metrics));
        if let Some(after) = controls.idle_exit {
            background.spawn(attended::end_when_idle(attached.clone(), after, controls.stopper.clone()));
            attended::somebody(attached, stop.clone()).await;
        }
        let last = Arc::<Notify>::default();
        let (inputs, ends) = ((&pipeline, &plan), (claims, Arc::clone(&last), replicas));
        let sources = sources::start(&config, controls, inputs, &snapshots, &mut patience, ends).await;
        let sources = sources.map_err(RunError::Failed)?;
        let mut deliveries = JoinSet::new();
        if let Some((dispatcher, _)) = dispatcher {
            deliveries.spawn(dispatcher.run(stop.clone()));
        }
        if let Some(silence) = silence::watch(&config, &controls.metrics) {
            background.spawn(silence);
        }
        started.send_replace(true);
        let registry = &config.registry;
        let (keys, routes) = (registry.keys.len(), registry.routes.len() + registry.type_routes.len());
        tracing::info!(keys, routes, sources = config.sources.len(), sinks = config.sinks.len(), "running");
        Ok(Self {
            config,
            sources,
            last,
            pipeline,
            lanes,
            background,
            outlets,
            deliveries,
            dead_letters,
            streams,
            attended: serves,
        })
    }

    /// Waits for the sources to end, then for everything behind them.
    async fn finish(mut self, controls: &RouterControls, tenures: Option<Arc<Tenures>>) -> anyhow::Result<()> {
        let mut result = self.wait_for_sources(controls).await;
        if result.is_err() {
            controls.stopper.end();
        }
        drop(self.pipeline);
        while let Some(ended) = self.lanes.join_next().await {
            result = result.and(ended.context("a lane panicked"));
        }
        self.background.shutdown().await;
        // After the lanes: no event of the held routes is left.
        if let Some(tenures) = tenures {
            tenures.close().await;
        }
        drop(self.dead_letters);
        // No more changes are taken: consumers get the remaining outputs, and the reason for the
        // end.
        while let Some(ended) = self.attended.join_next().await {
            result = result.and(ended.context("the control socket's task panicked").flatten());
        }
        while let Some(ended) = self.outlets.join_next().await {
            result = result.and(ended.context("a sink's task panicked").flatten().map(drop));
        }
        while let Some(ended) = self.deliveries.join_next().await {
            result = result.and(ended.context("the dispatcher panicked").flatten());
        }
        result
    }

    async fn wait_for_sources(&mut self, controls: &RouterControls) -> anyhow::Result<()> {
        let mut stop = controls.stop.clone();
        let grace = async {
            stop.draining().await;
            // A bus and core NATS are read to their end, since they give nothing again.
            controls.metrics.sources().iter().for_each(|(_, source)| source.switch.resume());
            tokio::time::sleep(self.config.pipeline.drain).await;
        };
        tokio::pin!(grace);
        let mut gave_up = false;
        loop {
            tokio::select! {
                ended = self.sources.join_next() => match ended {
                    Some(ended) => {
                        ended.context("a source's task panicked")??;
                        if self.sources.len() == 1 {
                            self.last.notify_one();
                        }
                    }
                    None => return Ok(()),
                },
                Some(ended) = self.outlets.join_next() => match ended.context("a sink's task panicked")?? {
                    OutletEnd::ReaderLeft => {
                        tracing::info!("the reader has left, stopping");
                        controls.stopper.end();
                    }
                    OutletEnd::Drained => {}
                },
                // The other lanes end only when told to; without this one, its share of the keys
                // would not be processed.
                Some(ended) = self.lanes.join_next() => ended.context("a lane panicked")?,
                Some(ended) = self.deliveries.join_next() => ended.context("the dispatcher panicked")??,
                Some(ended) = self.streams.join_next() => ended.context("what sees to the streams panicked")??,
                Some(ended) = self.attended.join_next() => ended.context("the control socket's task panicked")??,
                Some(ended) = self.background.join_next() => ended.context("a background task panicked")??,
                // Disabled afterwards: a future that has completed must not be polled again.
                () = &mut grace, if !gave_up => {
                    gave_up = true;
                    tracing::warn!(
                        drain = ?self.config.pipeline.drain,
                        "events are still open after the drain time, giving them back"
                    );
                    controls.stopper.end();
                }
            }
        }
    }
}

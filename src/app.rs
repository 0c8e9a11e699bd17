//! The composition root: builds every part from the configuration, runs them, and takes them down in order. The only
//! module that knows all others.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Instant,
};

use anyhow::Context;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    admin,
    config::{Config, Place, Problem, Problems, SourceKind},
    filter::Host,
    metrics::Metrics,
    nats::{self, Life},
    pipeline::Pipeline,
    registry::{Loader, Report, Watch},
    sink::outlet::{End, Queue},
    source::{
        Source,
        jetstream::JetStream,
        lines::{Lines, Progress},
    },
    stop::{Stop, Stopper},
    summary::Summary,
};

mod outlets;

use outlets::Outlets;

/// Why a run ended badly. Named after who has to act.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("the configuration has problems")]
    Config(#[source] Problems),
    #[error("could not connect to NATS")]
    Connect(#[source] nats::ConnectError),
    #[error(transparent)]
    Failed(anyhow::Error),
}

/// What can be asked of a router while it runs.
pub struct Controls {
    pub stopper: Stopper,
    pub stop: Stop,
    /// Reloads without a change in the folders.
    pub reload: Arc<Notify>,
    pub metrics: Arc<Metrics>,
    /// How far a finite input has been read.
    pub progress: Arc<Progress>,
    /// Where compiled components are kept.
    pub cache: Option<PathBuf>,
}

/// Loads every component and takes every route into service as a start would, and then ends.
///
/// # Errors
/// Everything that is wrong with them.
pub async fn check(config: &Config, cache: Option<PathBuf>) -> Result<(), Problems> {
    let metrics = Arc::<Metrics>::default();
    let host = Host::new(cache, Arc::clone(&metrics)).map_err(|error| {
        let message = format!("components can't be checked on this machine: {error:#}");
        Problems::new(vec![Problem::error(Place::file(&config.plugins), message)])
    })?;
    Loader::start(host, config.clone(), Default::default(), metrics).await.map(drop)
}

/// The runtime to call [`run`] on: sources, sinks and their connections hand on to each other all the time, in steps of
/// microseconds. On a thread for every core they would wake and preempt each other more than they work.
///
/// # Errors
/// When the system has no thread for it.
pub fn runtime() -> io::Result<Runtime> {
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// Runs a router until its sources end or it is told to stop.
///
/// # Errors
/// When it can't start, or when something fails that trying again does not mend. What was open is then given up, and
/// comes back from the broker.
pub async fn run(config: Config, controls: Controls) -> Result<Summary, RunError> {
    let began = Instant::now();
    let lanes = Builder::new_multi_thread().thread_name("lane").enable_time().build();
    let lanes = lanes.context("could not start the lanes' threads").map_err(RunError::Failed)?;
    let router = Router::start(config, &controls, lanes.handle()).await;
    let ended = match router {
        Ok(router) => router.finish(&controls).await.map_err(RunError::Failed),
        Err(error) => Err(error),
    };
    controls.stopper.end();
    lanes.shutdown_background();
    ended.map(|()| Summary::new(&controls.metrics, began.elapsed()))
}

/// Everything that runs. Parts end in the order of the fields: each waits for those that feed it.
struct Router {
    config: Config,
    sources: JoinSet<anyhow::Result<()>>,
    pipeline: Pipeline,
    lanes: JoinSet<()>,
    /// Admin and reload: they run as long as the rest does.
    background: JoinSet<anyhow::Result<()>>,
    outlets: JoinSet<anyhow::Result<End>>,
    dead_letters: Queue,
}

impl Router {
    async fn start(config: Config, controls: &Controls, lanes: &Handle) -> Result<Self, RunError> {
        let Controls { stop, metrics, .. } = controls;
        let mut background = JoinSet::new();
        let started = Arc::new(AtomicBool::new(false));
        if let Some(admin) = config.admin {
            let listener = admin::bind(admin.listen).await.map_err(RunError::Failed)?;
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "listening for admin requests");
            }
            let view = admin::View { metrics: Arc::clone(metrics), started: Arc::clone(&started), stop: stop.clone() };
            background.spawn(admin::serve(listener, view));
        }
        converge_streams(&config).await?;
        let mut outlets = Outlets::new(&config, controls);
        let dead_letters = outlets.open_dead_letters().await.map_err(RunError::Failed)?;
        let sinks = outlets.open_sinks().await.map_err(RunError::Failed)?;
        let outlets = outlets.into_tasks();

        let host = Host::new(controls.cache.clone(), Arc::clone(metrics)).map_err(RunError::Failed)?;
        let watch = Watch::new(vec![config.plugins.clone(), config.keys.clone()]);
        let loader = Loader::start(host, config.clone(), sinks, Arc::clone(metrics)).await.map_err(RunError::Config)?;
        let snapshots = loader.snapshots();
        let quarantined = Arc::new(Notify::new());
        background.spawn(keep_current(loader, watch, Arc::clone(&controls.reload), Arc::clone(&quarantined)));

        let (pipeline, lanes) = Pipeline::start(&config, &snapshots, &dead_letters, &quarantined, stop, lanes);
        let sources = start_sources(&config, controls, &pipeline).await.map_err(RunError::Failed)?;
        started.store(true, Ordering::Release);
        let registry = &config.registry;
        let (keys, routes) = (registry.keys.len(), registry.routes.len());
        tracing::info!(keys, routes, sources = config.sources.len(), sinks = config.sinks.len(), "running");
        Ok(Self { config, sources, pipeline, lanes, background, outlets, dead_letters })
    }

    /// Waits for the sources to end, then for everything behind them.
    async fn finish(mut self, controls: &Controls) -> anyhow::Result<()> {
        let failed = self.wait_for_sources(controls).await;
        if failed.is_err() {
            controls.stopper.end();
        }
        drop(self.pipeline);
        while self.lanes.join_next().await.is_some() {}
        self.background.shutdown().await;
        drop(self.dead_letters);
        let mut result = failed;
        while let Some(ended) = self.outlets.join_next().await {
            result = result.and(ended.context("a sink's task panicked").flatten().map(drop));
        }
        result
    }

    async fn wait_for_sources(&mut self, controls: &Controls) -> anyhow::Result<()> {
        let mut stop = controls.stop.clone();
        let grace = async {
            stop.draining().await;
            tokio::time::sleep(self.config.pipeline.drain).await;
        };
        tokio::pin!(grace);
        let mut gave_up = false;
        loop {
            tokio::select! {
                ended = self.sources.join_next() => match ended {
                    Some(ended) => ended.context("a source's task panicked")??,
                    None => return Ok(()),
                },
                Some(ended) = self.outlets.join_next() => match ended.context("a sink's task panicked")?? {
                    End::ReaderLeft => {
                        tracing::info!("the reader has left, stopping");
                        controls.stopper.end();
                    }
                    End::Drained => {}
                },
                Some(ended) = self.background.join_next() => ended.context("a background task panicked")??,
                () = &mut grace, if !gave_up => {
                    gave_up = true;
                    tracing::warn!(drain = ?self.config.pipeline.drain, "events are still open after the drain time, giving them back");
                    controls.stopper.end();
                }
            }
        }
    }
}

/// Reloads when the folders change or when asked to, and rolls back what is quarantined.
async fn keep_current(
    mut loader: Loader,
    mut watch: Watch,
    reload: Arc<Notify>,
    quarantined: Arc<Notify>,
) -> anyhow::Result<()> {
    loop {
        let Report { generation, refused } = tokio::select! {
            () = watch.changed() => loader.reload().await,
            () = reload.notified() => loader.reload().await,
            () = quarantined.notified() => loader.roll_back().await,
        };
        for refused in refused {
            tracing::error!("not reloaded, what was good stays in force: {refused}");
        }
        if let Some(generation) = generation {
            tracing::info!(generation, "reloaded");
        }
    }
}

/// Makes the streams that the configuration wants, or brings them in line.
async fn converge_streams(config: &Config) -> Result<(), RunError> {
    let Some(settings) = &config.nats else { return Ok(()) };
    let connection = nats::connect(settings, "setup", Life::Reconnecting).await.map_err(RunError::Connect)?;
    let wanted = config.streams.iter().cloned().chain(outlets::dead_letter_stream(config));
    for stream in wanted {
        let converged = connection.ensure_stream(&stream).await;
        let converged = converged.map_err(|error| RunError::Failed(error.into()))?;
        tracing::debug!(stream = stream.name, ?converged, "stream is as configured");
    }
    Ok(())
}

async fn start_sources(
    config: &Config,
    controls: &Controls,
    pipeline: &Pipeline,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut sources = JoinSet::new();
    for source in &config.sources {
        let at = || format!("could not open source `{}`", source.name);
        let intake_metrics = controls.metrics.source(&source.name);
        let stop = controls.stop.clone();
        match &source.kind {
            SourceKind::Lines(settings) => {
                let progress = Arc::clone(&controls.progress);
                let lines = Lines::new(source, settings, progress).with_context(at)?;
                sources.spawn(lines.run(pipeline.intake(intake_metrics), stop));
            }
            SourceKind::JetStream(settings) => {
                let nats = config.nats.as_ref().context("`[nats]` is missing in `trommel.toml`")?;
                let connection = nats::connect(nats, &source.name, Life::Reconnecting).await.with_context(at)?;
                let in_flight = config.pipeline.in_flight.get();
                let jetstream = JetStream::open(connection, source, settings, in_flight);
                sources.spawn(jetstream.await.with_context(at)?.run(pipeline.intake(intake_metrics), stop));
            }
        }
    }
    Ok(sources)
}

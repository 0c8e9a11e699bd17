//! `trommel run DIR`.

use std::{
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;
use indicatif::ProgressBar;
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::Notify,
    time::sleep,
};
use tracing::Level;

use crate::{
    app::{self, RouterControls, RunError},
    cli::{
        CacheArgs, exit,
        logs::{self, LogArgs},
    },
    config::{self, Config, Problem, SinkKind, SourceKind},
    metrics::Metrics,
    nats::{ApiError, ConnectError, ConnectTrouble, NoPermission, code},
    source::{finite::InputProgress, jetstream::ConsumerError, letters::RetryJournal},
    stop::{Stopper, stop},
    summary::RunSummary,
};

/// Longest time that a run may take to end after the second signal.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[derive(Debug, Args)]
pub struct RunCommand {
    /// The router's folder, with `trommel.toml`, `keys/` and `plugins/`
    dir: PathBuf,
    /// Serve only consumers that attach, change nothing that others see, and exit when none has
    /// been attached for this long
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    idle_exit: Option<Duration>,
    /// Give up the start if the NATS server is unreachable for this long, instead of waiting for it
    #[arg(long, value_name = "DURATION", value_parser = config::duration)]
    connect_timeout: Option<Duration>,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    logs: LogArgs,
}

impl RunCommand {
    pub fn execute(self) -> ExitCode {
        let foreground = ForegroundRouter {
            cache: &self.cache,
            logs: &self.logs,
            place: Some(self.dir.clone()),
            idle_exit: self.idle_exit,
            // With `--idle-exit` a consumer waits for the start, and needs the failure reported at
            // once.
            connect_timeout: self.connect_timeout.or(self.idle_exit.map(|_| Duration::ZERO)),
            journal: None,
        };
        foreground.run(load(&self.dir))
    }
}

/// Loads a router's folder, with the schemas that its sinks write by.
fn load(dir: &Path) -> Result<Config, RunError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("could not start the runtime").map_err(RunError::Failed)?;
    runtime.block_on(app::load(dir)).map_err(RunError::Config)
}

/// A router in the foreground: its logs, its live line, its signals.
pub(super) struct ForegroundRouter<'a> {
    pub(super) cache: &'a CacheArgs,
    pub(super) logs: &'a LogArgs,
    /// Folder whose control socket the router opens; `None` for none.
    pub(super) place: Option<PathBuf>,
    pub(super) idle_exit: Option<Duration>,
    pub(super) connect_timeout: Option<Duration>,
    /// Results of a retry of dead letters, set only for one.
    pub(super) journal: Option<Arc<RetryJournal>>,
}

impl ForegroundRouter<'_> {
    /// Runs to the end, and logs the result.
    pub(super) fn run(self, config: Result<Config, RunError>) -> ExitCode {
        let logs = self.logs;
        match config.and_then(|config| self.serve(config)) {
            Ok(summary) => {
                logs.end(Level::INFO, &summary.to_string(), &summary);
                ExitCode::SUCCESS
            }
            Err(error) => failed(logs, &error),
        }
    }

    pub(super) fn serve(self, config: Config) -> Result<RunSummary, RunError> {
        let line = logs::live_line(has_live_line(&config));
        self.logs.start(&line).map_err(RunError::Failed)?;
        config.warnings.iter().for_each(Problem::warn);
        let runtime = app::runtime().context("could not start the runtime").map_err(RunError::Failed)?;
        let ended = runtime.block_on(self.drive(config, line.clone()));
        line.finish_and_clear();
        // A read of standard input can't be cancelled, and must not delay the exit.
        runtime.shutdown_background();
        ended
    }

    async fn drive(self, config: Config, line: ProgressBar) -> Result<RunSummary, RunError> {
        let (stopper, stop) = stop();
        let controls = RouterControls {
            stopper: stopper.clone(),
            stop,
            cache: self.cache.code(),
            place: self.place,
            idle_exit: self.idle_exit,
            connect_timeout: self.connect_timeout,
            journal: self.journal,
            log: self.logs.switch(),
            has_commands: true,
            ..RouterControls::default()
        };
        let signals = obey(stopper, Arc::clone(&controls.reload)).map_err(RunError::Failed)?;
        let shows = show(line, Arc::clone(&controls.metrics), Arc::clone(&controls.progress));
        tokio::select! {
            ended = app::run(config, controls) => ended,
            // Resolves only after a second signal that the run has not obeyed in time.
            never = signals => Err(RunError::Failed(never)),
            never = shows => match never {},
        }
    }
}

/// Logs the reason for which a run has failed, and returns its exit code.
pub(super) fn failed(logs: &LogArgs, error: &RunError) -> ExitCode {
    match error {
        RunError::Config(problems) => logs.end(Level::ERROR, &problems.to_string(), problems),
        other => logs.end(Level::ERROR, &report(other), &()),
    }
    ExitCode::from(code(error))
}

/// Handles signals: SIGINT and SIGTERM drain, a second one stops at once, SIGHUP reloads. Resolves
/// only if the run has not ended in time after the second one.
fn obey(stopper: Stopper, reload: Arc<Notify>) -> anyhow::Result<impl Future<Output = anyhow::Error>> {
    let listen = |kind| signal(kind).context("could not listen for signals");
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut hang_up = listen(SignalKind::hangup())?;
    Ok(async move {
        let mut stops = 0;
        loop {
            tokio::select! {
                _ = interrupt.recv() => stops += 1,
                _ = terminate.recv() => stops += 1,
                _ = hang_up.recv() => {
                    tracing::info!("reloading, as SIGHUP says");
                    reload.notify_one();
                    continue;
                }
            }
            if stops == 1 {
                tracing::info!("stopping when what is open is done; a second signal stops at once");
                stopper.drain();
            } else {
                stopper.end();
                sleep(LAST_WORDS).await;
                return anyhow::anyhow!("stopped at once; what was open comes back from the broker");
            }
        }
    })
}

/// Keeps the live line up to date.
async fn show(line: ProgressBar, metrics: Arc<Metrics>, progress: Arc<InputProgress>) -> std::convert::Infallible {
    let began = Instant::now();
    loop {
        sleep(Duration::from_millis(100)).await;
        let received = RunSummary::new(&metrics, began.elapsed()).received;
        let rate = received as f64 / began.elapsed().as_secs_f64();
        let share = progress.share().map(|share| format!(", {:.0} %", share * 100.0)).unwrap_or_default();
        line.set_message(format!("{received} events, {rate:.0}/s{share}"));
    }
}

/// Returns whether a live line makes sense: for input that ends, on a terminal that is not used for
/// the output itself.
fn has_live_line(config: &Config) -> bool {
    let is_finite = config.sources.iter().all(|source| match &source.kind {
        SourceKind::Lines(lines) => lines.path.is_some(),
        SourceKind::AvroFile(_) | SourceKind::Replay(_) => true,
        SourceKind::JetStream(_)
        | SourceKind::Nats(_)
        | SourceKind::Bus(_)
        | SourceKind::Program(_)
        | SourceKind::Http(_)
        | SourceKind::Letters(_) => false,
    });
    let prints = config.sinks.iter().any(|sink| sink.kind == SinkKind::Stdout);
    is_finite && !(prints && io::stdout().is_terminal())
}

fn code(error: &RunError) -> u8 {
    match error {
        RunError::Config(_) => exit::INVALID,
        RunError::Connect(error) => unconnected(error),
        RunError::Failed(error) => error.chain().find_map(at_fault).unwrap_or(exit::FAILED),
    }
}

/// Returns the exit code for a cause, if it tells who has to act.
fn at_fault(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    let denied = cause.is::<NoPermission>().then_some(exit::DENIED);
    let refused = || {
        matches!(cause.downcast_ref()?, ApiError::Refused { code, .. } if code::is_final(*code))
            .then_some(exit::INVALID)
    };
    let unfit = || cause.downcast_ref::<ConsumerError>().filter(|error| !error.is_passing()).map(|_| exit::INVALID);
    denied.or_else(unfit).or_else(refused).or_else(|| cause.downcast_ref().map(unconnected))
}

fn unconnected(error: &ConnectError) -> u8 {
    match error.trouble {
        ConnectTrouble::Settings => exit::INVALID,
        ConnectTrouble::Auth => exit::DENIED,
        ConnectTrouble::Tls | ConnectTrouble::Network => exit::UNREACHABLE,
    }
}

/// Formats the whole cause chain, once.
fn report(error: &RunError) -> String {
    let mut text = format!("error: {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

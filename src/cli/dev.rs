//! `trommel dev DIR`: a router for the development of filters, restarted when its inputs change.

use std::{
    env,
    io::{self, Write},
    path::PathBuf,
    process::{ExitCode, ExitStatus},
    time::Duration,
};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

use crate::{
    cli::{
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    registry::FolderWatch,
    text,
};

mod server;
mod sources;

use server::NatsServer;
use sources::PluginSources;

/// Longest time that a process may take to exit in good order.
const PATIENCE: Duration = Duration::from_secs(10);

/// Run a router while its filters are written
///
/// Runs the `build` scripts of the folder and of its `plugins`, and again whenever a source
/// changes; shows every event that comes in, what goes out, and why something was dropped. Keys and
/// components are reloaded while the router runs; it is started again when `trommel.toml` or its
/// input changes.
#[derive(Args, Debug)]
pub struct DevCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Start the `nats-server` on the `PATH` at the address in `[nats]`, with its store in the
    /// router's folder
    #[arg(long)]
    nats: bool,
}

impl DevCommand {
    pub fn execute(self) -> ExitCode {
        let runtime = Builder::new_current_thread().enable_all().build();
        let ended = runtime
            .map_err(|error| CommandRefusal::new(RefusalKind::Internal, "runtime", error.to_string()))
            .and_then(|runtime| runtime.block_on(self.run()));
        ended.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(false))
    }

    async fn run(&self) -> Result<(), CommandRefusal> {
        let internal = |error: io::Error| CommandRefusal::new(RefusalKind::Internal, "signals", error.to_string());
        let mut interrupt = signal(SignalKind::interrupt()).map_err(internal)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(internal)?;
        let mut server = None;
        let mut sources = PluginSources::find(&self.dir);
        // Before the build, so that no change from here on is missed.
        let watch = FolderWatch::new(sources.folders(), |_| true);
        sources.build_changed().await;
        if self.nats {
            server = Some(NatsServer::start(&self.dir).await?);
        }
        let ended = tokio::select! {
            ended = self.keep_going(sources, watch) => ended,
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
        };
        if let Some(server) = server {
            server.stop().await;
        }
        ended
    }

    /// Runs the router, and restarts it whenever it has to be. Ends only if it can't be started.
    async fn keep_going(&self, mut sources: PluginSources, mut watch: FolderWatch) -> Result<(), CommandRefusal> {
        loop {
            let mut router = RouterProcess::start(&self.dir)?;
            loop {
                let ended = tokio::select! {
                    () = watch.changed() => None,
                    // A router that has exited is not awaited again: only a change restarts it.
                    ended = router.child.wait(), if router.runs => Some(ended),
                };
                match ended {
                    Some(ended) => {
                        router.runs = false;
                        say(&format!("{}; waiting for a change, ctrl-c ends", how(ended)));
                    }
                    None => {
                        let changed = sources.changed();
                        if changed.built {
                            // Renewed before the build: there may be new folders, and a save during
                            // the build must not be missed.
                            watch = FolderWatch::new(sources.folders(), |_| true);
                            sources.build_changed().await;
                        }
                        if changed.settings || !router.runs {
                            break;
                        }
                    }
                }
            }
            router.stop().await;
        }
    }
}

/// `trommel run` as a process of its own: a crash or exit of the router does not end `dev`.
struct RouterProcess {
    child: Child,
    /// False once the process has exited: it is then neither awaited nor stopped.
    runs: bool,
}

impl RouterProcess {
    fn start(dir: &PathBuf) -> Result<Self, CommandRefusal> {
        let failed = |error: io::Error| {
            CommandRefusal::new(RefusalKind::Internal, "router", format!("can't start the router: {error}"))
        };
        let program = env::current_exe().map_err(failed)?;
        let child = Command::new(program).args(["run", "--show", "--quick-code"]).arg(dir).kill_on_drop(true).spawn();
        Ok(Self { child: child.map_err(failed)?, runs: true })
    }

    async fn stop(mut self) {
        if self.runs {
            end(&mut self.child).await;
        }
    }
}

/// Ends a process in good order. One that does not exit in time is killed when it is dropped.
async fn end(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // The process may have exited by itself.
        let _ = kill_process(pid, Signal::TERM);
    }
    let _ = timeout(PATIENCE, child.wait()).await;
}

fn how(ended: io::Result<ExitStatus>) -> String {
    match ended {
        Ok(status) if status.success() => "the input has ended".to_owned(),
        Ok(status) => format!("the router has ended: {status}"),
        Err(error) => format!("the router is lost: {error}"),
    }
}

fn say(text: &str) {
    // A failed write to stderr can't be reported anywhere else.
    let _ = writeln!(terminal::stderr(), "dev: {}", text::line(text));
}

//! `trommel stop` (L127).

use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::status::places;
use crate::{
    cli::{exit, keys, refusal::CommandRefusal, runtime},
    control::{
        SocketPlace,
        client::{self, RouterLookup, ask, find},
        protocol::{ControlRequest, RouterAnswer},
    },
};

/// Longest time that a router may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Stop a router that runs in the background or elsewhere
#[derive(Args, Debug)]
pub struct StopCommand {
    /// The router's folder
    #[arg(required_unless_present = "all")]
    dir: Option<PathBuf>,
    /// Every router of this user
    #[arg(long, conflicts_with = "dir")]
    all: bool,
    /// Stop it even while consumers are attached, and kill it if it does not end within 5 s
    #[arg(long)]
    force: bool,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct StopReport {
    router: String,
    #[serde(flatten)]
    result: StopResult,
}

#[derive(Debug, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
enum StopResult {
    Stopped {
        pid: Option<u32>,
        killed: bool,
    },
    NotRunning,
    /// Refused because consumers are attached.
    Refused {
        pid: u32,
        consumers: Vec<u32>,
    },
    Error {
        message: String,
    },
}

impl StopCommand {
    pub fn execute(self) -> ExitCode {
        self.stop().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn stop(&self) -> std::result::Result<ExitCode, CommandRefusal> {
        let places = places(self.dir.as_ref())?;
        let runtime = runtime()?;
        let mut all = Vec::new();
        for place in places {
            let result = runtime.block_on(end(&place, self.force));
            if !(self.all && matches!(result, StopResult::NotRunning)) {
                all.push(StopReport { router: place.router.display().to_string(), result });
            }
        }
        let text = match self.json {
            true => keys::json(&serde_json::json!({ "results": all }))?,
            false if all.is_empty() => "no router runs".to_owned(),
            false => all.iter().map(StopReport::text).collect::<Vec<_>>().join("\n"),
        };
        keys::print(&text)?;
        // The exit code is the same in both formats (X12).
        let bad = all.iter().any(|one| matches!(one.result, StopResult::Refused { .. } | StopResult::Error { .. }));
        Ok(if bad { ExitCode::from(exit::INVALID) } else { ExitCode::SUCCESS })
    }
}

async fn end(place: &SocketPlace, force: bool) -> StopResult {
    let error = |what: &str, error: io::Error| StopResult::Error { message: format!("{what}: {error}") };
    let pid = match find(place).await {
        Ok(RouterLookup::NotRunning) => return StopResult::NotRunning,
        Ok(RouterLookup::Running(mut link)) => match ask(&mut link, &ControlRequest::Shutdown { force }).await {
            Ok(RouterAnswer::ShutdownAck { pid, stopping: true, .. }) => Some(pid),
            Ok(RouterAnswer::ShutdownAck { pid, consumers, .. }) => return StopResult::Refused { pid, consumers },
            Ok(other) => return StopResult::Error { message: format!("its answer is not understood: {other:?}") },
            Err(_) if force => client::pid(place),
            Err(failed) => return error("it does not answer", failed),
        },
        Ok(RouterLookup::Orphan(pid)) if force => pid,
        Ok(RouterLookup::Orphan(_)) => {
            return StopResult::Error {
                message: "it runs, but its control socket is gone: `--force` kills it".to_owned(),
            };
        }
        Err(failed) => return error("can't look for it", failed),
    };
    if ended(place).await {
        return StopResult::Stopped { pid, killed: false };
    }
    let seconds = PATIENCE.as_secs();
    if !force {
        return StopResult::Error {
            message: format!("still at work after {seconds} s: it ends when what is open is done, or with `--force`"),
        };
    }
    let Some(process) = pid.and_then(|pid| Pid::from_raw(pid.try_into().ok()?)) else {
        return StopResult::Error { message: "it does not end, and its process id is not known".to_owned() };
    };
    if let Err(failed) = kill_process(process, Signal::KILL) {
        return error("can't kill it", failed.into());
    }
    if !ended(place).await {
        return StopResult::Error { message: format!("killed, and still there after {seconds} s") };
    }
    match fs::remove_file(place.socket()) {
        Err(failed) if failed.kind() != io::ErrorKind::NotFound => {
            error("killed, but its socket can't be removed", failed)
        }
        _ => StopResult::Stopped { pid, killed: true },
    }
}

/// Waits until the router's lock is free; false if that takes too long.
async fn ended(place: &SocketPlace) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Ok(false) = client::is_locked(place) {
            return true;
        }
        sleep(PAUSE).await;
    }
    false
}

impl StopReport {
    fn text(&self) -> String {
        let Self { router, result } = self;
        match result {
            StopResult::Stopped { killed: true, .. } => format!("{router}: killed"),
            StopResult::Stopped { .. } => format!("{router}: stopped"),
            StopResult::NotRunning => format!("{router}: no router runs"),
            StopResult::Refused { consumers, .. } => {
                let pids: Vec<_> = consumers.iter().map(u32::to_string).collect();
                let pids = pids.join(", ");
                format!("{router}: consumers are attached (processes {pids}): end them first, or give `--force`")
            }
            StopResult::Error { message } => format!("{router}: {message}"),
        }
    }
}

//! Starting a router in the background for those who attach to it, when none runs.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom},
    os::unix::{fs::OpenOptionsExt, process::CommandExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    cli::refusal::{Kind, Refusal},
    control::{
        Link, Place,
        client::{Found, find},
    },
};

/// How long it stays when no consumers attached (L86).
const IDLE_EXIT: &str = "30s";
/// How long it may take until it can be attached to: it compiles its components first.
const STARTUP: Duration = Duration::from_secs(60);
/// How long one that has closed the connection may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes from which on the log of earlier routers makes room, for the one before it at most.
const LARGE_LOG: u64 = 5 << 20;
/// Of its log, in an error.
const LAST_LINES: usize = 5;

/// A router that was started here, and its log.
pub(super) struct Router {
    process: Child,
    log: File,
    /// Where in the log its own lines begin.
    from: u64,
}

/// Starts a router for this folder and connects to it, or to the one that somebody else has started meanwhile: of those
/// who want one at the same time, one starts it and the others wait (L83).
pub(super) async fn start(place: &Place) -> Result<(Link, Option<Router>), Refusal> {
    place.make().map_err(at)?;
    let turn = File::options().create(true).truncate(false).write(true).mode(0o600).open(place.start_lock());
    let turn = turn.map_err(at)?;
    let began = Instant::now();
    loop {
        let is_ours = match turn.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => false,
            Err(TryLockError::Error(error)) => return Err(at(error)),
        };
        if let Ok(Found::Running(link)) = find(place).await {
            return Ok((link, None));
        }
        if is_ours {
            let mut router = spawn(place).map_err(at)?;
            return Ok((router.connect(place).await?, Some(router)));
        }
        if began.elapsed() > STARTUP {
            return Err(slow(place));
        }
        sleep(PAUSE).await;
    }
}

fn at(error: io::Error) -> Refusal {
    Refusal::new(Kind::Internal, "start", format!("could not start a router in the background: {error}"))
}

fn spawn(place: &Place) -> io::Result<Router> {
    put_aside_if_large(&place.log())?;
    let mut log = File::options().create(true).append(true).read(true).mode(0o600).open(place.log())?;
    let from = log.seek(SeekFrom::End(0))?;
    let process = Command::new(std::env::current_exe()?)
        .arg("run")
        .arg(&place.router)
        .args(["--idle-exit", IDLE_EXIT])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.try_clone()?)
        // Out of reach of the terminal's Ctrl-C.
        .process_group(0)
        .spawn()?;
    Ok(Router { process, log, from })
}

impl Router {
    /// Connects as soon as it answers.
    async fn connect(&mut self, place: &Place) -> Result<Link, Refusal> {
        let began = Instant::now();
        loop {
            if let Ok(Found::Running(link)) = find(place).await {
                return Ok(link);
            }
            let ended = self.process.try_wait().map_err(at)?;
            if let Some(status) = ended
                // One that was started by hand may have been quicker.
                && !matches!(find(place).await, Ok(Found::Running(_) | Found::Orphan(_)))
            {
                let message = format!("the router that was started in the background ended with {status}");
                return Err(Refusal::new(Kind::Precondition, "router_ended", message).hint(self.last_lines()));
            }
            if began.elapsed() > STARTUP {
                // It may have ended by itself meanwhile.
                let _ = self.process.kill();
                return Err(slow(place));
            }
            sleep(PAUSE).await;
        }
    }

    /// What it said last, once it has ended.
    pub(super) async fn last_words(&mut self) -> String {
        let began = Instant::now();
        while matches!(self.process.try_wait(), Ok(None)) && began.elapsed() < LAST_WORDS {
            sleep(PAUSE).await;
        }
        self.last_lines()
    }

    fn last_lines(&mut self) -> String {
        let mut text = String::new();
        let read = self.log.seek(SeekFrom::Start(self.from)).and_then(|_| self.log.read_to_string(&mut text));
        if let Err(error) = read {
            return format!("its log can't be read: {error}");
        }
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }
}

/// L88
fn put_aside_if_large(log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > LARGE_LOG => fs::rename(log, log.with_extension("log.1")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn slow(place: &Place) -> Refusal {
    let message = format!("no router could be attached to within {STARTUP:?}");
    Refusal::new(Kind::Network, "slow_start", message).hint(format!("its log is `{}`", place.log().display()))
}

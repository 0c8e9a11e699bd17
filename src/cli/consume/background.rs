//! Starts a router in the background for consumers, if none runs.

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
    cli::refusal::{CommandRefusal, RefusalKind},
    control::{
        ControlLink, SocketPlace,
        client::{RouterLookup, find},
    },
};

/// Time without attached consumers after which the router exits (L86).
const IDLE_EXIT: &str = "30s";
/// Longest time until the router accepts consumers: it compiles its components first.
const STARTUP: Duration = Duration::from_secs(60);
/// Longest time that a router may take to exit after it has closed the connection.
const LAST_WORDS: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);
/// Size of the log in bytes from which it is moved aside, replacing the log moved aside before.
const LARGE_LOG: u64 = 5 << 20;
/// Lines of the router's log that an error includes.
const LAST_LINES: usize = 5;

/// A router that this process has started, and its log.
pub(super) struct BackgroundRouter {
    process: Child,
    log: File,
    /// Offset in the log at which this router's lines begin.
    from: u64,
}

/// Starts a router for this folder and connects to it, or to one that another process has started
/// meanwhile: of several processes that try at the same time, one starts it and the others wait
/// (L83).
pub(super) async fn start(place: &SocketPlace) -> Result<(ControlLink, Option<BackgroundRouter>), CommandRefusal> {
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
        // The lock first: if its last holder has started a router, that one is found here.
        if let Ok(RouterLookup::Running(link)) = find(place).await {
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

fn at(error: io::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "start", format!("could not start a router in the background: {error}"))
}

fn spawn(place: &SocketPlace) -> io::Result<BackgroundRouter> {
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
        // Not reached by the terminal's Ctrl-C.
        .process_group(0)
        .spawn()?;
    Ok(BackgroundRouter { process, log, from })
}

impl BackgroundRouter {
    /// Connects as soon as the router answers.
    async fn connect(&mut self, place: &SocketPlace) -> Result<ControlLink, CommandRefusal> {
        let began = Instant::now();
        loop {
            if let Ok(RouterLookup::Running(link)) = find(place).await {
                return Ok(link);
            }
            let ended = self.process.try_wait().map_err(at)?;
            if let Some(status) = ended
                // A router that was started by hand may have been quicker.
                && !matches!(find(place).await, Ok(RouterLookup::Running(_) | RouterLookup::Orphan(_)))
            {
                let message = format!("the router that was started in the background ended with {status}");
                return Err(
                    CommandRefusal::new(RefusalKind::Precondition, "router_ended", message).hint(self.last_lines())
                );
            }
            if began.elapsed() > STARTUP {
                // The router may have exited by itself meanwhile.
                let _ = self.process.kill();
                return Err(slow(place));
            }
            sleep(PAUSE).await;
        }
    }

    /// Returns the last lines of the router's log, once it has exited.
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

/// Moves a log that has grown large aside (L88).
fn put_aside_if_large(log: &Path) -> io::Result<()> {
    match fs::metadata(log) {
        Ok(found) if found.len() > LARGE_LOG => fs::rename(log, log.with_extension("log.1")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn slow(place: &SocketPlace) -> CommandRefusal {
    let message = format!("no router could be attached to within {STARTUP:?}");
    CommandRefusal::new(RefusalKind::Network, "slow_start", message)
        .hint(format!("its log is `{}`", place.log().display()))
}

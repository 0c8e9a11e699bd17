//! The router's process, one life after the other, with one log for all of them.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tokio::time::sleep;

use crate::router::{Folder, get};

const PATIENCE: Duration = Duration::from_secs(90);

/// A router that runs. Killed when dropped.
pub struct RouterProcess {
    child: Child,
    log: PathBuf,
    pub admin: SocketAddr,
}

impl RouterProcess {
    /// Starts it and waits until it runs.
    pub async fn start(folder: &Folder) -> Self {
        let log = folder.file("log");
        let before = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        let stderr = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = folder.command().stdout(std::process::Stdio::null()).stderr(stderr).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let bytes = fs::read(&log).unwrap();
            let text = String::from_utf8_lossy(&bytes[usize::try_from(before).unwrap()..]).into_owned();
            let address = text.split_whitespace().find_map(|word| word.strip_prefix("address=")).map(str::parse);
            if let Some(Ok(admin)) = address
                && text.contains(" running ")
            {
                return Self { child, log, admin };
            }
            assert!(child.try_wait().unwrap().is_none(), "the router has ended:\n{text}");
            assert!(Instant::now() < deadline, "the router does not start:\n{text}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in good order.
    pub async fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the router does not end");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Halts it. Returns when it stands still.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).unwrap();
    }

    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Bytes of memory that it has now.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// A counter of events, over all sources.
    pub fn events(&self, counter: &str) -> u64 {
        let page = get(self.admin, "/metrics").1;
        let name = format!("trommel_source_events_{counter}{{");
        let values = page.lines().filter(|line| line.starts_with(&name)).filter_map(|line| line.rsplit_once(' '));
        values.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for RouterProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

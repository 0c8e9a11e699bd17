//! A process with its group: started without a shell and with an environment of its own, and ended
//! for certain.

use std::{env, io, process::Stdio};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::{super::Output, lines::BoundedLines};
use crate::config;

/// A running process. Dropped, its whole group is killed.
pub(super) struct ChildProcess {
    pub(super) process: Child,
    group: ProcessGroup,
    /// `None` once it gets no more.
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: BoundedLines<ChildStdout>,
    pub(super) stderr: BoundedLines<ChildStderr>,
}

/// Group of a process and of those that it starts.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // An error means that none of it is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl ChildProcess {
    /// Starts the process for the route of an output.
    ///
    /// # Errors
    /// Returns an error if there is no such program, or it can't be started.
    pub(super) fn start(settings: &config::ExecSink, output: &Output) -> anyhow::Result<Self> {
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).current_dir(&settings.directory).env_clear();
        let inherited = settings.pass_env.iter().map(String::as_str).chain(["PATH"]);
        command.envs(inherited.filter_map(|name| Some((name, env::var_os(name)?))));
        command.env("TROMMEL_KEY", &*output.key).env("TROMMEL_ROUTE", &*output.route);
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.process_group(0).spawn();
        let mut process = process.with_context(|| format!("could not start `{}`", settings.program.display()))?;
        let group = ProcessGroup(process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let pipe = || io::Error::other("a pipe of the process is missing");
        let stdin = Some(process.stdin.take().ok_or_else(pipe)?);
        let stdout = BoundedLines::new(process.stdout.take().ok_or_else(pipe)?);
        let stderr = BoundedLines::new(process.stderr.take().ok_or_else(pipe)?);
        Ok(Self { process, group, stdin, stdout, stderr })
    }

    pub(super) fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    pub(super) fn kill(&self) {
        self.group.signal(Signal::KILL);
    }
}

//! Commands of this program, run for the page: it can do what the command line can, in the same way
//! and with the same words. Each runs in a process of its own, which is ended when it takes too
//! long or says too much, and disturbs the router as little as one that a user starts.

use std::{
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Command,
    sync::Semaphore,
    time::timeout,
};

use crate::config::{Config, SinkKind};

/// Commands at once. Further ones wait.
const AT_ONCE: usize = 2;
/// Longest time for a command, its wait for others included.
const TOTAL: Duration = Duration::from_secs(30);
/// Most bytes of what a command prints.
const MAX_OUTPUT: u64 = 8 << 20;

/// This program's commands on the router's folder.
#[derive(Clone)]
pub struct OwnCommands {
    program: PathBuf,
    folder: PathBuf,
    /// Cache of compiled components.
    cache: Option<PathBuf>,
    /// True if a sink writes to standard output.
    pub(super) prints: bool,
    /// True if there are webhooks to deliver to.
    pub(super) delivers: bool,
    places: Arc<Semaphore>,
}

/// What a command printed, and how it ended.
pub(super) struct CommandEnd {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Reason why a command has no end of its own.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandFailure {
    #[error("the command took longer than {TOTAL:?}, and was ended")]
    Slow,
    #[error("the command takes longer than {TOTAL:?}, and goes on: look at what it has done in a while")]
    AtWork,
    #[error("the command printed more than {MAX_OUTPUT} bytes: ask for less")]
    Long,
    #[error("the command could not be run")]
    Io(#[from] std::io::Error),
}

impl OwnCommands {
    /// # Errors
    /// Returns an error if the system can't tell the path of this program.
    pub fn new(config: &Config, cache: Option<PathBuf>) -> std::io::Result<Self> {
        // The link leads to the program as it was started, even when its file has been replaced since.
        let link = PathBuf::from("/proc/self/exe");
        let program = if link.exists() { link } else { std::env::current_exe()? };
        let prints = config.sinks.iter().any(|sink| sink.kind == SinkKind::Stdout);
        let delivers = config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Webhook(..)));
        Ok(Self {
            program,
            folder: config.dir.clone(),
            cache,
            prints,
            delivers,
            places: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Runs `trommel WORDS… FOLDER REST…`, which only reads.
    pub(super) async fn run(
        &self,
        words: &[&str],
        rest: &[String],
        input: Vec<u8>,
    ) -> Result<CommandEnd, CommandFailure> {
        let mut command = self.command(words, rest);
        command.kill_on_drop(true);
        let run = async {
            // The semaphore is never closed.
            let _place = self.places.acquire().await;
            finish(command, input).await
        };
        timeout(TOTAL, run).await.unwrap_or(Err(CommandFailure::Slow))
    }

    /// The same for one that changes something. Ended in the middle, it would have sent outputs of
    /// letters that remain: it goes on when it takes long or its client leaves.
    pub(super) async fn change(&self, words: &[&str], rest: &[String]) -> Result<CommandEnd, CommandFailure> {
        let (command, places) = (self.command(words, rest), Arc::clone(&self.places));
        let changing = tokio::spawn(async move {
            let _place = places.acquire().await;
            finish(command, Vec::new()).await
        });
        match timeout(TOTAL, changing).await {
            Ok(end) => end.map_err(std::io::Error::other)?,
            Err(_) => Err(CommandFailure::AtWork),
        }
    }

    fn command(&self, words: &[&str], rest: &[String]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(words).arg(&self.folder).args(rest);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.envs(self.cache.iter().map(|cache| ("TROMMEL_CACHE_DIR", cache)));
        command.env_remove("TROMMEL_LOG");
        command
    }
}

async fn finish(mut command: Command, input: Vec<u8>) -> Result<CommandEnd, CommandFailure> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let writing = async {
        if let Some(mut stdin) = stdin {
            // A command that reads no input may end before it is written.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(writing, all(stdout), all(stderr));
    let (stdout, stderr) = (stdout?, stderr?);
    Ok(CommandEnd { status: child.wait().await?, stdout, stderr })
}

/// Reads to the end, but not more than a command may print.
async fn all(pipe: Option<impl AsyncReadExt + Unpin>) -> Result<Vec<u8>, CommandFailure> {
    let mut read = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(MAX_OUTPUT + 1).read_to_end(&mut read).await?;
    }
    if read.len() as u64 > MAX_OUTPUT { Err(CommandFailure::Long) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> OwnCommands {
        OwnCommands {
            program: "/bin/sh".into(),
            folder: ".".into(),
            cache: None,
            prints: false,
            delivers: false,
            places: Arc::new(Semaphore::new(1)),
        }
    }

    #[tokio::test]
    async fn a_command_may_print_so_much() {
        let end = shell().run(&["-c", "cat; exit 3"], &[], b"hello".to_vec()).await.unwrap();
        assert_eq!((end.stdout, end.status.code()), (b"hello".to_vec(), Some(3)));
        let end = shell().run(&["-c", "exec yes"], &[], Vec::new()).await;
        assert!(matches!(end, Err(CommandFailure::Long)));
    }

    #[tokio::test]
    async fn a_change_goes_on_without_its_client() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("done");
        let script = format!("read line; echo done > {}", file.display());
        let shell = shell();
        let words = ["-c", &*script];
        // Polled once, and dropped.
        assert!(futures_util::FutureExt::now_or_never(Box::pin(shell.change(&words, &[]))).is_none());
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_may_take_so_long() {
        let end = shell().run(&["-c", "exec sleep 1000"], &[], Vec::new()).await;
        assert!(matches!(end, Err(CommandFailure::Slow)));
    }
}

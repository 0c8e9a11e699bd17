//! Subprocess that runs a consumer's jq program. A user's program on untrusted input may loop
//! forever or exhaust memory or stack: it does so in the subprocess, and the consumer reports the
//! failure and goes on.

use std::{
    io::{self, BufRead, BufWriter, Write},
    process::{ExitCode, Stdio},
    thread,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};
use trommel_jq::Jq as Program;

use crate::{cli::exit, json};

/// Longest time that a program may take for one result.
const TIME: Duration = Duration::from_secs(10);
/// Memory limit of the worker in bytes, beside its stack.
const MEMORY: u64 = 1 << 30;
/// Stack size, enough for the deepest nesting that is accepted.
const STACK: usize = 256 << 20;
/// Largest size of a result in bytes.
const MAX_RESULT: u64 = 64 << 20;

/// Longest part of a result or an error that a message quotes.
const SHOWN: usize = 300;

/// First bytes of the worker's lines.
mod word {
    pub(super) const RESULT: u8 = b'=';
    pub(super) const ERROR: u8 = b'!';
    pub(super) const END: u8 = b'.';
}

/// A jq program that runs in a worker process.
pub(super) struct JqProgram {
    program: String,
    /// `None` before the first event, and after the worker has failed.
    worker: Option<JqWorker>,
}

struct JqWorker {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl JqProgram {
    /// Checks that the program compiles. The worker starts with the first event.
    ///
    /// # Errors
    /// Returns the part of the program that does not compile, with its position.
    pub(super) fn new(program: &str) -> Result<Self, String> {
        Program::compile(program)?;
        Ok(Self { program: program.to_owned(), worker: None })
    }

    /// Sends one JSON text, which has to be on one line. All results of the previous one have to be
    /// read before.
    ///
    /// # Errors
    /// Returns an error if the process can't be started, or has ended.
    pub(super) async fn begin(&mut self, json: &[u8]) -> io::Result<()> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            worker => worker.insert(JqWorker::start(&self.program).await?),
        };
        let said = worker.say(json).await;
        if said.is_err() {
            self.worker = None;
        }
        said
    }

    /// Returns the next result as JSON, or its error; `None` after the last one.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<u8>, String>> {
        let worker = self.worker.as_mut()?;
        let mut line = Vec::new();
        let error = match timeout(TIME, worker.hear(&mut line)).await {
            Err(_) => format!("it takes more than {TIME:?} for a result, and was ended"),
            Ok(Err(error)) => format!("its results can't be read: {error}"),
            Ok(Ok(())) => match line.split_last().and_then(|(end, line)| (*end == b'\n').then(|| line.split_first())) {
                Some(Some((&word::RESULT, result))) => return Some(checked(result)),
                Some(Some((&word::ERROR, error))) => return Some(Err(String::from_utf8_lossy(error).into_owned())),
                Some(_) => return None,
                None if line.len() as u64 == MAX_RESULT => format!("a result has more than {MAX_RESULT} bytes"),
                None => worker.last_words().await,
            },
        };
        // Dropping the worker kills its process.
        self.worker = None;
        Some(Err(error))
    }
}

/// Checks that a result is valid JSON: jq has numbers that JSON has not.
fn checked(result: &[u8]) -> Result<Vec<u8>, String> {
    let shown = || String::from_utf8_lossy(&result[..result.len().min(SHOWN)]).into_owned();
    json::check(result).map(|()| result.to_owned()).map_err(|_| format!("the result `{}` is not JSON", shown()))
}

impl JqWorker {
    async fn start(program: &str) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("jq-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Not reached by the terminal's Ctrl-C: it ends with the consumer.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let (stdin, stdout) = process.stdin.take().zip(process.stdout.take()).ok_or(io::ErrorKind::BrokenPipe)?;
        let mut worker = Self { process, stdin, stdout: BufReader::new(stdout) };
        worker.say(serde_json::Value::from(program).to_string().as_bytes()).await?;
        Ok(worker)
    }

    async fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.stdin.write_all(line).await?;
        self.stdin.write_all(b"\n").await
    }

    async fn hear(&mut self, line: &mut Vec<u8>) -> io::Result<()> {
        (&mut self.stdout).take(MAX_RESULT).read_until(b'\n', line).await.map(drop)
    }

    /// Waits for the process and describes its end.
    async fn last_words(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => format!("it took too much memory or stack, or fell over an error of its own ({status})"),
            Err(error) => format!("it has ended: {error}"),
        }
    }
}

/// Runs the worker: the first line of standard input is the program, which runs on each line that
/// follows, within limits.
pub(crate) fn work() -> ExitCode {
    // Limits that this system does not support are left out.
    for (resource, most) in [(Resource::Data, MEMORY + STACK as u64), (Resource::Core, 0)] {
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    }
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    let served = thread::Builder::new().stack_size(STACK).spawn(serve).map(thread::JoinHandle::join);
    match served {
        Ok(Ok(Ok(()))) => ExitCode::SUCCESS,
        _ => ExitCode::from(exit::INTERNAL),
    }
}

fn serve() -> io::Result<()> {
    let mut lines = io::stdin().lock().split(b'\n');
    let Some(first) = lines.next() else { return Ok(()) };
    let program: String = serde_json::from_slice(&first?)?;
    let program = Program::compile(&program).map_err(io::Error::other)?;
    let mut out = BufWriter::new(io::stdout().lock());
    for line in lines {
        let mut say = |word: u8, text: &[u8]| {
            out.write_all(&[word])?;
            out.write_all(text)?;
            out.write_all(b"\n")?;
            // Flushed at once: the next result may take long.
            out.flush()
        };
        let error = |error: String| {
            let shown = error.chars().take(SHOWN).map(|char| if char.is_control() { ' ' } else { char });
            shown.collect::<String>().into_bytes()
        };
        match program.results(&line?) {
            Err(why) => say(word::ERROR, &error(why))?,
            Ok(results) => {
                for result in results {
                    match result {
                        Ok(result) => say(word::RESULT, &result)?,
                        Err(why) => say(word::ERROR, &error(why))?,
                    }
                }
            }
        }
        say(word::END, b"")?;
    }
    Ok(())
}

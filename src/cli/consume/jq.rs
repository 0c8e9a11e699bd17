//! The process that runs a consumer's jq program. A program of a user's, on what others have sent, may go on for ever, take
//! all memory or all of the stack: it does so there, and the consumer says what became of it and goes on.

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

/// How long a program may take for a result.
const TIME: Duration = Duration::from_secs(10);
/// Bytes of memory that it may have, beside its stack.
const MEMORY: u64 = 1 << 30;
/// Enough for what is nested as deeply as it may be.
const STACK: usize = 256 << 20;
/// Bytes of a result.
const MAX_RESULT: u64 = 64 << 20;

/// Of a result or an error, in what is said of it.
const SHOWN: usize = 300;

/// How the worker's lines begin.
mod word {
    pub(super) const RESULT: u8 = b'=';
    pub(super) const ERROR: u8 = b'!';
    pub(super) const END: u8 = b'.';
}

/// A program that runs elsewhere.
pub(super) struct Jq {
    program: String,
    /// None before the first event, and after an end that was not wanted.
    worker: Option<Worker>,
}

struct Worker {
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Jq {
    /// # Errors
    /// What can't be understood of the program, and where.
    pub(super) fn new(program: &str) -> Result<Self, String> {
        Program::compile(program)?;
        Ok(Self { program: program.to_owned(), worker: None })
    }

    /// Begins with one JSON text on one line. All results of the one before were taken.
    ///
    /// # Errors
    /// When the process can't be started, or has ended.
    pub(super) async fn begin(&mut self, json: &[u8]) -> io::Result<()> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            worker => worker.insert(Worker::start(&self.program).await?),
        };
        let said = worker.say(json).await;
        if said.is_err() {
            self.worker = None;
        }
        said
    }

    /// The next result, which is JSON, or why there is none; `None` behind the last one.
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
        // With it the process ends.
        self.worker = None;
        Some(Err(error))
    }
}

/// jq knows numbers that JSON has not.
fn checked(result: &[u8]) -> Result<Vec<u8>, String> {
    let shown = || String::from_utf8_lossy(&result[..result.len().min(SHOWN)]).into_owned();
    json::check(result).map(|()| result.to_owned()).map_err(|_| format!("the result `{}` is not JSON", shown()))
}

impl Worker {
    async fn start(program: &str) -> io::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("jq-worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C: it ends with the consumer.
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

    /// Why it has ended.
    async fn last_words(&mut self) -> String {
        match self.process.wait().await {
            Ok(status) => format!("it took too much memory or stack, or fell over an error of its own ({status})"),
            Err(error) => format!("it has ended: {error}"),
        }
    }
}

/// Runs the program that standard input begins with on each line that follows, within bounds.
pub(crate) fn work() -> ExitCode {
    // What can't be bounded on this system is not.
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
            // At once: the next result may be long in coming.
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

//! A router's folder, and the real binary running on it.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking and says why")]

use std::{
    fs,
    io::{BufRead, BufReader, PipeWriter, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Settings of a router from lines of standard input to standard output.
pub const TO_STDOUT: &str = r#"
    [[source]]
    name = "in"
    type = "lines"
    subject = "/subject"

    [[sink]]
    name = "out"
    type = "stdout"
"#;

/// A router's folder in a place of its own.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(settings: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for inner in ["keys", "plugins", "schemas"] {
            fs::create_dir(folder.path().join(inner)).unwrap();
        }
        folder.write("trommel.toml", settings)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(self, name: &str, text: &str) -> Self {
        self.put(name, text.as_bytes());
        self
    }

    /// Replaces a file at once, as a careful user does.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let temporary = self.file(&format!("{name}.tmp"));
        fs::create_dir_all(temporary.parent().unwrap()).unwrap();
        fs::write(&temporary, bytes).unwrap();
        fs::rename(temporary, self.file(name)).unwrap();
    }

    /// A shipped component or a guest of the tests.
    pub fn plugin(self, name: &str, component: &str) -> Self {
        self.put(&format!("plugins/{name}.wasm"), &component_bytes(component));
        self
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    pub fn command(&self) -> Command {
        self.trommel(&["run"])
    }

    /// A command on this folder, with the control socket in the folder itself.
    pub fn trommel(&self, words: &[&str]) -> Command {
        let mut command = trommel();
        command.args(words).arg(self.path()).stdin(Stdio::null());
        command.env("TROMMEL_STATE_DIR", self.file("state"));
        command
    }

    /// Starts the router and waits until it says that it runs.
    pub fn start(&self) -> Router {
        let mut router = Router::spawn(self.command());
        router.wait_for("running");
        router
    }

    /// Starts the router with a standard input that stays open until it is dropped, so that it runs
    /// on.
    pub fn spawn_with_stdin(&self) -> (Router, PipeWriter) {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = self.command();
        command.stdin(reader);
        (Router::spawn(command), writer)
    }

    /// Runs the router to its end.
    pub fn run(&self) -> std::process::Output {
        self.command().output().unwrap()
    }
}

/// The binary, with a cache of its own for all tests.
pub fn trommel() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trommel"));
    command.env("TROMMEL_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
    command.env("TROMMEL_STATE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("state"));
    command.env_remove("TROMMEL_LOG");
    command
}

/// `select` and its like from `plugins/`, anything else from `tests/guests/`.
pub fn component_bytes(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["plugins", "tests/guests"].map(|folder| root.join(folder).join(format!("{name}.wasm")));
    let found = places.iter().find(|place| place.exists());
    fs::read(found.unwrap_or_else(|| panic!("no component `{name}`"))).unwrap()
}

/// Lines that arrive, and those that somebody waited for.
struct Lines {
    arriving: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let (line, arriving) = mpsc::channel();
        let lines = BufReader::new(pipe).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|text| line.send(text)));
        Self { arriving, seen: Vec::new() }
    }

    fn wait_for(&mut self, text: &str) -> Result<String, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.arriving.recv_timeout(left);
            let line = line.map_err(|_| format!("no line with `{text}`:\n{}", self.seen.join("\n")))?;
            self.seen.push(line.clone());
            if line.contains(text) {
                return Ok(line);
            }
        }
    }

    /// All lines up to the end.
    fn all(&mut self) -> Vec<String> {
        self.seen.extend(self.arriving.iter());
        std::mem::take(&mut self.seen)
    }
}

/// A page of the admin listener.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// A router that runs. Killed when dropped.
pub struct Router {
    child: Child,
    log: Lines,
    stdout: Lines,
}

impl Router {
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Lines::of(child.stderr.take().unwrap());
        let stdout = Lines::of(child.stdout.take().unwrap());
        Self { child, log, stdout }
    }

    /// Waits for a log line that contains `text`, and returns it.
    pub fn wait_for(&mut self, text: &str) -> String {
        self.log.wait_for(text).unwrap_or_else(|missing| panic!("log: {missing}"))
    }

    /// Waits for a line on stdout that contains `text`, and returns it.
    pub fn wait_for_output(&mut self, text: &str) -> String {
        let found = self.stdout.wait_for(text);
        found.unwrap_or_else(|missing| panic!("stdout: {missing}\nlog:\n{}", self.log.seen.join("\n")))
    }

    /// Where it listens for admin requests.
    pub fn admin(&mut self) -> SocketAddr {
        let listening = self.wait_for("listening");
        listening.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The most memory that it has had so far, in bytes.
    pub fn peak_memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(mut self) -> Ended {
        self.signal(Signal::TERM);
        self.end()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for the end.
    pub fn end(&mut self) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the router does not end");
            thread::park_timeout(Duration::from_millis(10));
        };
        Ended { status, stdout: self.stdout.all(), log: self.log.all() }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a router ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: Vec<String>,
    pub log: Vec<String>,
}

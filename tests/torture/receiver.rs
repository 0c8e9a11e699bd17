//! The receiver of webhooks: counts what it has accepted, and can be out of order for a while.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

#[derive(Default)]
struct Shared {
    is_down: AtomicBool,
    is_over: AtomicBool,
    /// How often each number was accepted.
    accepted: Mutex<HashMap<usize, u32>>,
}

/// Stops when dropped.
pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if serving.is_over.load(Ordering::Acquire) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // Either side may leave at any time.
                thread::spawn(move || serving.serve(stream));
            }
        });
        Self { address, shared }
    }

    /// Answers 503, or accepts again.
    pub fn set_down(&self, is_down: bool) {
        self.shared.is_down.store(is_down, Ordering::Release);
    }

    pub fn has(&self, number: usize) -> bool {
        self.shared.accepted.lock().unwrap().contains_key(&number)
    }

    /// Posts that were accepted beyond the first of each event.
    pub fn repeats(&self) -> u32 {
        self.shared.accepted.lock().unwrap().values().map(|count| count - 1).sum()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let body = read(&mut stream)?;
            let answer = if self.is_down.load(Ordering::Acquire) {
                "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
            } else {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                let number = usize::try_from(body["n"].as_u64().unwrap()).unwrap();
                *self.accepted.lock().unwrap().entry(number).or_default() += 1;
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            };
            stream.get_mut().write_all(answer.as_bytes()).ok()?;
        }
    }
}

/// The body of the next request; `None` when there is none any more.
fn read(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(body)
}

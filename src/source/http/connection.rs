//! Connections: not too many of them, and none that keeps us waiting for ever.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{self, IncomingStream},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

/// How long a client that is still sending may go on to, so that it reads why it was refused instead of being reset.
const LINGER: Duration = Duration::from_secs(2);
const SCRAP: usize = 8 * 1024;

/// Accepts a connection only while there is a place for it.
pub(super) struct Listener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    timeout: Duration,
}

impl Listener {
    pub(super) fn new(listener: TcpListener, connections: usize, timeout: Duration) -> Self {
        Self { listener, places: Arc::new(Semaphore::new(connections)), timeout }
    }
}

impl serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // Never closed, so there always is a place in the end.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = serve::Listener::accept(&mut self.listener).await;
        let patience = Patience::new(self.timeout);
        let timer = Box::pin(sleep(self.timeout));
        (Connection { stream, patience, timer, is_shut: false, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Until when a client may keep us waiting, for a request's head or for it to take an answer. For ever while we work
/// for it.
#[derive(Clone)]
pub(super) struct Patience {
    timeout: Duration,
    until: Arc<Mutex<Option<Instant>>>,
}

impl Patience {
    fn new(timeout: Duration) -> Self {
        Self { timeout, until: Arc::new(Mutex::new(Some(Instant::now() + timeout))) }
    }

    /// Time does not count as long as the result lives.
    pub(super) fn suspend(self) -> Suspended {
        *self.until() = None;
        Suspended(self)
    }

    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Suspended(Patience);

impl Drop for Suspended {
    fn drop(&mut self) {
        *self.0.until() = Some(Instant::now() + self.0.timeout);
    }
}

impl Connected<IncomingStream<'_, Listener>> for Patience {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        stream.io().patience.clone()
    }
}

pub(super) struct Connection {
    stream: TcpStream,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// Nothing more is written.
    is_shut: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    /// `done` unless it waits for the client and that has had its time.
    fn in_time<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            return done;
        }
        let until = *self.patience.until();
        let Some(until) = until else { return Poll::Pending };
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Throws away what still comes, until the client has nothing more to say.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut scrap = [0; SCRAP];
        while self.timer.as_mut().poll(context).is_pending() {
            let mut scrap = ReadBuf::new(&mut scrap);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut scrap));
            if read.is_err() || scrap.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buf);
        self.in_time(context, done)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.in_time(context, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.in_time(context, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.in_time(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        self.poll_linger(context).map(Ok)
    }
}

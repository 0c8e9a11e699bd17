//! Connections with a time limit.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep, sleep},
};

use super::{ClientPatience, places::ConnectionPlace};

/// Longest time that a client may go on sending after the end, so that it reads why it was refused
/// instead of being reset.
const LINGER: Duration = Duration::from_secs(2);
const SCRAP: usize = 8 * 1024;

/// A client's connection, in its place.
pub struct ClientConnection {
    stream: TcpStream,
    patience: ClientPatience,
    timer: Pin<Box<Sleep>>,
    /// True once nothing more is written.
    is_shut: bool,
    _place: ConnectionPlace,
}

impl ClientConnection {
    pub(super) fn new(stream: TcpStream, patience: ClientPatience, place: ConnectionPlace) -> Self {
        // Set to the right deadline before it is first polled.
        let timer = Box::pin(sleep(Duration::ZERO));
        Self { stream, patience, timer, is_shut: false, _place: place }
    }

    pub(super) fn patience(&self) -> ClientPatience {
        self.patience.clone()
    }

    /// Returns `done`, or an error if it is pending and the client's time is over.
    fn in_time<T>(&mut self, context: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            return done;
        }
        let Some(until) = self.patience.until(context.waker()) else { return Poll::Pending };
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Discards what still arrives, until the client ends or the timer does.
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

impl AsyncRead for ClientConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let most = self.patience.may_read();
        if most == 0 {
            return Poll::Ready(Err(io::Error::other("the head is too large")));
        }
        if buf.remaining() <= most {
            let before = buf.filled().len();
            let done = Pin::new(&mut self.stream).poll_read(context, buf);
            self.patience.has_read(buf.filled().len() - before);
            return self.in_time(context, done);
        }
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        let done = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let read = part.filled().len();
        buf.advance(read);
        self.patience.has_read(read);
        self.in_time(context, done)
    }
}

impl AsyncWrite for ClientConnection {
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

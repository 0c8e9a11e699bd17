//! Listeners for HTTP: a bounded number of connections, none of which keeps us waiting for ever, and no web page that speaks
//! through somebody's browser.

use std::{io, net::SocketAddr, time::Duration};

use axum::{
    http::{HeaderMap, header::AUTHORIZATION},
    serve,
};
use tokio::net::TcpListener;

use self::places::Places;
use crate::open_files::{self, Trouble};

mod connection;
mod patience;
mod places;
pub mod site;

pub use connection::Connection;
pub use patience::Patience;

/// What clients may take up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// At once.
    pub connections: usize,
    /// How long a connection may take for its first request's head.
    pub head: Duration,
    /// How long one may take for an answer, or until the next request is there.
    pub idle: Duration,
    /// Bytes of a head that are read at the most.
    pub max_head: usize,
}

/// Accepts connections, each of which has a place. When all are taken, who keeps us waiting has to leave.
pub struct Listener {
    listener: TcpListener,
    places: Places,
    limits: Limits,
    trouble: Trouble,
}

impl Listener {
    pub fn new(listener: TcpListener, limits: Limits) -> Self {
        let places = Places::new(open_files::share(limits.connections));
        Self { listener, places, limits, trouble: Trouble::default() }
    }
}

impl serve::Listener for Listener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let (place, patience) = self.places.take(address.ip(), self.limits).await;
                    return (Connection::new(stream, patience, place), address);
                }
                // The client's own trouble, which says nothing about the next one.
                Err(error) if is_the_clients(&error) => {}
                Err(error) => self.trouble.pass("http", error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// The token that a client has sent.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

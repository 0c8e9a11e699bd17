//! HTTP listeners: a bounded number of connections, none of which keeps us waiting for ever, and
//! checks against web pages of other sites that send requests through a local browser.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    http::{HeaderMap, header::AUTHORIZATION},
    serve,
};
use tokio::net::TcpListener;

use self::places::ConnectionPlaces;
use crate::{
    metrics::ConnectionMetrics,
    open_files::{self, AcceptBackoff},
};

mod connection;
mod patience;
mod places;
pub mod site;

pub use connection::ClientConnection;
pub use patience::ClientPatience;

/// Limits on the resources that clients may use.
#[derive(Clone, Copy, Debug)]
pub struct ListenerLimits {
    /// Connections at once.
    pub connections: usize,
    /// Longest time until the head of a connection's first request is complete.
    pub head: Duration,
    /// Longest time until an answer is taken, or until the next request has arrived.
    pub idle: Duration,
    /// Most bytes of a head that are read.
    pub max_head: usize,
}

/// Listener that gives each connection a place. If all are taken, a connection that keeps us
/// waiting is closed.
pub struct HttpListener {
    listener: TcpListener,
    places: ConnectionPlaces,
    limits: ListenerLimits,
    trouble: AcceptBackoff,
}

impl HttpListener {
    pub fn new(listener: TcpListener, limits: ListenerLimits, metrics: Arc<ConnectionMetrics>) -> Self {
        let places = ConnectionPlaces::new(open_files::share(limits.connections), metrics);
        Self { listener, places, limits, trouble: AcceptBackoff::default() }
    }
}

impl serve::Listener for HttpListener {
    type Io = ClientConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ClientConnection, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let (place, patience) = self.places.take(address.ip(), self.limits).await;
                    return (ClientConnection::new(stream, patience, place), address);
                }
                // The client's own failure, which does not affect the next connection.
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

/// Returns the bearer token that a client has sent.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

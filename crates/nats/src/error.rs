//! Errors while connecting.

use std::{error::Error, io};

use async_nats::{ServerAddr, rustls};

/// Error while connecting.
#[derive(Debug, thiserror::Error)]
#[error("can't connect to NATS at {at}")]
pub struct ConnectError {
    pub trouble: ConnectTrouble,
    /// The servers, without credentials.
    pub(super) at: String,
    pub(super) source: anyhow::Error,
}

/// The cause of a failed connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectTrouble {
    /// The settings, or a file that they name.
    Settings,
    /// The server does not accept our identity.
    Auth,
    Tls,
    Network,
}

impl ConnectError {
    pub(super) fn settings(at: impl Into<String>, source: impl Into<anyhow::Error>) -> Self {
        Self { trouble: ConnectTrouble::Settings, at: at.into(), source: source.into() }
    }
}

/// Reads the address of one server.
pub(super) fn server(url: &str) -> Result<ServerAddr, ConnectError> {
    url.parse().map_err(|error: io::Error| {
        // The part before an `@` may be a password.
        let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
        ConnectError::settings(format!("`{shown}`"), error)
    })
}

/// The servers as shown in a message: without credentials.
pub(super) fn shown(servers: &[ServerAddr]) -> String {
    let all: Vec<_> =
        servers.iter().map(|server| format!("`{}://{}:{}`", server.scheme(), server.host(), server.port())).collect();
    all.join(", ")
}

/// Returns whether TLS failed. The client wraps TLS errors in errors of its kind `Io`.
pub(super) fn is_tls(error: &async_nats::ConnectError) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && io.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        {
            return true;
        }
        source = error.source();
    }
    false
}

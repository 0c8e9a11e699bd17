//! Addresses that the router listens on: free, or held by the router itself.

use std::{io::ErrorKind, net::SocketAddr};

use tokio::net::TcpListener;

use super::{finding::Finding, folder::RunningPlace};
use crate::{
    config::{Config, ConfigPlace, SourceKind},
    folder::DeclaredPlaces,
};

/// An address, who listens there, and where that is declared.
struct ListenAddress {
    address: SocketAddr,
    listener: String,
    place: ConfigPlace,
}

pub(super) async fn examine(config: &Config, places: &DeclaredPlaces, place: &RunningPlace) -> Vec<Finding> {
    let mut findings = Vec::new();
    // The system chooses a free port in the place of 0.
    for wanted in addresses(config, places).into_iter().filter(|wanted| wanted.address.port() != 0) {
        let ListenAddress { address, listener, place: declared } = wanted;
        findings.push(match TcpListener::bind(address).await {
            Ok(_) => Finding::ok(format!("{listener} can listen on {address}")),
            Err(error) if error.kind() == ErrorKind::AddrInUse && place.is_running => {
                Finding::ok(format!("{listener} listens on {address}, or another program does while the router runs"))
            }
            Err(error) => {
                let message = format!("{listener} can't listen on {address}: {error}");
                let hint = match error.kind() {
                    ErrorKind::AddrInUse => "end the program that has the port, or give another one with `listen`",
                    ErrorKind::PermissionDenied => "give a port from 1024 on with `listen`, or the right to bind it",
                    _ => "give an address of this machine with `listen`",
                };
                Finding::error("port", message).hint(hint).at(declared)
            }
        });
    }
    findings
}

fn addresses(config: &Config, places: &DeclaredPlaces) -> Vec<ListenAddress> {
    let admin = config.admin.iter().map(|admin| ListenAddress {
        address: admin.listen,
        listener: "`[admin]`".to_owned(),
        place: places.of("admin", None),
    });
    let webhooks = config.self_service.iter().map(|settings| ListenAddress {
        address: settings.listen,
        listener: "`[webhooks]`".to_owned(),
        place: settings.place.clone(),
    });
    let sources = config.sources.iter().filter_map(|source| match &source.kind {
        SourceKind::Http(http) => Some(ListenAddress {
            address: http.listen,
            listener: format!("source `{}`", source.name),
            place: http.place.clone(),
        }),
        _ => None,
    });
    admin.chain(webhooks).chain(sources).collect()
}

//! Servers that are called over HTTP: their names resolve, and something listens there. No request
//! is sent, so no credentials are.

use std::{io, net::SocketAddr, time::Duration};

use futures_util::future::join_all;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use url::Url;

use super::finding::Finding;
use crate::{
    address::is_public,
    config::{ApiConfig, ApiToken, Config, ConfigPlace, LoginKind},
    folder::DeclaredPlaces,
};

/// Longest time for one server.
const PATIENCE: Duration = Duration::from_secs(5);

struct HttpEndpoint<'a> {
    what: String,
    url: &'a Url,
    /// True if it may have an address that is not of the public Internet.
    allow_private: bool,
    place: ConfigPlace,
}

pub(super) async fn examine(config: &Config, places: &DeclaredPlaces) -> Vec<Finding> {
    let endpoints = endpoints(config, places);
    join_all(endpoints.iter().map(HttpEndpoint::examine)).await
}

fn endpoints<'a>(config: &'a Config, places: &DeclaredPlaces) -> Vec<HttpEndpoint<'a>> {
    let mut endpoints = Vec::new();
    let unnamed = config.api.iter().map(|api| ("the API".to_owned(), api));
    let named = config.apis.iter().map(|(name, api)| (format!("the API `{name}`"), api));
    for (what, api) in unnamed.chain(named) {
        endpoints.extend(login(&what, api));
        let ApiConfig { base_url: url, allow_private, place, .. } = api;
        endpoints.push(HttpEndpoint { what, url, allow_private: *allow_private, place: place.clone() });
    }
    if let Some(registry) = &config.schema_registry {
        let endpoint = |url| HttpEndpoint {
            what: "the schema registry".to_owned(),
            url,
            allow_private: true,
            place: registry.place.clone(),
        };
        endpoints.extend(registry.urls.iter().map(endpoint));
    }
    endpoints.extend(config.telemetry.iter().map(|telemetry| HttpEndpoint {
        what: "the collector of `[telemetry]`".to_owned(),
        url: &telemetry.otlp,
        allow_private: true,
        place: places.of("telemetry", None),
    }));
    endpoints
}

fn login<'a>(what: &str, api: &'a ApiConfig) -> Option<HttpEndpoint<'a>> {
    let Some(ApiToken::Login(login)) = &api.token else { return None };
    let LoginKind::OAuth2 { url, .. } = &login.kind else { return None };
    let (what, place) = (format!("the login of {what}"), api.place.clone());
    Some(HttpEndpoint { what, url, allow_private: api.allow_private, place })
}

impl HttpEndpoint<'_> {
    async fn examine(&self) -> Finding {
        let Self { what, url, place, .. } = self;
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let shown = format!("{what} at `{host}:{port}`");
        let error = |message: String, hint: &str| Finding::error("endpoint", message).hint(hint).at(place.clone());
        let addresses = match timeout(PATIENCE, self.resolve(port)).await {
            Ok(Ok(addresses)) => addresses,
            Ok(Err(cause)) => return error(format!("{shown} has no address: {cause}"), "is the host name right?"),
            Err(_) => return error(format!("{shown} has no address within 5 s"), "does this machine's resolver work?"),
        };
        if !self.allow_private && !addresses.iter().any(|address| is_public(address.ip())) {
            let hint = "set `allow_private` if it is meant to be there";
            return error(format!("{shown} has no address of the public Internet"), hint);
        }
        let connected = timeout(PATIENCE, TcpStream::connect(&addresses[..])).await;
        match connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(_) => Finding::ok(format!("{shown} answers")),
            // Calls are tried again, so the router starts without it.
            Err(cause) => Finding::warning("endpoint", format!("{shown} does not answer: {cause}"))
                .hint("is it running, and may this machine reach it?")
                .at(place.clone()),
        }
    }

    async fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        let host = match self.url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(address)) => return Ok(vec![(address, port).into()]),
            Some(url::Host::Ipv6(address)) => return Ok(vec![(address, port).into()]),
            None => return Err(io::ErrorKind::InvalidInput.into()),
        };
        Ok(lookup_host((host, port)).await?.collect())
    }
}

//! HTTP requests that leave the machine: their common client.

use reqwest::{ClientBuilder, redirect};

mod resolver;
pub mod retry_after;

pub use crate::address::{PrivateAddress, check_literal};

const USER_AGENT: &str = concat!("trommel/", env!("CARGO_PKG_VERSION"));

/// A client that contacts the given address only: no redirects, no proxies, no retries of its own.
/// Host names resolve to public addresses only, unless `allow_private`; literal addresses are
/// checked by [`check_literal`].
pub fn client(allow_private: bool) -> ClientBuilder {
    // Another user of TLS may have installed one already, which works as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A proxy would resolve the address itself and so bypass the check.
        .no_proxy();
    if allow_private { http } else { http.dns_resolver(resolver::PublicOnly) }
}

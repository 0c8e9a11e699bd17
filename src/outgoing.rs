//! HTTP requests that leave the machine: what all of them have in common.

use reqwest::{ClientBuilder, redirect};

mod address;
pub mod retry_after;

pub use address::{PrivateAddress, check_literal};

const USER_AGENT: &str = concat!("trommel/", env!("CARGO_PKG_VERSION"));

/// A client that goes where it is sent and nowhere else: no redirects, no proxies, no tries of its own. Names lead to
/// public addresses only, unless `allow_private`; what is written as an address is for [`check_literal`].
pub fn client(allow_private: bool) -> ClientBuilder {
    // Whoever else uses TLS may have installed one already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A proxy would look up the address itself, behind the back of the check.
        .no_proxy();
    if allow_private { http } else { http.dns_resolver(address::PublicOnly) }
}

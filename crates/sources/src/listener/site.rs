//! Checks against web pages of other sites: a browser on this machine sends their requests, to
//! loopback too, and follows a name that its owner lets point there. Without authentication, such
//! requests are recognized by the browser's headers.

use std::net::IpAddr;

use axum::http::{
    HeaderMap, HeaderName,
    header::{HOST, ORIGIN},
    uri::Authority,
};

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request for a name other than this machine's own: its owner can let it point here, and
/// a page under that name then does not count as another site's. In a POST, a browser names the
/// page's origin in addition.
///
/// # Errors
/// Returns the reason of the refusal.
pub fn check_name(headers: &HeaderMap) -> Result<(), String> {
    match text(headers, HOST) {
        Some(host) if !host.parse::<Authority>().is_ok_and(|host| is_here(host.host())) => {
            Err(format!("the request is for `{}`, and only this machine's own names are known here", shown(host)))
        }
        _ => Ok(()),
    }
}

/// Refuses a request that comes from a page of a site other than this machine's own.
///
/// # Errors
/// Returns the reason of the refusal.
pub fn check_page(headers: &HeaderMap) -> Result<(), String> {
    if let Some(origin) = text(headers, ORIGIN) {
        let authority = origin.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok());
        if !authority.is_some_and(|authority| is_here(authority.host())) {
            return Err(format!("the request comes from a page of `{}`", shown(origin)));
        }
    }
    if text(headers, SITE).is_some_and(|site| site.eq_ignore_ascii_case("cross-site")) {
        return Err("the request comes from a page of another site".to_owned());
    }
    Ok(())
}

/// Returns a header's value; one that is not a string does not count as a name either.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Returns whether only this machine can have this name.
fn is_here(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(&name);
    name == "localhost" || name.ends_with(".localhost") || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_taken(headers: &[(&'static str, &'static str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        check_name(&headers).is_ok() && check_page(&headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_known() {
        for host in
            ["localhost", "LOCALHOST:80", "localhost.", "a.localhost:1", "127.0.0.1:80", "127.9.9.9", "[::1]:80"]
        {
            assert!(is_taken(&[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]:80",
            "0.0.0.0",
            "",
            "a b",
            "evil.example@localhost.example",
            "notlocalhost",
        ] {
            assert!(!is_taken(&[("host", host)]), "{host}");
        }
        assert!(is_taken(&[]), "no browser leaves it out");
    }

    #[test]
    fn only_pages_of_this_machine_may_speak() {
        for headers in [
            &[("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")][..],
            &[("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "none")],
        ] {
            assert!(is_taken(headers), "{headers:?}");
        }
        for headers in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://localhost.evil.example")],
            &[("origin", "http://localhost:80@evil.example")],
            &[("sec-fetch-site", "cross-site")],
            &[("host", "localhost"), ("sec-fetch-site", "Cross-Site")],
        ] {
            assert!(!is_taken(headers), "{headers:?}");
        }
    }
}

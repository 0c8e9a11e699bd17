//! `[api]`: the API that filters may call, and the router's identity there.

use std::time::Duration;

use url::Url;

use crate::{
    backoff::Backoff,
    config::{ApiConfig, ApiToken, DeclaredIdentity, values},
    http,
    limits::waits,
    login::login,
    table::{GivenValue, PlacedValue, TomlTable},
    unique::ClaimedValues,
};

pub(crate) const NO_API: &str = "add `[api]` with, say, `base_url = \"https://api.example.com\"`";

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 2;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));
const MAX_BODY: usize = 1 << 20;

/// Headers that the router sets itself for each call.
const OURS: [&str; 7] =
    ["connection", "content-length", "content-type", "expect", "host", "transfer-encoding", "upgrade"];

/// Reads `[api]`, which also says who the router is.
pub(crate) fn api(table: &mut TomlTable<'_>) -> Option<ApiConfig> {
    let api = named_api(table);
    let identity = identity(table);
    Some(ApiConfig { identity: identity?, ..api? })
}

fn identity(table: &mut TomlTable<'_>) -> Option<DeclaredIdentity> {
    let auth_types = table.list("auth_types", values::auth_type);
    let scopes = table.list("scopes", values::scope);
    let console_events = table.list("console_events", values::literal);
    // If part of it can't be read there is no identity, or keys would seem to need more than it
    // has.
    let is_whole = auth_types.is_some() == table.has("auth_types")
        && scopes.is_some() == table.has("scopes")
        && console_events.is_some() == table.has("console_events");
    is_whole.then(|| DeclaredIdentity { auth_types: auth_types.unwrap_or_default(), scopes, console_events })
}

/// Reads `[apis]`: tables of further APIs, by name.
pub(crate) fn apis(table: &mut TomlTable<'_>) -> Vec<(String, ApiConfig)> {
    let tables = table.named_tables("apis", named_api).unwrap_or_default();
    let checked = |(name, api): (PlacedValue<String>, Option<ApiConfig>)| match values::name(&name.value) {
        Ok(checked) => Some((checked, api?)),
        Err(error) => {
            table.error(name.place, format!("an API can't be named `{}`: {error}", name.value), None);
            None
        }
    };
    tables.into_iter().filter_map(checked).collect()
}

/// Reads an API without the router's identity there.
fn named_api(table: &mut TomlTable<'_>) -> Option<ApiConfig> {
    let place = table.place();
    let base_url = table.required("base_url", base_url);
    let token = http::token(table).map(ApiToken::Kept);
    let login = table.table("login", login).map(|login| login.map(ApiToken::Login));
    if let Some(field) = ["token_file", "token_env"].into_iter().find(|field| table.has(field) && table.has("login")) {
        let message = format!("`[api.login]` fetches the token, so there is no `{field}`");
        table.error(table.place_of(field), message, Some("give one of them".to_owned()));
    }
    let headers = headers(table, &[]);
    let timeout = table.duration("timeout").unwrap_or(TIMEOUT);
    let retries = table.count_from("retries", 0).unwrap_or(RETRIES);
    let (min, max) = table.table("backoff", |table| waits(table, BACKOFF)).unwrap_or(BACKOFF);
    let max_body = table.memory_size("max_body").unwrap_or(MAX_BODY);
    let allow_private = table.flag("allow_private").unwrap_or(false);
    let token = match login {
        Some(login) => Some(login?),
        None => token,
    };
    Some(ApiConfig {
        base_url: base_url?,
        token,
        headers: headers?,
        timeout,
        retries,
        backoff: Backoff::new(min, max),
        max_body,
        allow_private,
        identity: DeclaredIdentity::default(),
        place,
    })
}

fn base_url(table: &mut TomlTable<'_>, field: &'static str) -> Option<Url> {
    let text = table.text(field)?;
    // Messages never quote the address, as it may contain a password.
    let report = |error: String| {
        let hint = Some("an address looks like `https://api.example.com/v1`".to_owned());
        table.error(table.place_of(field), format!("`{field}` is not an API's address: {error}"), hint);
    };
    address(&text, "`token_file`, `token_env` or `headers`").map_err(report).ok()
}

/// Parses an address of a server, optionally with a path. A user belongs in `instead`.
pub(crate) fn address(text: &str, instead: &str) -> Result<Url, String> {
    let url = values::http_url(text, &format!("in {instead}"))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("it ends with its path, without `?` and `#`".to_owned());
    }
    Ok(url)
}

/// Headers that are sent with every call: `headers = { X-Tenant = "42" }`. Those that the router
/// sets itself, `ours` among them, are refused.
pub(crate) fn headers(table: &mut TomlTable<'_>, ours: &[&str]) -> Option<Vec<(String, String)>> {
    match table.map("headers") {
        Some(given) => checked_headers(table, given, ours),
        None => (!table.has("headers")).then(Vec::new),
    }
}

/// Checks headers to send. Messages never quote a value, as it may be a secret.
pub(crate) fn checked_headers(
    table: &TomlTable<'_>,
    given: impl IntoIterator<Item = (PlacedValue<String>, PlacedValue<GivenValue>)>,
    ours: &[&str],
) -> Option<Vec<(String, String)>> {
    let mut names = ClaimedValues::default();
    let has_token = ["token_file", "token_env", "login"].iter().any(|field| table.has(field));
    let header = |(name, value): (PlacedValue<String>, PlacedValue<GivenValue>)| {
        let lower = name.value.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.value.is_empty() || !name.value.chars().all(token) {
            table.error(name.place, format!("`{}` is not a valid header name", name.value), None);
            return None;
        }
        if OURS.iter().chain(ours).any(|name| *name == lower) {
            table.error(name.place, format!("the router sets the header `{}` itself", name.value), None);
            return None;
        }
        if lower == "authorization" && has_token {
            table.error(name.place, format!("`{}` is what the token is sent as: give one of them", name.value), None);
            return None;
        }
        names.claim(table, &lower, name.place, format!("header `{}`", name.value));
        match value.value {
            GivenValue::One(text) if text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) => Some((name.value, text)),
            _ => {
                let message = format!("the header `{}` must be a string of printable ASCII", name.value);
                table.error(value.place, message, None);
                None
            }
        }
    };
    // All are read before any is given up, so that every mistake is reported.
    let headers: Vec<_> = given.into_iter().map(header).collect();
    headers.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_a_server_and_perhaps_a_path() {
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com/"),
            ("https://api.example.com/open-apis/", "https://api.example.com/open-apis/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
        ] {
            assert_eq!(address(text, "`headers`").unwrap().as_str(), expected, "{text}");
        }
        for text in [
            "",
            "api.example.com",
            "ftp://host",
            "https://",
            "https://host:port",
            "https://bob:pw@host",
            "https://token@host",
            "https://:pw@host",
            "https://host/?key=1",
            "https://host/#top",
        ] {
            assert!(address(text, "`headers`").is_err(), "{text}");
        }
    }
}

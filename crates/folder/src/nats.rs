//! `[nats]`: the server's address and the client's authentication.

use std::{path::PathBuf, time::Duration};

use percent_encoding::percent_decode_str;
use url::Url;

use crate::{
    config::{KeptIn, NatsAuth, NatsConfig, quoted, values},
    secret,
    table::{PlacedValue, TomlTable},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn nats(table: &mut TomlTable<'_>) -> Option<NatsConfig> {
    let urls = table.required("url", TomlTable::texts);
    let (urls, url_auth) = servers(table, urls.unwrap_or_default());
    let auth = auth(table, url_auth);
    let name = table.text("name").unwrap_or_else(|| "trommel".into());
    let tls_ca = table.input_path("tls_ca");
    let tls_client = tls_client(table);
    let tls_required = tls_required(table, &urls);
    let connect_timeout = table.duration("connect_timeout").unwrap_or(CONNECT_TIMEOUT);
    let api_prefix = api_prefix(table);
    Some(NatsConfig { urls, name, auth: auth?, tls_ca, tls_client, tls_required, connect_timeout, api_prefix })
}

/// Returns whether TLS is required. A CA or a client certificate implies it: without TLS all
/// traffic could be read on the way.
fn tls_required(table: &mut TomlTable<'_>, urls: &[String]) -> bool {
    let given = ["tls_ca", "tls_cert", "tls_key"].into_iter().find(|field| table.has(field));
    let flag = table.flag("tls_required");
    if let (Some(given), Some(false)) = (given, flag) {
        let hint = format!("leave out `tls_required` or `{given}`");
        table.error(table.place_of("tls_required"), format!("`{given}` is of no use without TLS"), Some(hint));
    }
    flag.unwrap_or_else(|| given.is_some() || urls.iter().any(|url| url.starts_with("tls:")))
}

/// The prefix of the subjects of the JetStream API, which is different for a domain and for an
/// import.
fn api_prefix(table: &mut TomlTable<'_>) -> String {
    let domain = table.parsed("domain", values::server_name);
    let prefix = table.parsed("api_prefix", values::server_subject);
    if table.has("domain") && table.has("api_prefix") {
        let hint = "a domain is `$JS.DOMAIN.API`: give one of them".to_owned();
        table.error(table.place_of("api_prefix"), "`domain` and `api_prefix` say the same", Some(hint));
    }
    prefix.or_else(|| domain.map(|domain| format!("$JS.{domain}.API"))).unwrap_or_else(|| "$JS.API".to_owned())
}

fn tls_client(table: &mut TomlTable<'_>) -> Option<(PathBuf, PathBuf)> {
    let certificate = table.input_path("tls_cert");
    let key = table.input_path("tls_key");
    if table.has("tls_cert") != table.has("tls_key") {
        table.error(table.place_of("tls_cert"), "`tls_cert` and `tls_key` go together", None);
    }
    certificate.zip(key)
}

/// The addresses without their users, and the user that they name: the client ignores users in
/// addresses.
fn servers(table: &TomlTable<'_>, urls: Vec<PlacedValue<String>>) -> (Vec<String>, Option<NatsAuth>) {
    let mut auth = None;
    let mut servers = Vec::new();
    if table.has("url") && urls.is_empty() {
        table.error(table.place_of("url"), "`url` names no server", None);
    }
    for PlacedValue { value, place } in urls {
        // Messages never quote the address, as it may contain a password.
        match server(&value) {
            Ok((url, user)) => {
                if let (Some(first), Some(user)) = (&auth, &user)
                    && first != user
                {
                    table.error(place, "the servers in `url` are given different users", None);
                }
                auth = auth.or(user);
                servers.push(url);
            }
            Err(error) => {
                let hint = Some("an address looks like `nats://127.0.0.1:4222`".into());
                table.error(place, format!("`url` is not a server's address: {error}"), hint);
            }
        }
    }
    (servers, auth)
}

fn server(text: &str) -> Result<(String, Option<NatsAuth>), String> {
    values::expanded(text)?;
    let absolute = if text.contains("://") { text.to_owned() } else { format!("nats://{text}") };
    let mut url = Url::parse(&absolute).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "nats" | "tls") {
        return Err(format!("it begins with `{}:` instead of `nats:` or `tls:`", url.scheme()));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it has no host".into());
    }
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "its user or password is not UTF-8")?;
        Ok::<_, String>(decoded.into_owned())
    };
    let auth = match (decode(url.username())?, url.password().map(decode).transpose()?) {
        (user, None) if user.is_empty() => None,
        (user, Some(_)) if user.is_empty() => return Err("it has a password but no user".into()),
        (token, None) => Some(NatsAuth::Token(token)),
        (user, Some(password)) => Some(NatsAuth::Password { user, password }),
    };
    url.set_username("").and_then(|()| url.set_password(None)).map_err(|()| "it has no host")?;
    Ok((url.into(), auth))
}

/// The only authentication method. Returns `None` if there are several, or an incomplete one.
fn auth(table: &mut TomlTable<'_>, in_url: Option<NatsAuth>) -> Option<NatsAuth> {
    let credentials = secret::path(table, "credentials").map(NatsAuth::Credentials);
    let nkey = secret::path(table, "nkey").map(NatsAuth::Nkey);
    let token = secret(table, "token").map(NatsAuth::Token);
    let user = secret(table, "user");
    let password = secret(table, "password");
    if table.has("user") != table.has("password") {
        let given = if table.has("user") { "user" } else { "password" };
        table.error(table.place_of(given), "`user` and `password` go together", None);
    }
    let ways = [
        ("url", in_url),
        ("credentials", credentials),
        ("nkey", nkey),
        ("token", token),
        ("user", user.zip(password).map(|(user, password)| NatsAuth::Password { user, password })),
    ];
    let mut given = ways.into_iter().filter_map(|(name, way)| Some((name, way?)));
    let Some((first, auth)) = given.next() else { return Some(NatsAuth::None) };
    let others: Vec<&str> = given.map(|(name, _)| name).collect();
    let Some(last) = others.last() else { return Some(auth) };
    let names = quoted([first].into_iter().chain(others.iter().copied()), "and");
    table.error(table.place_of(last), format!("there is more than one way to sign in: {names}"), None);
    None
}

/// A secret: a string, `{ env = "NAME" }`, or `{ file = "path" }`.
fn secret(table: &mut TomlTable<'_>, name: &'static str) -> Option<String> {
    if !table.holds_table(name) {
        return table.text_that_is(name, "a string, `{ env = \"NAME\" }` or `{ file = \"path\" }`");
    }
    table.table(name, |table| {
        let (env, file) = (table.text("env").map(KeptIn::Env), table.path("file").map(KeptIn::File));
        if table.has("env") == table.has("file") {
            table.error(table.place(), format!("`{name}` needs one of `env` and `file`"), None);
            return None;
        }
        let kept = env.or(file)?;
        let report = |error| {
            let (field, at) = match &kept {
                KeptIn::Env(variable) => ("env", format!("the environment variable `{variable}`")),
                KeptIn::File(path) => ("file", format!("`{}`", path.display())),
            };
            table.error(table.place_of(field), format!("can't read {at}: {error}"), None);
        };
        kept.read().map_err(report).ok()
    })?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_taken_out_of_addresses() {
        let password =
            |user: &str, password: &str| Some(NatsAuth::Password { user: user.into(), password: password.into() });
        for (text, url, auth) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:4222", None),
            ("127.0.0.1:4222", "nats://127.0.0.1:4222", None),
            ("tls://nats.example", "tls://nats.example", None),
            ("nats://[::1]:4222", "nats://[::1]:4222", None),
            ("nats://bob:p%40ss@host:4222", "nats://host:4222", password("bob", "p@ss")),
            ("nats://s3cret@host", "nats://host", Some(NatsAuth::Token("s3cret".into()))),
        ] {
            assert_eq!(server(text), Ok((url.to_owned(), auth)), "{text}");
        }
        for text in ["", "http://host", "nats://", "nats://host:port", "nats://:pw@host", "ws://host"] {
            assert!(server(text).is_err(), "{text}");
        }
    }
}

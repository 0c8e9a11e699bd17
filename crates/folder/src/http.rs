//! `[[source]]` of type `http`.

use std::{net::SocketAddr, num::NonZeroU32, time::Duration};

use crate::{
    config::{AnswerPoint, ClientAuth, HttpClient, HttpSource, KeptIn, RateLimit, SourceKind, template, values},
    event::check_subject,
    lark, secret,
    table::{PlacedValue, TomlTable},
    unique::ClaimedValues,
};

const PATH: &str = "/events";
const MAX_BODY: usize = 1 << 20;
const MAX_HEAD: usize = 16 << 10;
const CONNECTIONS: usize = 256;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Highest rate: clocks can't separate events at a higher one.
const MAX_RATE: usize = 1_000_000;

pub(crate) fn http(table: &mut TomlTable<'_>, taken: &mut ClaimedValues) -> Option<SourceKind> {
    let place = table.place();
    let listen = table.required("listen", |table, field| table.parsed(field, values::listen));
    if let Some(listen) = listen.filter(|listen| listen.port() != 0) {
        taken.claim(table, &listen.to_string(), table.place_of("listen"), format!("the listener `{listen}`"));
    }
    let path = table.parsed("path", path);
    let (path, tenant_in_path) = path.unwrap_or_else(|| (PATH.to_owned(), false));
    let fixed_subject = table.parsed("fixed_subject", |text| check_subject(text).map(|()| text.to_owned()));
    let auth = auth(table);
    let proofs =
        ["token_file", "token_env", "secret_file", "secret_env", "client", "lark_app", "tenants_file", "tenants_env"];
    let is_this_machines = is_this_machines(table, listen, &proofs, "send events");
    let fixed_tenant = table.parsed("tenant", tenant);
    if table.has("tenant")
        && let Some(ClientAuth::Clients(clients)) = &auth
        && clients.iter().any(|client| client.tenants.is_some())
    {
        let message = "`tenant` sets the tenant of all events, so no `client` can be bound to `tenants`";
        table.error(table.place_of("tenant"), message, None);
    }
    let has_tokens = matches!(auth, Some(ClientAuth::Tenants(_)));
    if table.has("tenant") && (tenant_in_path || has_tokens) {
        let message = "`tenant` sets the tenant of all events, which `path` or `tenants_file` tell apart";
        table.error(table.place_of("tenant"), message, None);
    }
    if tenant_in_path && matches!(auth, Some(ClientAuth::Lark(_))) {
        let message = "Lark's requests name their tenant themselves, and what follows the path is an app's id";
        table.error(table.place_of("path"), message, Some("leave `/{tenant}` out".to_owned()));
    }
    if tenant_in_path && matches!(auth, Some(ClientAuth::Signature(_))) {
        let hint = "tenants are known by their tokens: name a `tenants_file`".to_owned();
        let message = "no signature covers the `{tenant}` in `path`: it could be changed on the way";
        table.error(table.place_of("path"), message, Some(hint));
    }
    let answer = answer(table);
    let tenant_rate = rate(table, ["tenant_rate", "tenant_burst"]);
    let rate = rate(table, ["rate", "burst"]);
    let max_body = table.memory_size("max_body").unwrap_or(MAX_BODY);
    let max_head = table.memory_size("max_headers").unwrap_or(MAX_HEAD);
    let connections = table.positive("connections", 100_000).map_or(CONNECTIONS, |connections| connections.get());
    let timeout = table.duration("timeout").unwrap_or(TIMEOUT);
    Some(SourceKind::Http(Box::new(HttpSource {
        listen: listen?,
        path,
        tenant_in_path,
        fixed_subject,
        auth,
        is_this_machines,
        tenant: fixed_tenant,
        answer: answer?,
        rate,
        tenant_rate,
        max_body,
        max_head,
        connections,
        timeout,
        place,
    })))
}

/// Returns whether a listener has no authentication and is not opened to all by
/// `allow_unauthenticated`. Reports one that other machines can reach: a listener must not be open
/// to all by accident.
pub(crate) fn is_this_machines(
    table: &mut TomlTable<'_>,
    listen: Option<SocketAddr>,
    proofs: &[&'static str],
    what: &str,
) -> bool {
    let is_for_all = table.flag("allow_unauthenticated").unwrap_or(false);
    let is_open = !is_for_all && !proofs.iter().any(|field| table.has(field));
    let Some(listen) = listen.filter(|_| is_open) else { return false };
    if !listen.ip().is_loopback() {
        let ways = proofs.iter().filter(|field| field.ends_with("_file")).map(|field| format!("a `{field}`"));
        let ways = ways.collect::<Vec<_>>().join(" or ");
        let hint = format!("give it {ways}, or say `allow_unauthenticated = true` if that is meant");
        let message = format!("every client that can reach `{listen}` could {what}");
        table.error(table.place_of("listen"), message, Some(hint));
    }
    true
}

/// Parses a path, and whether the tenant follows it.
fn path(text: &str) -> Result<(String, bool), &'static str> {
    let (text, tenant_in_path) = match text.strip_suffix("/{tenant}") {
        Some("") => return Ok((String::new(), true)),
        Some(before) => (before, true),
        None => (text, false),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let good = text.starts_with('/') && !text.contains("//") && text.chars().all(plain);
    let looks = "a path looks like `/events`, `/hooks/orders` or `/in/{tenant}`";
    if good { Ok((text.trim_end_matches('/').to_owned(), tenant_in_path)) } else { Err(looks) }
}

/// Checks the value of the header `tenant`.
fn tenant(text: &str) -> Result<String, &'static str> {
    let good = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if good { Ok(text.to_owned()) } else { Err("a tenant is printable ASCII without spaces") }
}

/// Location of the token that identifies clients.
pub(crate) fn token(table: &mut TomlTable<'_>) -> Option<KeptIn> {
    let token_file = secret::path(table, "token_file").map(KeptIn::File);
    let token_env = table.text("token_env").map(KeptIn::Env);
    if table.has("token_file") && table.has("token_env") {
        let message = "the token comes from `token_file` or from `token_env`, not from both";
        table.error(table.place_of("token_env"), message, None);
    }
    token_file.or(token_env)
}

/// Location of the tokens of tenants, a line each.
pub(crate) fn tenant_tokens(table: &mut TomlTable<'_>) -> Option<KeptIn> {
    let file = secret::path(table, "tenants_file").map(KeptIn::File);
    let variable = table.text("tenants_env").map(KeptIn::Env);
    if table.has("tenants_file") && table.has("tenants_env") {
        let message = "the tokens of tenants come from `tenants_file` or from `tenants_env`, not from both";
        table.error(table.place_of("tenants_env"), message, None);
    }
    file.or(variable)
}

fn auth(table: &mut TomlTable<'_>) -> Option<ClientAuth> {
    let token = token(table);
    let secrets = secrets(table);
    let clients = table.tables("client", client);
    if let Some(apps) = lark::apps(table) {
        return Some(ClientAuth::Lark(apps));
    }
    let tenants = tenant_tokens(table);
    let (signed, tokens) =
        (["secret_file", "secret_env"], ["token_file", "token_env", "client", "tenants_file", "tenants_env"]);
    if let Some(tenants) = tokens[3..].iter().find(|field| table.has(field))
        && let Some(other) = tokens[..3].iter().find(|field| table.has(field))
    {
        let message = format!("`{tenants}` has the tokens of all clients, so there is no `{other}`");
        table.error(table.place_of(other), message, None);
    }
    if let Some(secret) = signed.into_iter().find(|field| table.has(field))
        && tokens.iter().any(|field| table.has(field))
    {
        let message = "clients prove who they are by a token or by signatures, not by both";
        table.error(table.place_of(secret), message, None);
    }
    if table.has("client") {
        if ["token_file", "token_env"].iter().any(|field| table.has(field)) {
            let hint = "a `[[source.client]]` without `tenants` may send events of any tenant".to_owned();
            let message = "a source has one token, or a `client` for each";
            table.error(table.place_of("client"), message, Some(hint));
        }
        return clients.into_iter().collect::<Option<_>>().map(ClientAuth::Clients);
    }
    if let Some(tenants) = tenants {
        return Some(ClientAuth::Tenants(tenants));
    }
    token.map(ClientAuth::Token).or_else(|| (!secrets.is_empty()).then_some(ClientAuth::Signature(secrets)))
}

fn client(table: &mut TomlTable<'_>) -> Option<HttpClient> {
    let token = token(table);
    if !table.has("token_file") && !table.has("token_env") {
        let hint = "name a file with `token_file`, or an environment variable with `token_env`".to_owned();
        table.error(table.place(), "a client is known by its token, and none is named", Some(hint));
    }
    let tenants = table.list("tenants", tenant);
    if tenants.as_ref().is_some_and(Vec::is_empty) {
        let hint = "leave it out for a client that may send events of any tenant".to_owned();
        table.error(table.place_of("tenants"), "`tenants` names no tenant", Some(hint));
    }
    // Invalid tenants must not let the client send events of every tenant.
    let is_whole = table.has("tenants") == tenants.is_some();
    Some(HttpClient { token: token?, tenants }).filter(|_| is_whole)
}

/// The secrets in force during a rotation, new and old. They are read at startup and again later.
fn secrets(table: &mut TomlTable<'_>) -> Vec<KeptIn> {
    let kept = secret::kept(table);
    checked(table, kept, "secret_env")
}

/// Checks the locations of secrets that are read later.
pub(crate) fn checked(
    table: &mut TomlTable<'_>,
    kept: Vec<PlacedValue<KeptIn>>,
    variables: &'static str,
) -> Vec<KeptIn> {
    for PlacedValue { value, place } in &kept {
        match value {
            KeptIn::File(path) => table.check_input(path, place.clone()),
            KeptIn::Env(variable) if variable.is_empty() => {
                table.error(place.clone(), format!("`{variables}` can't be ``: it is empty"), None);
            }
            KeptIn::Env(_) => {}
        }
    }
    kept.into_iter().map(|kept| kept.value).collect()
}

fn answer(table: &mut TomlTable<'_>) -> Option<AnswerPoint> {
    let answer = table.choice("answer", &[("accepted", AnswerPoint::Accepted), ("settled", AnswerPoint::Settled)]);
    let subject = table.parsed("stream_subject", template::incoming_subject);
    if answer == Some(AnswerPoint::Settled) && table.has("stream_subject") {
        let hint = "without `stream_subject` the router works on the events at once and can tell";
        let message = "with `stream_subject` a request is answered when the stream has its events";
        table.error(table.place_of("answer"), message, Some(hint.to_owned()));
    }
    if table.has("stream_subject") {
        subject.map(AnswerPoint::Stored)
    } else {
        Some(answer.unwrap_or(AnswerPoint::Accepted))
    }
}

fn rate(table: &mut TomlTable<'_>, [rate, burst]: [&'static str; 2]) -> Option<RateLimit> {
    let number = |table: &mut TomlTable<'_>, field| table.positive(field, MAX_RATE).and_then(|n| n.try_into().ok());
    let events: Option<NonZeroU32> = number(table, rate);
    let given = number(table, burst);
    if table.has(burst) && !table.has(rate) {
        table.error(table.place_of(burst), format!("`{burst}` without `{rate}` means nothing"), None);
    }
    events.map(|events| RateLimit { events, burst: given.unwrap_or(events) })
}

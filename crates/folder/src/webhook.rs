//! `[[webhook]]`: receivers of outputs, and their selections (C20).

use std::{path::Path, time::Duration};

use url::{Host, Url};

use crate::{
    address,
    api::headers,
    config::{
        BodyTemplate, FilePath, Problem, Problems, SinkConfig, SinkKind, TenantSelection, Webhook, WebhookSink, values,
    },
    document::TomlDocument,
    event::Pattern,
    file::SinkFiles,
    problem::ProblemReport,
    secret::required_secrets,
    signature,
    table::TomlTable,
    unique::ClaimedValues,
};

const DATABASE: &str = "deliveries.db";
const RETENTION: Duration = Duration::from_hours(7 * 24);
const CONCURRENCY: usize = 4;
const MAX_CONCURRENCY: usize = 64;
const MAX_PENDING: u64 = 1_000_000;

/// Reads the sink that stores deliveries.
pub(crate) fn sink(table: &mut TomlTable<'_>, files: &mut SinkFiles) -> Option<SinkKind> {
    let database = table.path("database");
    let database = database.or_else(|| (!table.has("database")).then(|| table.dir().join(DATABASE)))?;
    files.claim(table, "database", FilePath::One(database.clone()));
    let retention = table.duration("retention").unwrap_or(RETENTION);
    Some(SinkKind::Webhook(WebhookSink { database, retention, only: None }))
}

pub(crate) fn webhook(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<Webhook> {
    let name = names.name(table, "webhook");
    let url = table.required("url", url);
    let tenant = table.parsed("tenant", values::literal);
    let has_tenant = table.has("tenant");
    let events = patterns(table, "events");
    let subjects = patterns(table, "subjects");
    let secrets = required_secrets(table);
    let former_until = table.time("former_until");
    if former_until.is_some() && secrets.as_ref().is_some_and(|secrets| secrets.len() < 2) {
        let hint = "leave it out, or give the former secret behind the new one".to_owned();
        let message = "`former_until` ends a rotation, and there is one secret only";
        table.error(table.place_of("former_until"), message, Some(hint));
    }
    let active = table.flag("active").unwrap_or(true);
    let concurrency = table.positive("concurrency", MAX_CONCURRENCY).map_or(CONCURRENCY, |count| count.get());
    let max_pending = table.positive("max_pending", usize::MAX).map_or(MAX_PENDING, |count| count.get() as u64);
    let allow_private = table.flag("allow_private").unwrap_or(false);
    let headers = headers(table, &[signature::ID, signature::TIMESTAMP, signature::SIGNATURE]);
    let body = table.parsed("body", str::parse::<BodyTemplate>);
    let routing_key = table.text("routing_key");
    let has_body = table.has("body");
    let needs_key = body.as_ref().is_some_and(BodyTemplate::needs_routing_key);
    if needs_key && !table.has("routing_key") {
        table.error(table.place_of("body"), "`body` has a `routing_key`, and none is given", None);
    }
    if table.has("routing_key") && !needs_key && has_body == body.is_some() {
        let hint = "a `body` names it as `{routing_key}`, as `pagerduty` does".to_owned();
        table.error(table.place_of("routing_key"), "`routing_key` is not in the `body`", Some(hint));
    }
    if let Some(url) = url.as_ref().filter(|_| !allow_private)
        && address::check_literal(url).is_err()
    {
        let hint = "say `allow_private = true` if that is meant".to_owned();
        table.error(table.place_of("url"), "`url` is a private address", Some(hint));
    }
    if let Some(url) = url.as_ref().filter(|url| url.scheme() == "http" && !is_loopback(url)) {
        let host = url.host_str().unwrap_or_default();
        let message = format!("events go to `{host}` unencrypted, and can be read on the way");
        table.report(Problem::warning(table.place_of("url"), message).hint("use an `https://` address"));
    }
    let tenant = match tenant {
        Some(any) if any == "*" => TenantSelection::Any,
        Some(tenant) => TenantSelection::Only(tenant),
        // An invalid tenant must not widen the selection.
        None if has_tenant => return None,
        None => TenantSelection::None,
    };
    Some(Webhook {
        name: name?,
        url: url?,
        tenant,
        events: events?,
        subjects: subjects?,
        secrets: secrets?,
        former_until,
        active,
        concurrency,
        max_pending,
        allow_private,
        headers: headers?,
        body: if has_body { Some(body?) } else { None },
        routing_key,
        place: table.place(),
    })
}

/// Reads the webhooks in the text of a file, and nothing else of it.
///
/// # Errors
/// Returns all problems with them.
pub(crate) fn read_text(dir: &Path, file: &Path, text: &str) -> Result<Vec<Webhook>, Problems> {
    let report = ProblemReport::default();
    let mut names = ClaimedValues::default();
    let read = TomlDocument::of(dir, file, text.to_owned(), &report).read(|table| {
        table.ignore_rest();
        table.tables("webhook", |table| webhook(table, &mut names)).into_iter().flatten().collect()
    });
    report.conclude(read).map(|(webhooks, _)| webhooks)
}

fn url(table: &mut TomlTable<'_>, field: &'static str) -> Option<Url> {
    let text = table.text(field)?;
    // Messages never quote the address, as it may contain a secret.
    let report = |error: String| {
        let hint = Some("an address looks like `https://hooks.example.com/trommel`".to_owned());
        table.error(table.place_of(field), format!("`{field}` is not a server's address: {error}"), hint);
    };
    values::http_url(&text, "in `headers`").map_err(report).ok()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Reads patterns. A `*` alone means everything, as an empty list does.
fn patterns(table: &mut TomlTable<'_>, field: &'static str) -> Option<Vec<Pattern>> {
    let patterns = table.list(field, str::parse::<Pattern>).or_else(|| (!table.has(field)).then(Vec::new))?;
    let is_all = patterns.iter().any(|pattern| pattern.as_str() == "*");
    Some(if is_all { Vec::new() } else { patterns })
}

/// Reports webhooks if no sink stores deliveries: they would get nothing.
pub(crate) fn check_sink(webhooks: &[std::sync::Arc<Webhook>], sinks: &[SinkConfig], report: &ProblemReport) {
    if sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Webhook(_))) {
        return;
    }
    for webhook in webhooks {
        let message = format!("nothing is ever sent to webhook `{}`: there is no sink of type `webhook`", webhook.name);
        let hint = "add `[[sink]]` with `name` and `type = \"webhook\"` to `trommel.toml`, and name it in a route";
        report.add(Problem::error(webhook.place.clone(), message).hint(hint));
    }
}

//! `[[webhook]]`: receivers of outputs, and their selections (C20).

use std::{fmt, path::PathBuf, time::Duration};

use url::{Host, Url};

use super::{
    SinkKind,
    api::headers,
    file::SinkFiles,
    path::FilePath,
    problem::{ConfigPlace, Problem, ProblemReport},
    secret::required_secrets,
    table::TomlTable,
    unique::ClaimedValues,
    values,
};
use crate::{
    address,
    event::Pattern,
    signature::{self, Secret},
};

const DATABASE: &str = "deliveries.db";
const RETENTION: Duration = Duration::from_hours(7 * 24);
const CONCURRENCY: usize = 4;
const MAX_CONCURRENCY: usize = 64;
const MAX_PENDING: u64 = 1_000_000;

/// Storage of deliveries, until they are sent and for a while after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSink {
    pub database: PathBuf,
    /// Time for which finished deliveries are kept.
    pub retention: Duration,
}

/// A server that outputs are sent to. Secrets, headers and the part of the address after the host
/// are not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    pub name: String,
    /// `http` or `https`, without a user.
    pub url: Url,
    pub tenant: TenantSelection,
    /// Event types and patterns over them; none means all (C25).
    pub events: Vec<Pattern>,
    /// Patterns over subjects; none means all.
    pub subjects: Vec<Pattern>,
    /// Signing secrets, the first one first; each of them signs. At least one.
    pub secrets: Vec<Secret>,
    /// If false, it gets no deliveries, and pending ones are cancelled.
    pub active: bool,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Largest number of pending deliveries.
    pub max_pending: u64,
    /// True if it may have an address that is not of the public Internet.
    pub allow_private: bool,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// Position of its declaration.
    pub place: ConfigPlace,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("url", &self.url.origin().ascii_serialization())
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

/// Selection of events by their tenant (C24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantSelection {
    /// Events without a tenant.
    None,
    /// Events of one tenant.
    Only(String),
    /// All events.
    Any,
}

impl Webhook {
    /// Returns whether an output is for this webhook.
    pub fn wants(&self, tenant: Option<&str>, event_type: &str, subject: &str) -> bool {
        let fits =
            |patterns: &[Pattern], text| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(text));
        let is_in_scope = match &self.tenant {
            TenantSelection::None => tenant.is_none(),
            TenantSelection::Only(own) => tenant == Some(own),
            TenantSelection::Any => true,
        };
        self.active && is_in_scope && fits(&self.events, event_type) && fits(&self.subjects, subject)
    }
}

/// Reads the sink that stores deliveries.
pub(super) fn sink(table: &mut TomlTable<'_>, files: &mut SinkFiles) -> Option<SinkKind> {
    let database = table.path("database");
    let database = database.or_else(|| (!table.has("database")).then(|| table.dir().join(DATABASE)))?;
    files.claim(table, "database", FilePath::One(database.clone()));
    let retention = table.duration("retention").unwrap_or(RETENTION);
    Some(SinkKind::Webhook(WebhookSink { database, retention }))
}

pub(super) fn webhook(table: &mut TomlTable<'_>, names: &mut ClaimedValues) -> Option<Webhook> {
    let name = names.name(table, "webhook");
    let url = table.required("url", url);
    let tenant = table.parsed("tenant", values::literal);
    let has_tenant = table.has("tenant");
    let events = patterns(table, "events");
    let subjects = patterns(table, "subjects");
    let secrets = required_secrets(table);
    let active = table.flag("active").unwrap_or(true);
    let concurrency = table.positive("concurrency", MAX_CONCURRENCY).map_or(CONCURRENCY, |count| count.get());
    let max_pending = table.positive("max_pending", usize::MAX).map_or(MAX_PENDING, |count| count.get() as u64);
    let allow_private = table.flag("allow_private").unwrap_or(false);
    let headers = headers(table, &[signature::ID, signature::TIMESTAMP, signature::SIGNATURE]);
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
        active,
        concurrency,
        max_pending,
        allow_private,
        headers: headers?,
        place: table.place(),
    })
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
pub(super) fn check_sink(webhooks: &[std::sync::Arc<Webhook>], sinks: &[super::SinkConfig], report: &ProblemReport) {
    if sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Webhook(_))) {
        return;
    }
    for webhook in webhooks {
        let message = format!("nothing is ever sent to webhook `{}`: there is no sink of type `webhook`", webhook.name);
        let hint = "add `[[sink]]` with `name` and `type = \"webhook\"` to `trommel.toml`, and name it in a route";
        report.add(Problem::error(webhook.place.clone(), message).hint(hint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(tenant: TenantSelection, events: &[&str], subjects: &[&str]) -> Webhook {
        let patterns = |patterns: &[&str]| patterns.iter().map(|pattern| pattern.parse().unwrap()).collect();
        Webhook {
            name: "a".into(),
            url: "https://hooks.example.com/key-1?token=2".parse().unwrap(),
            tenant,
            events: patterns(events),
            subjects: patterns(subjects),
            secrets: vec!["secret-3".parse().unwrap()],
            active: true,
            concurrency: CONCURRENCY,
            max_pending: MAX_PENDING,
            allow_private: false,
            headers: vec![("X-Key".into(), "secret-4".into())],
            place: ConfigPlace::file("keys/a.toml"),
        }
    }

    /// C24
    #[test]
    fn a_tenants_events_go_to_its_own_webhooks_alone() {
        for (scope, none, t1, t2) in [
            (TenantSelection::None, true, false, false),
            (TenantSelection::Only("t1".into()), false, true, false),
            (TenantSelection::Any, true, true, true),
        ] {
            let webhook = webhook(scope, &[], &[]);
            let wants = [None, Some("t1"), Some("t2")].map(|tenant| webhook.wants(tenant, "a", "b"));
            assert_eq!(wants, [none, t1, t2], "{webhook:?}");
        }
    }

    /// C25
    #[test]
    fn events_are_exact_types_or_patterns() {
        for (events, expected) in [
            (&[][..], [true, true, true]),
            (&["instance.created"], [true, false, false]),
            (&["instance.*"], [true, true, false]),
            (&["instance.created", "deploy.>"], [true, false, true]),
            (&["instance"], [false, false, false]),
        ] {
            let webhook = webhook(TenantSelection::None, events, &[]);
            let types = ["instance.created", "instance.stopped", "deploy.done.late"];
            assert_eq!(types.map(|event_type| webhook.wants(None, event_type, "b")), expected, "{events:?}");
        }
    }

    #[test]
    fn all_that_is_asked_for_must_fit() {
        let narrow = webhook(TenantSelection::None, &["a"], &["x.*"]);
        assert!(narrow.wants(None, "a", "x.1"));
        assert!(!narrow.wants(None, "a", "y.1") && !narrow.wants(None, "b", "x.1"));
        assert!(!Webhook { active: false, ..narrow }.wants(None, "a", "x.1"));
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?}", webhook(TenantSelection::Any, &[], &[]));
        for secret in ["key-1", "token", "secret"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

//! Receivers of outputs, and their selections (C20).

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use jiff::Timestamp;
use url::Url;

use super::{KeptIn, body::BodyTemplate, problem::ConfigPlace};
use crate::{event::Pattern, signature::Secret};

/// Storage of deliveries, until they are sent and for a while after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSink {
    pub database: PathBuf,
    /// Time for which finished deliveries are kept.
    pub retention: Duration,
    /// The only webhook for which deliveries are stored. Can't be configured in a file.
    pub only: Option<String>,
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
    /// Time from which the second secret signs no more; `None` if that is not known yet.
    pub former_until: Option<Timestamp>,
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
    /// Body in place of the payload.
    pub body: Option<BodyTemplate>,
    /// The receiver's key, which the body names.
    pub routing_key: Option<String>,
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

/// The listener at which webhooks are seen to over HTTP. It has a token at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfServiceConfig {
    pub listen: SocketAddr,
    /// Token of an operator, who sees to the webhooks of all tenants.
    pub token: Option<KeptIn>,
    /// Tokens of tenants, each of which sees to its own webhooks.
    pub tenants: Option<KeptIn>,
    /// Position of its declaration, for problems found later with its tokens.
    pub place: ConfigPlace,
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
    /// Returns the secrets that sign a request at this time.
    pub fn signing(&self, at: Timestamp) -> &[Secret] {
        match self.former_until {
            Some(until) if until <= at => self.secrets.get(..1).unwrap_or_default(),
            _ => &self.secrets,
        }
    }

    /// Returns whether a former secret signs, too, at this time.
    pub fn is_rotating(&self, at: Timestamp) -> bool {
        self.signing(at).len() > 1
    }

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
            former_until: None,
            active: true,
            concurrency: 4,
            max_pending: 1_000_000,
            allow_private: false,
            headers: vec![("X-Key".into(), "secret-4".into())],
            body: Some("\"secret-5\"".parse().unwrap()),
            routing_key: Some("secret-6".into()),
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

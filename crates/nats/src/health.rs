//! Health of a connection: how often it was made, and denied permissions.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Most denials that are remembered; each subject once.
const REMEMBERED: usize = 32;
/// Interval at which the same denial, or an outage, is logged.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct ConnectionHealth {
    /// Number of times the connection was made.
    pub(super) made: u64,
    /// Number of denials.
    pub(super) denials: u64,
    /// Number of the last denial before the connection was last made: the denied subjects are
    /// requested again then, and may be allowed now.
    outdated: u64,
    /// The newest last.
    remembered: VecDeque<PermissionDenial>,
    outage: Option<ConnectionOutage>,
}

/// Time without a connection.
#[derive(Debug)]
struct ConnectionOutage {
    began: Instant,
    said: Instant,
}

#[derive(Debug)]
struct PermissionDenial {
    number: u64,
    what: NoPermission,
    said: Instant,
}

/// A denied permission for a subject. The server reports it beside the operation, which itself goes
/// unanswered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no permission to {} `{subject}`", if *.publish { "publish to" } else { "subscribe to" })]
pub struct NoPermission {
    pub publish: bool,
    pub subject: String,
}

impl NoPermission {
    /// Reads `Permissions Violation for Publish to "x"` out of a server's error.
    pub(super) fn parse(error: &str) -> Option<Self> {
        let (_, violation) = error.split_once("ermissions Violation for ")?;
        let (action, subject) = violation.split_once(" to \"")?;
        Some(Self { publish: action == "Publish", subject: subject.split('"').next()?.to_owned() })
    }

    /// Part of the subject by which denials are logged once: acks and inboxes differ in every
    /// message.
    fn family(&self) -> String {
        let tokens = if self.subject.starts_with("$JS.ACK.") { 4 } else { usize::MAX };
        let first = if self.subject.starts_with("_INBOX.") { 1 } else { tokens };
        self.subject.split('.').take(first).collect::<Vec<_>>().join(".")
    }
}

impl ConnectionHealth {
    pub(super) fn connected(&mut self) {
        self.made += 1;
        self.outdated = self.denials;
        self.outage = None;
    }

    pub(super) fn disconnected(&mut self) {
        let now = Instant::now();
        self.outage.get_or_insert(ConnectionOutage { began: now, said: now });
    }

    /// Returns how long there has been no connection.
    pub(super) fn outage(&self) -> Option<Duration> {
        self.outage.as_ref().map(|outage| outage.began.elapsed())
    }

    /// Returns whether an outage is to be logged again: its beginning was, and then once a minute.
    pub(super) fn is_outage_due(&mut self) -> bool {
        let Some(outage) = self.outage.as_mut().filter(|outage| outage.said.elapsed() >= AGAIN) else { return false };
        outage.said = Instant::now();
        true
    }

    pub(super) fn denied(&mut self, what: NoPermission, role: &str) {
        let family = what.family();
        let is_known = |old: &PermissionDenial| old.what.publish == what.publish && old.what.family() == family;
        let known = self.remembered.iter().position(is_known).and_then(|index| self.remembered.remove(index));
        let said = match known {
            Some(PermissionDenial { said, .. }) if said.elapsed() < AGAIN => said,
            _ => {
                tracing::error!(role, "{what}");
                Instant::now()
            }
        };
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.denials += 1;
        self.remembered.push_back(PermissionDenial { number: self.denials, what, said });
    }

    pub(super) fn find(&self, after: u64, concerns: impl Fn(&NoPermission) -> bool) -> Option<NoPermission> {
        let after = after.max(self.outdated);
        let newest_first = self.remembered.iter().rev().take_while(|denial| denial.number > after);
        newest_first.map(|denial| &denial.what).find(|what| concerns(what)).cloned()
    }

    /// Newest denial of a subscription. Its messages do not arrive until it is requested anew.
    pub(super) fn unheard(&self) -> Option<NoPermission> {
        self.find(0, |denial| !denial.publish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_read_out_of_the_servers_words() {
        let denied = |publish, subject: &str| Some(NoPermission { publish, subject: subject.to_owned() });
        for (text, expected) in [
            (r#"nats: Permissions Violation for Publish to "out.x""#, denied(true, "out.x")),
            (r#"nats: permissions violation for subscription to "_inbox.a.*""#, None),
            (r#"nats: Permissions Violation for Subscription to "a" using queue "q""#, denied(false, "a")),
            ("nats: maximum connections exceeded", None),
        ] {
            assert_eq!(NoPermission::parse(text), expected, "{text}");
        }
        assert_eq!(denied(true, "a.b").unwrap().to_string(), "no permission to publish to `a.b`");
    }

    #[test]
    fn only_what_is_newer_is_found() {
        let mut health = ConnectionHealth::default();
        let denial = |subject: &str| NoPermission { publish: true, subject: subject.to_owned() };
        health.denied(denial("a"), "test");
        let seen = health.denials;
        assert_eq!(health.find(0, |_| true), Some(denial("a")));
        assert_eq!(health.find(seen, |_| true), None);
        health.denied(denial("b"), "test");
        health.denied(denial("a"), "test");
        assert_eq!(health.find(seen, |found| found.subject == "a"), Some(denial("a")));
        for number in 0..100 {
            health.denied(denial(&number.to_string()), "test");
        }
        assert_eq!(health.remembered.len(), REMEMBERED);
        assert_eq!(health.find(seen, |found| found.subject == "a"), None);
    }

    /// A server reports a denial once per request, and never that the permission was granted later.
    #[test]
    fn what_was_denied_before_the_connection_was_made_anew_does_not_count() {
        let mut health = ConnectionHealth::default();
        let denial = |publish| NoPermission { publish, subject: "_INBOX.a.*".to_owned() };
        health.denied(denial(true), "test");
        assert_eq!(health.unheard(), None);
        health.denied(denial(false), "test");
        assert_eq!(health.unheard(), Some(denial(false)));
        health.connected();
        assert_eq!((health.unheard(), health.find(0, |_| true)), (None, None));
        health.denied(denial(false), "test");
        assert_eq!(health.unheard(), Some(denial(false)));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_logged_once_a_minute() {
        let mut health = ConnectionHealth::default();
        assert!(!health.is_outage_due());
        health.disconnected();
        let mut said = 0;
        for _ in 0..1_500 {
            said += usize::from(health.is_outage_due());
            health.disconnected();
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!((said, health.outage()), (2, Some(Duration::from_secs(150))));
        health.connected();
        assert_eq!(health.outage(), None);
    }

    #[test]
    fn acks_are_one_family() {
        let family = |subject: &str| NoPermission { publish: true, subject: subject.to_owned() }.family();
        assert_eq!(family("$JS.ACK.S.C.1.2.3.4.5"), "$JS.ACK.S.C");
        assert_eq!(family("_INBOX.abc.1"), "_INBOX");
        assert_eq!(family("out.x"), "out.x");
    }
}

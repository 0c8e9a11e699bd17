//! What a connection noticed while it lived.

use std::collections::VecDeque;

/// Denials that are remembered; each subject once.
const REMEMBERED: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Health {
    /// Counts connects and disconnects, to wake those who watch.
    pub(super) events: u64,
    /// Counts denials.
    pub(super) denials: u64,
    /// The newest last, each with its number.
    remembered: VecDeque<(u64, NoPermission)>,
}

/// The server did not let us use a subject. It says so beside the operation, which itself just goes unanswered.
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

    /// What to log once: acks and inboxes differ in every message.
    fn family(&self) -> String {
        let tokens = if self.subject.starts_with("$JS.ACK.") { 4 } else { usize::MAX };
        let first = if self.subject.starts_with("_INBOX.") { 1 } else { tokens };
        self.subject.split('.').take(first).collect::<Vec<_>>().join(".")
    }
}

impl Health {
    pub(super) fn denied(&mut self, denial: NoPermission, role: &str) {
        let family = denial.family();
        let known = self.remembered.iter().position(|(_, old)| old.publish == denial.publish && old.family() == family);
        match known {
            Some(index) => {
                self.remembered.remove(index);
            }
            None => tracing::error!(role, "{denial}"),
        }
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.denials += 1;
        self.remembered.push_back((self.denials, denial));
    }

    pub(super) fn find(&self, after: u64, concerns: impl Fn(&NoPermission) -> bool) -> Option<NoPermission> {
        let newest_first = self.remembered.iter().rev().take_while(|(number, _)| *number > after);
        newest_first.map(|(_, denial)| denial).find(|denial| concerns(denial)).cloned()
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
        let mut health = Health::default();
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

    #[test]
    fn acks_are_one_family() {
        let family = |subject: &str| NoPermission { publish: true, subject: subject.to_owned() }.family();
        assert_eq!(family("$JS.ACK.S.C.1.2.3.4.5"), "$JS.ACK.S.C");
        assert_eq!(family("_INBOX.abc.1"), "_INBOX");
        assert_eq!(family("out.x"), "out.x");
    }
}

//! Permissions of a user: which subjects it may publish and subscribe to.

use serde::Deserialize;

use crate::{ApiError, Connection, event::Pattern};

/// Number of probes between two waits for the server: it reports each denial by itself, and no more
/// than some of them are remembered.
const PROBES: usize = 16;

/// Permissions of a user, as the server has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct UserPermissions {
    pub publish: SubjectPermissions,
    pub subscribe: SubjectPermissions,
}

/// Subjects that are allowed and denied. Without allowed ones, all but the denied ones are allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SubjectPermissions {
    allow: Option<Vec<String>>,
    deny: Option<Vec<String>>,
}

/// How far the subjects of a pattern are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectAccess {
    All,
    Part,
    None,
}

impl SubjectPermissions {
    /// How far the subjects of this pattern are allowed.
    pub fn access(&self, wanted: &Pattern) -> SubjectAccess {
        let denied = extent(self.deny.as_deref().unwrap_or_default(), wanted);
        let allowed = match self.allow.as_deref() {
            None | Some([]) => SubjectAccess::All,
            Some(allow) => extent(allow, wanted),
        };
        match (allowed, denied) {
            (SubjectAccess::None, _) | (_, SubjectAccess::All) => SubjectAccess::None,
            (allowed, SubjectAccess::None) => allowed,
            (_, SubjectAccess::Part) => SubjectAccess::Part,
        }
    }
}

/// How many of the wanted subjects are among these.
fn extent(patterns: &[String], wanted: &Pattern) -> SubjectAccess {
    // The name of a queue group may follow the subject.
    let subjects = patterns.iter().filter_map(|pattern| pattern.split(' ').next()?.parse::<Pattern>().ok());
    subjects.fold(SubjectAccess::None, |extent, pattern| match pattern {
        pattern if extent == SubjectAccess::All || pattern.covers(wanted) => SubjectAccess::All,
        pattern if pattern.intersection(wanted).is_some() => SubjectAccess::Part,
        _ => extent,
    })
}

impl Connection {
    /// Sends requests of the JetStream API that it can't read, and returns those that the server
    /// did not let through: nothing else comes of them. For users that may not ask for their
    /// permissions.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn probe_requests(&self, subjects: &[String]) -> Result<Vec<String>, ApiError> {
        let mut denied = Vec::new();
        for subjects in subjects.chunks(PROBES) {
            let before = self.denials();
            for subject in subjects {
                let sent = self.client().publish(subject.clone(), "{".into()).await;
                sent.map_err(|error| ApiError::Failed(subject.clone(), error.into()))?;
            }
            // The server works in order, and denies this too: all other denials are here before.
            if let Err(error @ ApiError::Failed(..)) = self.user_info().await {
                return Err(error);
            }
            let is_denied = |subject: &&String| self.publish_denied(before, subject).is_some();
            denied.extend(subjects.iter().filter(is_denied).cloned());
        }
        Ok(denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str], wanted: &str) -> SubjectAccess {
        let texts = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
        let permissions = SubjectPermissions { allow: texts(allow), deny: texts(deny) };
        permissions.access(&wanted.parse().unwrap())
    }

    #[test]
    fn what_is_allowed_and_not_denied_may_be_used() {
        for (allow, deny, wanted, expected) in [
            (&[][..], &[][..], "a.b", SubjectAccess::All),
            (&["a.>"], &[], "a.b", SubjectAccess::All),
            (&["a.>"], &[], "a.*.c", SubjectAccess::All),
            (&["a.b"], &[], "a.*", SubjectAccess::Part),
            (&["a.b"], &[], "b.*", SubjectAccess::None),
            (&["a.b workers"], &[], "a.b", SubjectAccess::All),
            (&["a.b", "a.>"], &[], "a.*", SubjectAccess::All),
            (&["a.>", "a.b"], &[], "a.*", SubjectAccess::All),
            (&[], &["a.b"], "a.*", SubjectAccess::Part),
            (&[], &["a.>"], "a.*", SubjectAccess::None),
            (&["a.>"], &["b.>"], "a.b", SubjectAccess::All),
        ] {
            assert_eq!(access(allow, deny, wanted), expected, "{allow:?} but {deny:?}: {wanted}");
        }
    }

    #[test]
    fn the_servers_form_is_read() {
        let text = r#"{"publish":{"allow":["a"],"deny":null},"subscribe":{},"responses":{"max":1,"ttl":0}}"#;
        let read: UserPermissions = serde_json::from_str(text).unwrap();
        assert_eq!(read.publish.access(&"b".parse().unwrap()), SubjectAccess::None);
        assert_eq!(read.subscribe.access(&"b".parse().unwrap()), SubjectAccess::All);
    }
}

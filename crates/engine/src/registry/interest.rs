//! Interest of a key in events, and the rule that decides it, in words.

use crate::event::{Event, Pattern, TypePattern};

/// Interest of a key in events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyInterest {
    /// Events with this subject and event type. Those given must both match (X10).
    Named { subject: Option<Pattern>, event_type: Option<String> },
    /// Events in whose type the expression is found (L129).
    Matching(TypePattern),
    /// Events in whose type no expression is found.
    Rest,
}

impl KeyInterest {
    /// Returns the rule by which a key takes an event. `is_matched` is true if another key's
    /// expression is found in its type.
    ///
    /// # Errors
    /// Returns the rule by which the key does not take it.
    pub fn rule(&self, event: &Event, is_matched: bool) -> Result<String, String> {
        match self {
            Self::Named { subject, event_type } => named(subject.as_ref(), event_type.as_deref(), event),
            Self::Matching(pattern) if pattern.matches(&event.event_type) => {
                Ok(format!("`{}` is found in the event type", pattern.as_str()))
            }
            Self::Matching(pattern) => Err(format!("`{}` is not found in the event type", pattern.as_str())),
            Self::Rest if is_matched => Err("another route's expression is found in the event type".to_owned()),
            Self::Rest => Ok("no route's expression is found in the event type".to_owned()),
        }
    }
}

fn named(subject: Option<&Pattern>, event_type: Option<&str>, event: &Event) -> Result<String, String> {
    let mut rules = Vec::new();
    if let Some(pattern) = subject {
        if !pattern.matches(&event.subject) {
            return Err(format!("subject `{pattern}` does not fit `{}`", event.subject));
        }
        rules.push(format!("subject `{pattern}` fits"));
    }
    if let Some(event_type) = event_type {
        if *event_type != *event.event_type {
            return Err(format!("event type is `{}`, not `{event_type}`", event.event_type));
        }
        rules.push(format!("event type is `{event_type}`"));
    }
    Ok(rules.join(", "))
}

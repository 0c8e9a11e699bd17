//! Families of events: each type of event with its subject, and reading and writing of its wire
//! form in one place.

use std::fmt;

pub mod ctrlplane;
mod flowcraft;
pub mod helix;
pub mod mesh;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use trommel_event::event::{Pattern, SubjectError, token};

/// A type of event with subjects and a wire form of its own.
pub trait EventFamily: Sized + Send + 'static {
    /// First tokens of its subjects, unless the client has others.
    const PREFIX: &'static str;
    /// Tokens behind the prefix that all its subjects have; may be empty.
    const DOMAIN: &'static str;

    /// Last tokens of the event's subject, behind prefix and domain.
    fn name(&self) -> String;

    /// Encodes the event as the body of a message.
    ///
    /// # Errors
    /// Returns an error if the event has no such form.
    fn encode(&self, format: WireFormat) -> Result<Vec<u8>, UnencodableEvent>;

    /// Decodes the body of a message, in whatever format it is.
    ///
    /// # Errors
    /// Returns an error if it is not an event of this type.
    fn decode(body: &[u8]) -> Result<Self, MalformedEvent>;
}

/// Format of what is written. Readers take all formats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireFormat {
    #[default]
    Json,
    /// Avro's single-object encoding, for types of events that have a schema; JSON for others.
    Avro,
}

/// Error of an event that can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("can't write the event: {0}")]
pub struct UnencodableEvent(pub String);

/// Error of a message that is not the expected event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not such an event: {0}")]
pub struct MalformedEvent(pub String);

impl MalformedEvent {
    fn from_json(error: &serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

/// Selection of a family's events by the last tokens of their subjects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventFilter(String);

impl EventFilter {
    /// Every event of the family.
    pub fn all() -> Self {
        Self(">".to_owned())
    }

    /// Events with this id and action; `*` stands for any. Characters that a subject can't have
    /// are replaced as publishers replace them, so that two ids that differ in these only are not
    /// told apart.
    pub fn of(id: &str, action: &str) -> Self {
        let tokens = [id, action].map(|text| if text == "*" { text.into() } else { token(text) });
        Self(tokens.join("."))
    }

    /// Events whose last tokens fit a pattern, such as `tool.*` or `user.>`.
    ///
    /// # Errors
    /// Returns an error if it is not a valid pattern.
    pub fn pattern(pattern: &str) -> Result<Self, SubjectError> {
        let pattern: Pattern = pattern.parse()?;
        Ok(Self(pattern.as_str().to_owned()))
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads an object that other libraries write as null where it is missing.
fn null_as_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Joins the parts of a subject that are not empty.
pub(crate) fn subject(prefix: &str, domain: &str, name: &str) -> String {
    let parts = [prefix, domain, name].into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_select_by_id_and_action() {
        for (filter, pattern) in [
            (EventFilter::all(), ">"),
            (EventFilter::of("n1", "join"), "n1.join"),
            (EventFilter::of("*", "join"), "*.join"),
            (EventFilter::of("a.b c", ">"), "a_b_c._"),
            (EventFilter::of("", "join"), "_.join"),
            (EventFilter::pattern("tool.>").unwrap(), "tool.>"),
        ] {
            assert_eq!(filter.to_string(), pattern);
        }
        assert!(EventFilter::pattern("a..b").is_err());
        assert_eq!(subject("", "nodes", "n1.join"), "nodes.n1.join");
        assert_eq!(subject("events", "", "tool.crashed"), "events.tool.crashed");
    }
}

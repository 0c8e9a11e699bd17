//! Names of an event's parts, one language for conditions, filters and settings.
//!
//! | name | value |
//! |---|---|
//! | `subject`, `event-type` or `type`, `id` | text |
//! | `source-time` | when the event happened, as its producer wrote it |
//! | `observed-at` | when the router saw it, in Unix nanoseconds |
//! | `attempt` | 1 on the first delivery |
//! | `tenant`, `content-type`, `header:NAME` | text, from the headers, whatever the case of the name |
//! | `source`, `stream`, `sequence` | where it was read |
//! | `key`, `route` | on whose behalf a filter is asked |
//! | `payload` | all of it |
//! | `/order/amount` | a part of a JSON payload by its JSON pointer |

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{
    event::{Event, identity},
    json::{JsonPointer, PointerError},
    text,
};

const CONTENT_TYPE: &str = "content-type";

/// Longest name of a field, in bytes.
const LONGEST: usize = 1024;

/// Fields without a name of their own inside.
const PLAIN: [(&str, Field); 14] = [
    ("subject", Field::Subject),
    ("event-type", Field::EventType),
    ("id", Field::Id),
    ("source-time", Field::SourceTime),
    ("observed-at", Field::ObservedAt),
    ("attempt", Field::Attempt),
    ("tenant", Field::Tenant),
    ("content-type", Field::ContentType),
    ("source", Field::Source),
    ("stream", Field::Stream),
    ("sequence", Field::Sequence),
    ("key", Field::Key),
    ("route", Field::Route),
    ("payload", Field::Payload),
];

/// A part of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Subject,
    EventType,
    Id,
    SourceTime,
    ObservedAt,
    Attempt,
    Tenant,
    ContentType,
    Source,
    Stream,
    Sequence,
    /// The key on whose behalf the event is looked at; an event alone has none.
    Key,
    /// The route on whose behalf the event is looked at; an event alone has none.
    Route,
    Header(String),
    Payload,
    /// A JSON pointer into the payload.
    Pointer(JsonPointer),
}

/// Error: a text is not the name of a field. Foreign text in it is shortened and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error(
        "`{name}` is not a field, write {meant}, or one of `subject`, `event-type`, `id`, `source-time`, \
         `observed-at`, `attempt`, `tenant`, `content-type`, `source`, `stream`, `sequence`, `key`, `route`, \
         `payload`, `header:NAME`"
    )]
    Unknown { name: String, meant: String },
    #[error("`header:` needs the header's name, as in `header:Region`")]
    NoHeader,
    #[error("`{0}` is not a JSON pointer: `~` is written `~0`, and a `/` inside a name `~1`")]
    Pointer(String),
    #[error("the field `{0}` is longer than {LONGEST} bytes")]
    TooLong(String),
}

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(name: &str) -> Result<Self, FieldError> {
        if name.len() > LONGEST {
            return Err(FieldError::TooLong(text::shortened(name)));
        }
        if let Some(header) = name.strip_prefix("header:") {
            return if header.is_empty() { Err(FieldError::NoHeader) } else { Ok(Self::Header(header.to_owned())) };
        }
        if name.starts_with('/') {
            let pointer = name.parse().map_err(|_: PointerError| FieldError::Pointer(text::shortened(name)))?;
            return Ok(Self::Pointer(pointer));
        }
        plain(name).ok_or_else(|| unknown(name))
    }
}

fn plain(name: &str) -> Option<Field> {
    let name = if name == "type" { "event-type" } else { name };
    PLAIN.into_iter().find(|(plain, _)| *plain == name).map(|(_, field)| field)
}

fn unknown(name: &str) -> FieldError {
    let hyphenated = name.replace('_', "-").to_ascii_lowercase();
    let meant = match plain(&hyphenated) {
        Some(field) => format!("`{field}`"),
        None if name.is_empty() => "a JSON pointer such as `/order/amount`".to_owned(),
        None => format!("`/{}` for a member of the payload", text::shortened(&name.replace('.', "/"))),
    };
    FieldError::Unknown { name: text::shortened(name), meant }
}

/// The name as it is parsed, a header's or pointer's shortened and escaped.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{}", text::shortened(name)),
            Self::Pointer(pointer) => f.write_str(&text::shortened(pointer.as_str())),
            plain => f.write_str(PLAIN.iter().find(|(_, field)| field == plain).map_or("", |(name, _)| name)),
        }
    }
}

impl Field {
    /// The field's value as text, or `None` when the event has no such field, its payload is not
    /// JSON where a pointer leads into it, or not text.
    pub fn of<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        let header = |name: &str| event.headers.get(name).map(|value| Cow::Borrowed(&**value));
        match self {
            Self::Subject => Some(Cow::Borrowed(&event.subject)),
            Self::EventType => Some(Cow::Borrowed(&event.event_type)),
            Self::Id => Some(Cow::Borrowed(&event.id)),
            Self::SourceTime => event.source_time.as_deref().filter(|time| !time.is_empty()).map(Cow::Borrowed),
            Self::ObservedAt => Some(event.observed_at.to_string().into()),
            Self::Attempt => Some(event.attempt.to_string().into()),
            Self::Tenant => header(identity::TENANT),
            Self::ContentType => header(CONTENT_TYPE),
            Self::Source => Some(Cow::Borrowed(&event.origin.source)),
            Self::Stream => Some(Cow::Borrowed(&event.origin.stream)),
            Self::Sequence => Some(event.sequence.to_string().into()),
            Self::Key | Self::Route => None,
            Self::Header(name) => header(name),
            Self::Payload => str::from_utf8(&event.payload).ok().map(Cow::Borrowed),
            Self::Pointer(pointer) => pointer.text(&event.payload).ok().flatten(),
        }
    }

    /// Returns the pointer of a field in the payload.
    pub fn pointer(&self) -> Option<&JsonPointer> {
        match self {
            Self::Pointer(pointer) => Some(pointer),
            _ => None,
        }
    }

    /// Returns whether the value is a number.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::ObservedAt | Self::Attempt | Self::Sequence)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Headers, Origin};

    #[test]
    fn every_name_has_its_value() {
        let mut headers = Headers::default();
        headers.push("Tenant", "acme");
        headers.push("Content-Type", "application/json");
        headers.push("Region", "eu");
        let event = Event {
            id: "o-17".into(),
            uid: Default::default(),
            event_type: "created".into(),
            subject: "orders.eu".into(),
            source_time: Some("2026-05-01T00:00:00Z".into()),
            observed_at: 1_700_000_000_000_000_001,
            attempt: 2,
            headers,
            payload: r#"{"order":{"id":"a\"b"}}"#.into(),
            origin: Arc::new(Origin { source: "in".to_owned(), stream: "ORDERS".to_owned() }),
            sequence: 18_446_744_073_709_551_615,
        };
        for (name, value) in [
            ("subject", Some("orders.eu")),
            ("event-type", Some("created")),
            ("type", Some("created")),
            ("id", Some("o-17")),
            ("source-time", Some("2026-05-01T00:00:00Z")),
            ("observed-at", Some("1700000000000000001")),
            ("attempt", Some("2")),
            ("tenant", Some("acme")),
            ("content-type", Some("application/json")),
            ("source", Some("in")),
            ("stream", Some("ORDERS")),
            ("sequence", Some("18446744073709551615")),
            ("key", None),
            ("route", None),
            ("header:REGION", Some("eu")),
            ("header:none", None),
            ("payload", Some(r#"{"order":{"id":"a\"b"}}"#)),
            ("/order/id", Some("a\"b")),
            ("/order/none", None),
        ] {
            let field: Field = name.parse().unwrap();
            assert_eq!(field.of(&event).as_deref(), value, "{name}");
            assert_eq!(field.to_string().parse(), Ok(field), "{name}");
        }
        let silent = Event { source_time: Some("".into()), ..event };
        assert_eq!(Field::SourceTime.of(&silent), None);
    }

    #[test]
    fn an_unknown_name_is_answered_with_what_was_meant() {
        let error = |name: &str| name.parse::<Field>().unwrap_err().to_string();
        for (name, start) in [
            ("observed_at", "`observed_at` is not a field, write `observed-at`, or one of `subject`, "),
            ("Subject", "`Subject` is not a field, write `subject`, or"),
            ("order.id", "`order.id` is not a field, write `/order/id` for a member of the payload, or"),
            ("", "`` is not a field, write a JSON pointer such as `/order/amount`, or"),
            ("header:", "`header:` needs the header's name"),
            ("/a~2", "`/a~2` is not a JSON pointer"),
        ] {
            assert!(error(name).starts_with(start), "{name}: {}", error(name));
        }
        let names = error("x");
        assert!(PLAIN.iter().all(|(name, _)| names.contains(&format!("`{name}`"))), "{names}");
        for long in [format!("/{}", "a".repeat(3 << 20)), format!("header:{}", "\n".repeat(3 << 20)), "é".repeat(900)]
        {
            assert!(error(&long).len() < 500 && !error(&long).contains('\n'), "{}", error(&long));
        }
    }
}

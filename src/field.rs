//! Naming a part of an event in the configuration: `subject`, `event-type`, `header:NAME` or a JSON pointer.

use std::{borrow::Cow, fmt, str::FromStr};

use crate::{
    event::Event,
    json::{Pointer, PointerError},
};

/// A part of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Subject,
    EventType,
    Header(String),
    /// A JSON pointer into the payload.
    Pointer(Pointer),
}

/// Why a text names no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    #[error("a field is `subject`, `event-type`, `header:NAME` or a JSON pointer such as `/order/id`")]
    Unknown,
    #[error("`header:` lacks the header's name")]
    NoHeaderName,
    #[error(transparent)]
    Pointer(PointerError),
}

impl FromStr for Field {
    type Err = FieldError;

    fn from_str(text: &str) -> Result<Self, FieldError> {
        match text.strip_prefix("header:") {
            Some("") => Err(FieldError::NoHeaderName),
            Some(name) => Ok(Self::Header(name.to_owned())),
            None if text == "subject" => Ok(Self::Subject),
            None if text == "event-type" => Ok(Self::EventType),
            None if text.starts_with('/') => text.parse().map(Self::Pointer).map_err(FieldError::Pointer),
            None => Err(FieldError::Unknown),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject => f.write_str("subject"),
            Self::EventType => f.write_str("event-type"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Pointer(pointer) => pointer.fmt(f),
        }
    }
}

impl Field {
    /// The field's value as text, or `None` when the event has no such field or its payload is not JSON.
    pub fn of<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        match self {
            Self::Subject => Some(Cow::Borrowed(&event.subject)),
            Self::EventType => Some(Cow::Borrowed(&event.event_type)),
            Self::Header(name) => event.headers.get(name).map(|value| Cow::Borrowed(&**value)),
            Self::Pointer(pointer) => pointer.text(&event.payload).ok().flatten(),
        }
    }
}

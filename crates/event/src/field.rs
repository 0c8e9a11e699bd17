//! Field names: the parts of an event that settings can refer to, namely its subject, its type, a
//! header, or a location in its payload.

use std::borrow::Cow;

use crate::{event::Event, json::JsonPointer};

/// A part of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    Subject,
    EventType,
    Header(String),
    /// A JSON pointer into the payload.
    Pointer(JsonPointer),
}

impl Field {
    /// The field's value as text, or `None` when the event has no such field or its payload is not
    /// JSON.
    pub fn of<'a>(&self, event: &'a Event) -> Option<Cow<'a, str>> {
        match self {
            Self::Subject => Some(Cow::Borrowed(&event.subject)),
            Self::EventType => Some(Cow::Borrowed(&event.event_type)),
            Self::Header(name) => event.headers.get(name).map(|value| Cow::Borrowed(&**value)),
            Self::Pointer(pointer) => pointer.text(&event.payload).ok().flatten(),
        }
    }
}

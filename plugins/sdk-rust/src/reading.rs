//! Values of fields as what a filter's types say.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

use crate::{
    Event, Failure, Result,
    text::{PlainText, TextProblem},
};

/// The parts of an event that a hook reads, as a struct. Made by `#[derive(Fields)]`:
///
/// | a field of the struct | reads |
/// |---|---|
/// | `#[field("/order/amount")] amount: f64` | a part of the payload, as JSON |
/// | `#[field("header:Region")] region: &'a str` | a header, as text or what it is parsed as |
/// | `subject: &'a str`, `observed_at: u64`, … | the field of that name |
/// | `payload: &'a [u8]`, `&'a str`, `String` | the payload as it came |
/// | `payload: Order` | the payload as JSON |
///
/// A field that is missing, or of another form, makes the event `malformed`, and in `matches` one
/// that does not match. An `Option` is `None` where the field is absent or `null`;
/// `Option<Option<T>>` tells the two apart. Borrow texts of JSON as `Cow<'a, str>`.
pub trait Fields<'a>: Sized {
    const NAMES: &'static [&'static str];

    /// # Errors
    /// `malformed`, which names the field.
    fn read(event: &Event<'a>) -> Result<Self>;
}

/// Of the fields that `reads` names.
impl<'a> Fields<'a> for Event<'a> {
    const NAMES: &'static [&'static str] = &[];

    fn read(event: &Event<'a>) -> Result<Self> {
        Ok(*event)
    }
}

/// For a hook that looks at nothing.
impl<'a> Fields<'a> for () {
    const NAMES: &'static [&'static str] = &[];

    fn read(_: &Event<'a>) -> Result<Self> {
        Ok(())
    }
}

pub(crate) fn required<'a, T: Deserialize<'a>>(name: &str, value: Option<&'a [u8]>) -> Result<T> {
    let Some(bytes) = value else { return Err(Failure::malformed(format!("`{name}` is missing"))) };
    read(name, bytes).map_err(|problem| match bytes {
        b"null" if name.starts_with('/') => Failure::malformed(format!("`{name}` is null")),
        _ => Failure::malformed(format!("`{name}`: {problem}")),
    })
}

pub(crate) fn optional<'a, T: Deserialize<'a>>(name: &str, value: Option<&'a [u8]>) -> Result<Option<T>> {
    match value {
        None => Ok(None),
        Some(bytes @ b"null") if name.starts_with('/') => Ok(read(name, bytes).ok()),
        value => required(name, value).map(Some),
    }
}

fn read<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, TextProblem> {
    if name.starts_with('/') {
        return json(bytes);
    }
    match name {
        "payload" => T::deserialize(PayloadBytes(bytes)),
        _ => T::deserialize(PlainText(utf8(bytes)?)),
    }
}

/// Without the place in the text, which is that of the field alone.
fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, TextProblem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let text = error.to_string();
        TextProblem(text.rsplit_once(" at line ").map_or(text.as_str(), |(what, _)| what).to_owned())
    })
}

fn utf8(bytes: &[u8]) -> Result<&str, TextProblem> {
    str::from_utf8(bytes).map_err(|error| TextProblem(error.to_string()))
}

/// What `#[derive(Fields)]` calls: the value at a position.
pub fn derived_required<'a, T: Deserialize<'a>>(event: &Event<'a>, position: usize, name: &str) -> Result<T> {
    required(name, event.value(position))
}

/// What `#[derive(Fields)]` calls: the value at a position, if there is one.
pub fn derived_optional<'a, T: Deserialize<'a>>(event: &Event<'a>, position: usize, name: &str) -> Result<Option<T>> {
    optional(name, event.value(position))
}

/// A text that is borrowed where it has no escapes.
pub struct SharedText<'a>(pub Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for SharedText<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shared;

        impl<'de> Visitor<'de> for Shared {
            type Value = SharedText<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<SharedText<'de>, E> {
                Ok(SharedText(Cow::Borrowed(text)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SharedText<'de>, E> {
                Ok(SharedText(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Shared)
    }
}

/// A payload: texts and bytes as they came, all else as JSON.
struct PayloadBytes<'de>(&'de [u8]);

/// Reads `self.0` as JSON, all of it.
macro_rules! as_json {
    ($($deserialize:ident($($name:ident: $argument:ty),*),)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, $($name: $argument,)* visitor: V) -> Result<V::Value, TextProblem> {
            let mut json = serde_json::Deserializer::from_slice(self.0);
            let value = json.$deserialize($($name,)* visitor).and_then(|value| json.end().map(|()| value));
            value.map_err(|error| TextProblem(error.to_string()))
        })*
    };
}

impl<'de> Deserializer<'de> for PayloadBytes<'de> {
    type Error = TextProblem;

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_borrowed_str(utf8(self.0)?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_borrowed_bytes(self.0)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        self.deserialize_bytes(visitor)
    }

    as_json! {
        deserialize_any(), deserialize_bool(), deserialize_char(), deserialize_f32(), deserialize_f64(),
        deserialize_i8(), deserialize_i16(), deserialize_i32(), deserialize_i64(), deserialize_i128(),
        deserialize_u8(), deserialize_u16(), deserialize_u32(), deserialize_u64(), deserialize_u128(),
        deserialize_identifier(), deserialize_ignored_any(), deserialize_map(), deserialize_option(),
        deserialize_seq(), deserialize_unit(),
        deserialize_newtype_struct(name: &'static str), deserialize_unit_struct(name: &'static str),
        deserialize_tuple(length: usize), deserialize_tuple_struct(name: &'static str, length: usize),
        deserialize_struct(name: &'static str, fields: &'static [&'static str]),
        deserialize_enum(name: &'static str, variants: &'static [&'static str]),
    }
}

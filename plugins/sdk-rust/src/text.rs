//! A plain text, of a param, a header or another field, as what a type says.

use std::fmt;

use serde::{
    de::{self, Expected, IntoDeserializer, Unexpected, Visitor, value::SeqDeserializer},
    forward_to_deserialize_any,
};

/// The text.
#[derive(Clone, Copy)]
pub struct PlainText<'de>(pub &'de str);

/// What is wrong with a text, for the user.
#[derive(Debug)]
pub struct TextProblem(pub String);

macro_rules! parsed {
    ($($deserialize:ident $visit:ident,)*) => {
        $(fn $deserialize<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
            visitor.$visit(self.0.parse().map_err(de::Error::custom)?)
        })*
    };
}

impl<'de> de::Deserializer<'de> for PlainText<'de> {
    type Error = TextProblem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_borrowed_str(self.0)
    }

    parsed! {
        deserialize_bool visit_bool,
        deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32, deserialize_i64 visit_i64,
        deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32, deserialize_u64 visit_u64,
        deserialize_f32 visit_f32, deserialize_f64 visit_f64,
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TextProblem> {
        visitor.visit_newtype_struct(self)
    }

    /// The router writes what was chosen of a `multi` with commas between.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TextProblem> {
        let items = self.0.split(',').map(str::trim).filter(|item| !item.is_empty());
        visitor.visit_seq(SeqDeserializer::new(items.map(PlainText)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TextProblem> {
        visitor.visit_enum(self.0.into_deserializer())
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, TextProblem> for PlainText<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl de::Error for TextProblem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    /// The value is named with the param. Put here, it would add what writing floats takes, 20 KB.
    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("it is not {expected}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("it is not {expected}"))
    }

    fn missing_field(param: &'static str) -> Self {
        Self(format!("the param `{param}` is missing"))
    }

    fn unknown_field(param: &str, expected: &'static [&'static str]) -> Self {
        match expected {
            [] => Self(format!("`{param}` is not a param: there is none")),
            [known] => Self(format!("`{param}` is not a param: there is `{known}`")),
            [known @ .., last] => {
                Self(format!("`{param}` is not a param: there are `{}` and `{last}`", known.join("`, `")))
            }
        }
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(format!("it is one of `{}`", expected.join("`, `")))
    }
}

impl fmt::Display for TextProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TextProblem {}

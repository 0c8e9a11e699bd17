//! Tests of the elements of an array, `any /lines/*/quantity >= 10`.

use std::fmt;

use super::{ConditionError, value::JsonValue};
use crate::{
    field::FieldError,
    json::{self, JsonPointer, NotJson},
    text::shortened,
};

/// How many elements have to pass a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantifier {
    /// At least one.
    Any,
    /// Every one, so that an empty array passes.
    All,
}

/// Elements of an array that a condition tests, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elements {
    pub quantifier: Quantifier,
    /// Pointer to the tested part of each element, empty for the whole element.
    pub inside: String,
}

/// Elements of an array that a test looks at.
#[derive(Debug)]
pub(super) struct ElementScope {
    quantifier: Quantifier,
    inside: Option<JsonPointer>,
}

/// The place of a tested value in its array.
pub(super) struct ElementPlace<'a> {
    index: usize,
    inside: Option<&'a JsonPointer>,
}

impl ElementScope {
    pub(super) fn new(Elements { quantifier, inside }: Elements) -> Result<Self, ConditionError> {
        let pointer = || inside.parse().map_err(|_| FieldError::Pointer(shortened(&inside)));
        Ok(Self { quantifier, inside: (!inside.is_empty()).then(pointer).transpose()? })
    }

    /// Returns whether as many values pass `test` as have to. A value that is no array fails; so
    /// does an element that lacks the part which is asked for.
    pub(super) fn test<'a, E>(
        &self,
        array: &'a str,
        mut test: impl FnMut(ElementPlace<'_>, Result<JsonValue<'a>, NotJson>) -> Result<bool, E>,
    ) -> Result<bool, E> {
        if !array.starts_with('[') {
            return Ok(false);
        }
        for (index, element) in json::elements(array).enumerate() {
            let value = element.and_then(|element| match &self.inside {
                None => Ok(Some(element)),
                Some(pointer) => pointer.find(element.as_bytes()),
            });
            let passes = match value.transpose() {
                None => false,
                Some(value) => test(ElementPlace { index, inside: self.inside.as_ref() }, value.map(JsonValue::of))?,
            };
            match self.quantifier {
                Quantifier::Any if passes => return Ok(true),
                Quantifier::All if !passes => return Ok(false),
                _ => {}
            }
        }
        Ok(self.quantifier == Quantifier::All)
    }
}

impl ElementPlace<'_> {
    /// Returns the pointer to the value, for an array at `pointer`.
    pub(super) fn within(&self, pointer: &str) -> String {
        let inside = self.inside.map_or("", JsonPointer::as_str);
        format!("{pointer}/{}{inside}", self.index)
    }
}

impl fmt::Display for Quantifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::All => "all",
        })
    }
}

impl ElementScope {
    /// Writes the scope of a test of the array at `pointer`.
    pub(super) fn show(&self, pointer: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.inside.as_ref().map_or("", JsonPointer::as_str);
        write!(f, "{} {}", self.quantifier, shortened(&format!("{pointer}/*{inside}")))
    }
}

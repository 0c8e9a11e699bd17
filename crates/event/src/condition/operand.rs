//! What a value is compared with: a text, which may be a number, or a range of numbers.

use std::{cmp::Ordering, fmt};

use super::value::JsonNumber;
use crate::text::shortened;

/// A value of a condition, as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConditionValue {
    Text(String),
    /// Numbers from the first to the last, both included. A side without a bound is `None`.
    Range(Option<String>, Option<String>),
}

/// A value that is ready to be compared with.
#[derive(Debug)]
pub(super) enum Operand {
    Text(OperandText),
    Range { from: Option<OperandText>, to: Option<OperandText> },
}

#[derive(Debug)]
pub(super) struct OperandText {
    text: Box<str>,
    /// `text` as a number, if it is one.
    number: Option<JsonNumber>,
}

impl ConditionValue {
    /// Reads a value that stands in a list without quotes: a range such as `1..5`, `1..` or `..5`,
    /// or a text.
    ///
    /// # Errors
    /// If only one end of what looks like a range is a number, or no number is in it.
    pub(super) fn unquoted(written: &str) -> Result<Self, String> {
        let text = || Ok(Self::Text(written.to_owned()));
        let Some((from, to)) = written.split_once("..") else { return text() };
        let is_number = |end: &str| JsonNumber::parse(end).is_some();
        match (is_number(from), is_number(to)) {
            (false, false) => text(),
            (true, false) if to.is_empty() => Ok(Self::Range(Some(from.to_owned()), None)),
            (false, true) if from.is_empty() => Ok(Self::Range(None, Some(to.to_owned()))),
            (true, true) if is_ascending(from, to) => Ok(Self::Range(Some(from.to_owned()), Some(to.to_owned()))),
            (true, true) => Err(format!("no number is in the range `{written}`: write `{to}..{from}`")),
            _ => Err(format!(
                "one end of the range `{}` is not a number; if it is a text, put it in quotes",
                shortened(written)
            )),
        }
    }
}

fn is_ascending(from: &str, to: &str) -> bool {
    OperandText::from(to.to_owned()).compare(from, JsonNumber::parse(from)).is_le()
}

impl From<String> for ConditionValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<ConditionValue> for Operand {
    fn from(value: ConditionValue) -> Self {
        match value {
            ConditionValue::Text(text) => Self::Text(text.into()),
            ConditionValue::Range(from, to) => Self::Range { from: from.map(Into::into), to: to.map(Into::into) },
        }
    }
}

impl From<String> for OperandText {
    fn from(text: String) -> Self {
        Self { number: JsonNumber::parse(&text), text: text.into() }
    }
}

impl OperandText {
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Compares a text with this one: as numbers if both are, else bytewise.
    pub(super) fn compare(&self, text: &str, number: Option<JsonNumber>) -> Ordering {
        match (number, self.number) {
            (Some(left), Some(right)) => JsonNumber::compare((text, left), (&self.text, right)),
            _ => text.as_bytes().cmp(self.text.as_bytes()),
        }
    }
}

impl Operand {
    /// Number of bytes of its texts.
    pub(super) fn len(&self) -> usize {
        let length = |end: &Option<OperandText>| end.as_ref().map_or(0, |end| end.text.len());
        match self {
            Self::Text(OperandText { text, .. }) => text.len(),
            Self::Range { from, to } => length(from) + length(to),
        }
    }

    /// Returns whether a number is compared as one.
    pub(super) fn has_number(&self) -> bool {
        match self {
            Self::Text(OperandText { number, .. }) => number.is_some(),
            Self::Range { .. } => true,
        }
    }

    /// Returns whether a text is equal to this one, or the number `in_range` is in this range.
    pub(super) fn takes(&self, text: &str, number: Option<JsonNumber>, in_range: Option<JsonNumber>) -> bool {
        match self {
            Self::Text(operand) => operand.compare(text, number).is_eq(),
            Self::Range { from, to } => {
                in_range.is_some()
                    && from.as_ref().is_none_or(|from| from.compare(text, in_range).is_ge())
                    && to.as_ref().is_none_or(|to| to.compare(text, in_range).is_le())
            }
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |end: &Option<OperandText>| end.as_ref().map(|end| shortened(&end.text)).unwrap_or_default();
        match self {
            Self::Text(OperandText { text, .. }) => write!(f, "\"{}\"", shortened(text)),
            Self::Range { from, to } => write!(f, "{}..{}", end(from), end(to)),
        }
    }
}

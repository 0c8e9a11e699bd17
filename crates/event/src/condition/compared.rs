//! One test: a value compared with what a condition names.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use super::{
    Comparison, Condition, ConditionError, ConditionField, ConditionTest, ElementScope, Operand, PathSet, Untested,
    value::{JsonNumber, JsonValue},
};
use crate::{event::Pattern, field::Field, json::NotJson, text::shortened};

/// Most bytes that a regular expression may be compiled to.
const LARGEST_REGEX: usize = 1 << 20;

#[derive(Debug)]
pub(super) enum TextMatcher {
    Regex(Regex),
    Pattern(Pattern),
}

impl ConditionTest {
    pub(super) fn new(field: Field, written: Condition, paths: &PathSet) -> Result<Self, ConditionError> {
        let Condition { elements, comparison, values, .. } = written;
        let field = match field {
            Field::Pointer(pointer) => ConditionField::Payload(pointer.as_str().into(), paths.position(&pointer)),
            plain => ConditionField::Plain(plain),
        };
        let elements = match (elements, &field) {
            (None, _) => None,
            (Some(elements), ConditionField::Payload(..)) => Some(ElementScope::new(elements)?),
            (Some(_), ConditionField::Plain(field)) => return Err(ConditionError::Elements(field.clone())),
        };
        let operands: smallvec::SmallVec<_> = values.into_iter().map(Operand::from).collect();
        let matcher = match (comparison, operands.first()) {
            (Comparison::Matches, Some(Operand::Text(value))) => Some(TextMatcher::Regex(regex(value.as_str())?)),
            (Comparison::Fits, Some(Operand::Text(value))) => {
                let text = value.as_str();
                let pattern = text.parse().map_err(|error| ConditionError::Pattern(shortened(text), error))?;
                Some(TextMatcher::Pattern(pattern))
            }
            _ => None,
        };
        Ok(Self { field, elements, comparison, operands, matcher })
    }

    /// Number of bytes that testing `text` looks at.
    pub(super) fn looks_at(&self, text: &str) -> usize {
        let each = |operand: &Operand| match self.comparison {
            Comparison::Contains => text.len() + operand.len(),
            // An automaton needs about two nanoseconds for a byte.
            Comparison::Matches => 2 * text.len(),
            Comparison::Fits => text.len(),
            _ => text.len().min(operand.len()),
        };
        self.operands.iter().map(each).sum()
    }

    /// Returns whether the test holds for a field of the event.
    pub(super) fn holds_for(&self, field: &Field, text: &str) -> bool {
        // A range is an order, too, whatever stands beside it in the list.
        let in_range = if self.has_range() { JsonNumber::parse(text) } else { None };
        let is_number = field.is_number() || self.comparison.is_order();
        self.holds(text, if is_number { JsonNumber::parse(text) } else { None }, in_range)
    }

    /// Returns whether the test holds for a value of the payload. `look` is told the number of
    /// bytes first.
    pub(super) fn holds_in(
        &self,
        value: &JsonValue<'_>,
        is_decimal: impl Fn() -> bool,
        look: &mut impl FnMut(usize) -> Result<(), Untested>,
    ) -> Result<Result<bool, NotJson>, Untested> {
        Ok(match value {
            JsonValue::Broken => Err(NotJson),
            JsonValue::Container => Ok(self.comparison == Comparison::Exists),
            JsonValue::Word(text) => Ok(self.holds(text, None, None)),
            JsonValue::Number(text, number) => {
                look(self.looks_at(text))?;
                Ok(self.holds(text, Some(*number), Some(*number)))
            }
            JsonValue::String(text) => {
                look(self.looks_at(text))?;
                // Parsed only if the other side is a number.
                let has_number = self.operands.iter().any(Operand::has_number);
                let number = has_number.then(|| JsonNumber::parse(text)).flatten().filter(|_| is_decimal());
                Ok(self.holds(text, number, number))
            }
        })
    }

    fn has_range(&self) -> bool {
        self.operands.iter().any(|operand| matches!(operand, Operand::Range { .. }))
    }

    /// Tests a text that is `number` where it is compared, and `in_range` where it is looked for in
    /// a range.
    fn holds(&self, text: &str, number: Option<JsonNumber>, in_range: Option<JsonNumber>) -> bool {
        let is = |test: fn(Ordering) -> bool| match self.operands.first() {
            Some(Operand::Text(operand)) => test(operand.compare(text, number)),
            _ => false,
        };
        let text_of = |test: fn(&str, &str) -> bool| match self.operands.first() {
            Some(Operand::Text(operand)) => test(text, operand.as_str()),
            _ => false,
        };
        let is_one_of = || self.operands.iter().any(|operand| operand.takes(text, number, in_range));
        match self.comparison {
            Comparison::Exists => true,
            Comparison::Absent => false,
            Comparison::Equals => is(Ordering::is_eq),
            Comparison::NotEquals => is(Ordering::is_ne),
            Comparison::Less => is(Ordering::is_lt),
            Comparison::LessOrEqual => is(Ordering::is_le),
            Comparison::Greater => is(Ordering::is_gt),
            Comparison::GreaterOrEqual => is(Ordering::is_ge),
            Comparison::StartsWith => text_of(|text, start| text.starts_with(start)),
            Comparison::EndsWith => text_of(|text, end| text.ends_with(end)),
            Comparison::Contains => text_of(|text, part| text.contains(part)),
            Comparison::In => is_one_of(),
            Comparison::NotIn => !is_one_of(),
            Comparison::Matches | Comparison::Fits => match &self.matcher {
                Some(TextMatcher::Regex(regex)) => regex.is_match(text),
                Some(TextMatcher::Pattern(pattern)) => pattern.matches(text),
                None => false,
            },
        }
    }
}

/// Compiles the expression of a `matches`, whose time grows with the text alone.
fn regex(text: &str) -> Result<Regex, ConditionError> {
    RegexBuilder::new(text).size_limit(LARGEST_REGEX).build().map_err(|error| {
        // The error repeats the expression, with a mark under it.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        ConditionError::Regex(format!("`{}` is not a valid regular expression: {why}", shortened(text)))
    })
}

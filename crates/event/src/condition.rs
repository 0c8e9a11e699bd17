//! Conditions: matching rules as data, declared by `where` or given by a filter. They are tested
//! natively, so that an event that fails them costs no call into a guest.
//!
//! Numbers in JSON, and decimals of Avro, compare as numbers, to the last digit; so does the text
//! of a subject, type or header if the comparison is an order and both sides are numbers. All else
//! compares bytewise: JSON strings unescaped, `true`, `false` and `null` by their text. Objects and
//! arrays only support `exists`.

use std::{cmp::Ordering, sync::Arc, time::Duration};

use regex::{Regex, RegexBuilder};
use smallvec::SmallVec;

use crate::{
    event::{Pattern, SubjectError},
    field::{Field, FieldError},
    json,
    text::shortened,
};

mod expression;
mod facts;
mod shown;
mod value;

pub use expression::{ExpressionError, parse};
pub(crate) use facts::PathSet;
pub use facts::{EventFacts, IsDecimal, PathSets};
use value::{JsonNumber, JsonValue};

/// Most tests of a route, in all its lists.
const MOST_TESTS: usize = 1024;
/// Most bytes that a regular expression may be compiled to.
const LARGEST_REGEX: usize = 1 << 20;
/// Least text that tests may look at, as a multiple of the payload's size, however short their
/// time: enough for a few tests of the largest text.
const LOOKS: usize = 4;

/// A route's conditions: an event passes if all tests of any list hold. Empty passes everything.
#[derive(Debug)]
pub struct Conditions {
    any: Box<[Box<[ConditionTest]>]>,
    /// Distinct pointers of all tests.
    paths: Arc<PathSet>,
    /// Bytes of text that the tests on one event may look at: about one a nanosecond.
    budget: usize,
}

#[derive(Debug)]
struct ConditionTest {
    field: ConditionField,
    comparison: Comparison,
    /// What is compared with: several for `in`, none for `exists`.
    operands: SmallVec<[Operand; 1]>,
    /// The compiled operand of `matches` and `fits`.
    matcher: Option<TextMatcher>,
}

#[derive(Debug)]
enum TextMatcher {
    Regex(Regex),
    Pattern(Pattern),
}

#[derive(Debug)]
struct Operand {
    text: Box<str>,
    /// `text` as a number, if it is one.
    number: Option<JsonNumber>,
}

#[derive(Debug)]
enum ConditionField {
    /// A field that is not looked for in the payload.
    Plain(Field),
    /// A JSON pointer, and its position among the route's paths.
    Payload(Box<str>, usize),
}

/// A comparison of a field. All but `Absent` fail for a field that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Exists,
    Absent,
    Equals,
    NotEquals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    EndsWith,
    Contains,
    /// Equal to one of the values.
    In,
    /// Equal to none of the values.
    NotIn,
    /// A regular expression is found in it.
    Matches,
    /// A pattern of subjects, such as `orders.*.created`, fits it.
    Fits,
}

/// One condition as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub field: String,
    pub comparison: Comparison,
    /// Values to compare with: none for `Exists` and `Absent`, several for `In` and `NotIn`.
    pub values: Vec<String>,
}

/// Conditions as written: lists of which one must hold, each whole.
pub type ConditionLists = Vec<Vec<Condition>>;

/// Error in a route's conditions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    #[error(transparent)]
    Field(#[from] FieldError),
    #[error("a condition tests no whole payload: name a part of it by a JSON pointer such as `/order/amount`")]
    Payload,
    #[error("`{0}` is the same for all events that a condition is asked about: remove it")]
    Constant(Field),
    #[error("the conditions have {0} tests, more than the limit of {MOST_TESTS}: ask for the rest in `matches`")]
    TooMany(usize),
    /// The regular expression of a `matches` is invalid, or compiles to more than a mebibyte.
    #[error("{0}")]
    Regex(String),
    #[error("`{0}` is not a pattern of subjects: {1}")]
    Pattern(String, SubjectError),
}

/// Reason why conditions could not be tested on an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Untested {
    /// A condition asks for a part of the payload, but the payload is not JSON.
    #[error("the payload is not JSON, but a condition asks for `{pointer}`")]
    NotJson { pointer: String },
    /// The tests would look at more text than `match_cpu` allows.
    #[error("the conditions would look at more than {0} bytes of text, more than `match_cpu` allows")]
    TooMuch(usize),
    /// A filter reads a part of the payload, but the payload is not JSON.
    #[error("the payload is not JSON, but the filter reads parts of it")]
    Unreadable,
}

impl Untested {
    /// The reason code of logs and dead letters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } | Self::Unreadable => "not_json",
            Self::TooMuch(_) => "cpu_deadline",
        }
    }
}

/// Reads an expression of `where`, and checks all that is made of it.
///
/// # Errors
/// Returns what is wrong, where, and what was probably meant.
pub fn checked(expression: &str) -> Result<ConditionLists, String> {
    let lists = parse(expression).map_err(|error| error.to_string())?;
    // What is tested is made again wherever it is tested, with the limits that hold there.
    let made = Conditions::new(lists.clone(), Duration::ZERO, &PathSets::default());
    made.map(|_| lists).map_err(|error| error.to_string())
}

/// Adds a condition that must hold as well.
pub fn narrowed(mut lists: ConditionLists, condition: Condition) -> ConditionLists {
    if lists.is_empty() {
        return vec![vec![condition]];
    }
    lists.iter_mut().for_each(|list| list.push(condition.clone()));
    lists
}

impl Conditions {
    /// Builds conditions from what is written. `time` is the limit of all tests on one event.
    ///
    /// # Errors
    /// If a field or an expression is invalid, or there are too many tests.
    pub fn new(written: ConditionLists, time: Duration, known: &PathSets) -> Result<Self, ConditionError> {
        let tests = written.iter().flatten().map(|test| test.values.len().max(1)).sum();
        if tests > MOST_TESTS {
            return Err(ConditionError::TooMany(tests));
        }
        let with_field = |test: Condition| testable(&test.field).map(|field| (field, test));
        let tests = written.into_iter().map(|list| list.into_iter().map(with_field).collect());
        let tests = tests.collect::<Result<Vec<Vec<_>>, _>>()?;
        let paths = known.get(tests.iter().flatten().filter_map(|(field, _)| field.pointer()))?;
        let test = |(field, test)| ConditionTest::new(field, test, &paths);
        let any = tests.into_iter().map(|list| list.into_iter().map(test).collect()).collect::<Result<_, _>>()?;
        Ok(Self { any, paths, budget: usize::try_from(time.as_nanos()).unwrap_or(usize::MAX) })
    }

    /// Returns whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty()
    }

    /// Returns whether the event of `facts` passes. Allocates only if many parts of the payload are
    /// asked for, and for strings with escapes.
    ///
    /// # Errors
    /// If a test asks for a part of the payload and the payload is not JSON, or if the tests look
    /// at too much text. JSON outside the paths to these parts is not checked.
    pub fn test<'a>(&'a self, facts: &mut EventFacts<'a>) -> Result<bool, Untested> {
        if self.any.is_empty() {
            return Ok(true);
        }
        let mut left = self.allowance(facts);
        for list in &self.any {
            if self.all(list, facts, &mut left)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn allowance(&self, facts: &EventFacts<'_>) -> usize {
        self.budget.max(LOOKS * facts.event.payload.len())
    }

    fn all<'a>(
        &'a self,
        list: &'a [ConditionTest],
        facts: &mut EventFacts<'a>,
        left: &mut usize,
    ) -> Result<bool, Untested> {
        for test in list {
            if !self.passes(test, facts, left)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether the event passes one test. Subtracts the text looked at from `left`.
    fn passes<'a>(
        &'a self,
        test: &'a ConditionTest,
        facts: &mut EventFacts<'a>,
        left: &mut usize,
    ) -> Result<bool, Untested> {
        let event = facts.event;
        let allowed = self.allowance(facts);
        let mut look = |text: &str| {
            *left = left.checked_sub(test.looks_at(text)).ok_or(Untested::TooMuch(allowed))?;
            Ok(())
        };
        let (pointer, position) = match &test.field {
            ConditionField::Plain(field) => {
                let Some(text) = field.of(event) else { return Ok(test.comparison == Comparison::Absent) };
                look(&text)?;
                let is_number = field.is_number() || test.comparison.is_order();
                return Ok(test.holds(&text, if is_number { JsonNumber::parse(&text) } else { None }));
            }
            ConditionField::Payload(pointer, position) => (pointer, *position),
        };
        let not_json = || Untested::NotJson { pointer: shortened(pointer) };
        let is_decimal = facts.is_decimal;
        match facts.value(&self.paths, position).map_err(|json::NotJson| not_json())? {
            None => Ok(test.comparison == Comparison::Absent),
            Some(JsonValue::Broken) => Err(not_json()),
            Some(JsonValue::Container) => Ok(test.comparison == Comparison::Exists),
            Some(JsonValue::Word(text)) => Ok(test.holds(text, None)),
            Some(JsonValue::Number(text, number)) => {
                look(text)?;
                Ok(test.holds(text, Some(*number)))
            }
            Some(JsonValue::String(text)) => {
                look(text)?;
                // Parsed only if the other side is a number.
                let has_number = test.operands.iter().any(|operand| operand.number.is_some());
                let number = has_number.then(|| JsonNumber::parse(text)).flatten();
                let is_decimal = |_: &JsonNumber| is_decimal.is_some_and(|is_decimal| is_decimal(pointer));
                Ok(test.holds(text, number.filter(is_decimal)))
            }
        }
    }
}

/// Parses the name of a field that a condition can test.
///
/// # Errors
/// If there is no such field, or it is one that no condition tests.
fn testable(name: &str) -> Result<Field, ConditionError> {
    match name.parse()? {
        Field::Payload => Err(ConditionError::Payload),
        field @ (Field::Key | Field::Route) => Err(ConditionError::Constant(field)),
        field => Ok(field),
    }
}

impl ConditionTest {
    fn new(field: Field, written: Condition, paths: &PathSet) -> Result<Self, ConditionError> {
        let Condition { comparison, values, .. } = written;
        let field = match field {
            Field::Pointer(pointer) => ConditionField::Payload(pointer.as_str().into(), paths.position(&pointer)),
            plain => ConditionField::Plain(plain),
        };
        let matcher = match (comparison, values.first()) {
            (Comparison::Matches, Some(value)) => Some(TextMatcher::Regex(regex(value)?)),
            (Comparison::Fits, Some(value)) => {
                let pattern = value.parse().map_err(|error| ConditionError::Pattern(shortened(value), error))?;
                Some(TextMatcher::Pattern(pattern))
            }
            _ => None,
        };
        let operand = |value: String| Operand { number: JsonNumber::parse(&value), text: value.into() };
        Ok(Self { field, comparison, operands: values.into_iter().map(operand).collect(), matcher })
    }

    /// Number of bytes that testing `text` looks at.
    fn looks_at(&self, text: &str) -> usize {
        let each = |operand: &Operand| match self.comparison {
            Comparison::Contains => text.len() + operand.text.len(),
            // An automaton needs about two nanoseconds for a byte.
            Comparison::Matches => 2 * text.len(),
            Comparison::Fits => text.len(),
            _ => text.len().min(operand.text.len()),
        };
        self.operands.iter().map(each).sum()
    }

    fn holds(&self, text: &str, number: Option<JsonNumber>) -> bool {
        let order = |operand: &Operand| match (number, operand.number) {
            (Some(left), Some(right)) => JsonNumber::compare((text, left), (&operand.text, right)),
            _ => text.as_bytes().cmp(operand.text.as_bytes()),
        };
        let is = |test: fn(Ordering) -> bool| self.operands.first().is_some_and(|operand| test(order(operand)));
        let text_of = |test: fn(&str, &str) -> bool| self.operands.first().is_some_and(|one| test(text, &one.text));
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
            Comparison::In => self.operands.iter().any(|operand| order(operand).is_eq()),
            Comparison::NotIn => self.operands.iter().all(|operand| order(operand).is_ne()),
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

impl Comparison {
    fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

#[cfg(test)]
mod tests;

//! Conditions: matching rules as data, declared by `where` or given by a filter. They are tested
//! natively, so that an event that fails them costs no call into a guest.
//!
//! Numbers in JSON, and decimals of Avro, compare as numbers, to the last digit; so does the text
//! of a subject, type or header if the comparison is an order and both sides are numbers. All else
//! compares bytewise: JSON strings unescaped, `true`, `false` and `null` by their text. Objects and
//! arrays only support `exists`, and arrays tests of their elements.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use crate::{
    event::SubjectError,
    field::{Field, FieldError},
    json::{self, JsonPointer},
    text::shortened,
};

mod compared;
mod elements;
mod expression;
mod facts;
mod operand;
mod shown;
mod value;

use compared::TextMatcher;
use elements::ElementScope;
pub use elements::{Elements, Quantifier};
pub use expression::{ExpressionError, parse};
pub(crate) use facts::PathSet;
pub use facts::{EventFacts, IsDecimal, PathSets};
pub use operand::ConditionValue;
use operand::Operand;

/// Most tests of a route, in all its lists.
const MOST_TESTS: usize = 1024;
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
    /// The elements of the array `field` that are tested, if not the field itself.
    elements: Option<ElementScope>,
    comparison: Comparison,
    /// What is compared with: several for `in`, none for `exists`.
    operands: SmallVec<[Operand; 1]>,
    /// The compiled operand of `matches` and `fits`.
    matcher: Option<TextMatcher>,
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
    /// Equal to one of the values, or in one of the ranges.
    In,
    /// Equal to none of the values, and in none of the ranges.
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
    /// Elements to test in place of the field, which is an array then.
    pub elements: Option<Elements>,
    pub comparison: Comparison,
    /// Values to compare with: none for `Exists` and `Absent`, several for `In` and `NotIn`, which
    /// alone have ranges.
    pub values: Vec<ConditionValue>,
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
    #[error("`{0}` has no elements: `any` and `all` test those of an array in the payload, as in `any /tags/* == new`")]
    Elements(Field),
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
    let made = Conditions::new(lists.clone(), Duration::ZERO, &PathSets::default(), &[]);
    made.map(|_| lists).map_err(|error| error.to_string())
}

/// Returns the pointers into the payload that conditions test.
pub fn pointers(lists: &ConditionLists) -> impl Iterator<Item = JsonPointer> {
    lists.iter().flatten().filter_map(|condition| condition.field.parse::<Field>().ok()?.pointer().cloned())
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
    /// Builds conditions from what is written. `time` is the limit of all tests on one event. The
    /// pointers `beside` are looked up in the same walk as those that are tested, for who reads
    /// them next.
    ///
    /// # Errors
    /// If a field or an expression is invalid, or there are too many tests.
    pub fn new(
        written: ConditionLists,
        time: Duration,
        known: &PathSets,
        beside: &[JsonPointer],
    ) -> Result<Self, ConditionError> {
        let tests = written.iter().flatten().map(|test| test.values.len().max(1)).sum();
        if tests > MOST_TESTS {
            return Err(ConditionError::TooMany(tests));
        }
        let with_field = |test: Condition| testable(&test.field).map(|field| (field, test));
        let tests = written.into_iter().map(|list| list.into_iter().map(with_field).collect());
        let tests = tests.collect::<Result<Vec<Vec<_>>, _>>()?;
        let own = tests.iter().flatten().filter_map(|(field, _)| field.pointer());
        let paths = known.get(own.chain(beside))?;
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
        let allowed = self.allowance(facts);
        let mut look = |bytes: usize| {
            *left = left.checked_sub(bytes).ok_or(Untested::TooMuch(allowed))?;
            Ok(())
        };
        let (pointer, position) = match &test.field {
            ConditionField::Plain(field) => {
                let Some(text) = field.of(facts.event) else { return Ok(test.comparison == Comparison::Absent) };
                look(test.looks_at(&text))?;
                return Ok(test.holds_for(field, &text));
            }
            ConditionField::Payload(pointer, position) => (pointer, *position),
        };
        let not_json = |json::NotJson| Untested::NotJson { pointer: shortened(pointer) };
        let is_decimal = facts.is_decimal;
        if let Some(scope) = &test.elements {
            let values = facts.raw_values(&self.paths).map_err(not_json)?;
            let Some(array) = values(position) else { return Ok(false) };
            look(array.len())?;
            return scope.test(array, |place, value| {
                let value = value.map_err(not_json)?;
                let is_decimal = || is_decimal.is_some_and(|is_decimal| is_decimal(&place.within(pointer)));
                test.holds_in(&value, is_decimal, &mut look)?.map_err(not_json)
            });
        }
        let Some(value) = facts.value(&self.paths, position).map_err(not_json)? else {
            return Ok(test.comparison == Comparison::Absent);
        };
        let is_decimal = || is_decimal.is_some_and(|is_decimal| is_decimal(pointer));
        test.holds_in(value, is_decimal, &mut look)?.map_err(not_json)
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

impl Comparison {
    fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

#[cfg(test)]
mod tests;

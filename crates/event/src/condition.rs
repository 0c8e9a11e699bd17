//! Conditions: matching rules as data, declared by `where` or given by a filter. They are tested
//! natively, so that an event that fails them costs no call into a guest.
//!
//! Numbers in JSON, and decimals of Avro, compare as numbers, to the last digit; so does the text
//! of a subject, type or header if the comparison is an order and both sides are numbers. All else
//! compares bytewise: JSON strings unescaped, `true`, `false` and `null` by their text. Objects and
//! arrays only support `exists`.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    fmt, ptr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use regex::{Regex, RegexBuilder};
use smallvec::SmallVec;

use crate::{
    event::{Event, Pattern, SubjectError},
    json::{self, PointerTree},
};

mod expression;
mod shown;
mod value;

pub use expression::{ExpressionError, parse};
use value::{JsonNumber, JsonValue};

/// Most tests of a route, in all its lists.
const MOST_TESTS: usize = 1024;
/// Most bytes that a regular expression may be compiled to.
const LARGEST_REGEX: usize = 1 << 20;
/// Longest name of a field, in bytes.
const LONGEST_FIELD: usize = 1024;
/// Characters of a field's name that a message shows.
const SHOWN: usize = 80;
/// Least text that tests may look at, as a multiple of the payload's size, however short their
/// time: enough for a few tests of the largest text.
const LOOKS: usize = 4;

/// A route's conditions: an event passes if all tests of any list hold. Empty passes everything.
#[derive(Debug)]
pub struct Conditions {
    any: Box<[Box<[ConditionTest]>]>,
    /// Distinct pointers of all tests.
    paths: Arc<PointerTree>,
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
    Subject,
    EventType,
    Header(Box<str>),
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
    /// The field does not exist. Its name is shortened and escaped.
    #[error(
        "a condition names the field `{0}`: use `subject`, `event-type`, `header:NAME`, or a JSON pointer such as \
         `/order/amount`"
    )]
    Field(String),
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
}

impl Untested {
    /// The reason code of logs and dead letters.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not_json",
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
        let mut pointers = BTreeMap::new();
        for Condition { field, .. } in written.iter().flatten().filter(|test| test.field.starts_with('/')) {
            if field.len() > LONGEST_FIELD {
                return Err(unknown(field));
            }
            pointers.insert(field.clone(), 0);
        }
        pointers.values_mut().zip(0..).for_each(|(position, number)| *position = number);
        let paths = known.get(&pointers.keys().map(String::as_str).collect::<Vec<_>>()).map_err(unknown)?;
        let all = |list: Vec<Condition>| list.into_iter().map(|one| ConditionTest::new(one, &pointers)).collect();
        let any = written.into_iter().map(all).collect::<Result<_, _>>()?;
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
        let text = match &test.field {
            ConditionField::Subject => &event.subject,
            ConditionField::EventType => &event.event_type,
            ConditionField::Header(name) => match event.headers.get(name) {
                Some(value) => value,
                None => return Ok(test.comparison == Comparison::Absent),
            },
            ConditionField::Payload(pointer, position) => {
                let not_json = || Untested::NotJson { pointer: shown(pointer) };
                let is_decimal = facts.is_decimal;
                return match facts.value(&self.paths, *position).map_err(|json::NotJson| not_json())? {
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
                };
            }
        };
        look(text)?;
        Ok(test.holds_for_text(text))
    }
}

/// Shortens and escapes a name from outside for display.
fn shown(name: &str) -> String {
    let end = name.char_indices().nth(SHOWN).map_or(name.len(), |(end, _)| end);
    let more = if end < name.len() { "…" } else { "" };
    format!("{}{more}", name[..end].escape_debug())
}

fn unknown(field: &str) -> ConditionError {
    ConditionError::Field(shown(field))
}

impl ConditionTest {
    fn new(written: Condition, pointers: &BTreeMap<String, usize>) -> Result<Self, ConditionError> {
        let Condition { field, comparison, values } = written;
        let field = match field.as_str() {
            "subject" => ConditionField::Subject,
            "event-type" => ConditionField::EventType,
            other => match (other.strip_prefix("header:"), pointers.get(other)) {
                (Some(name), _) if (1..=LONGEST_FIELD).contains(&name.len()) => ConditionField::Header(name.into()),
                (None, Some(position)) => ConditionField::Payload(other.into(), *position),
                _ => return Err(unknown(other)),
            },
        };
        let matcher = match (comparison, values.first()) {
            (Comparison::Matches, Some(value)) => Some(TextMatcher::Regex(regex(value)?)),
            (Comparison::Fits, Some(value)) => {
                let pattern = value.parse().map_err(|error| ConditionError::Pattern(shown(value), error))?;
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

    /// Tests text from outside JSON, which has no type: it counts as a number if the comparison is
    /// an order and both sides are numbers.
    fn holds_for_text(&self, text: &str) -> bool {
        let number = if self.comparison.is_order() { JsonNumber::parse(text) } else { None };
        self.holds(text, number)
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
        ConditionError::Regex(format!("`{}` is not a valid regular expression: {why}", shown(text)))
    })
}

impl Comparison {
    fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

/// Most sets of paths whose values are remembered; further ones are looked up each time.
const REMEMBERED: usize = 8;

/// Function that returns whether the value at a pointer is a decimal, which JSON has as a string.
pub type IsDecimal<'a> = &'a (dyn Fn(&str) -> bool + Sync);

/// Values found in one event's payload, shared by the routes that ask for the same ones.
pub struct EventFacts<'a> {
    event: &'a Event,
    is_decimal: Option<IsDecimal<'a>>,
    /// Sets of paths that were looked up, each with the position of its first value.
    known: SmallVec<[(&'a PointerTree, usize); 2]>,
    values: SmallVec<[Option<JsonValue<'a>>; 4]>,
}

impl<'a> EventFacts<'a> {
    /// Creates facts without any values yet. Does not allocate.
    pub fn new(event: &'a Event) -> Self {
        Self { event, is_decimal: None, known: SmallVec::new(), values: SmallVec::new() }
    }

    /// Sets the test for decimals, for an event that was read from a format with decimals.
    pub fn with_decimals(self, is_decimal: IsDecimal<'a>) -> Self {
        Self { is_decimal: Some(is_decimal), ..self }
    }

    /// Value at one of the paths. All paths of a set are looked up at once.
    fn value(&mut self, paths: &'a PointerTree, position: usize) -> Result<Option<&JsonValue<'a>>, json::NotJson> {
        let known = self.known.iter().find(|(known, _)| ptr::eq(*known, paths));
        let start = match known {
            Some((_, start)) => *start,
            None => {
                let found = paths.find(&self.event.payload)?;
                if self.known.len() == REMEMBERED
                    && let Some((_, last)) = self.known.pop()
                {
                    self.values.truncate(last);
                }
                let start = self.values.len();
                self.values.extend(found.into_iter().map(|raw| raw.map(JsonValue::of)));
                self.known.push((paths, start));
                start
            }
        };
        Ok(self.values.get(start + position).and_then(Option::as_ref))
    }
}

impl fmt::Debug for EventFacts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFacts").field("event", &self.event.id).finish_non_exhaustive()
    }
}

/// Sets of paths in use, one object each, so that a known set is recognised by its address.
#[derive(Debug, Default)]
pub struct PathSets(Mutex<PathSetTable>);

#[derive(Debug, Default)]
struct PathSetTable {
    by_pointers: HashMap<Box<[Box<str>]>, Weak<PointerTree>>,
    /// Number of sets at which unused ones are removed.
    room: usize,
}

impl PathSets {
    /// Returns the shared set of these pointers.
    ///
    /// # Errors
    /// Returns the first text that is not a pointer.
    fn get<'t>(&self, pointers: &[&'t str]) -> Result<Arc<PointerTree>, &'t str> {
        let texts: Box<[Box<str>]> = pointers.iter().map(|pointer| Box::from(*pointer)).collect();
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = sets.by_pointers.get(&texts).and_then(Weak::upgrade) {
            return Ok(found);
        }
        let paths = Arc::new(PointerTree::new(pointers.iter().copied()).map_err(|(wrong, _)| wrong)?);
        if sets.by_pointers.len() >= sets.room {
            sets.by_pointers.retain(|_, paths| paths.strong_count() > 0);
            sets.room = 2 * sets.by_pointers.len() + 1;
        }
        sets.by_pointers.insert(texts, Arc::downgrade(&paths));
        Ok(paths)
    }
}

#[cfg(test)]
mod tests;

//! Conditions: match as data, tested here so that an event that fails them costs no call into a guest.
//!
//! Numbers in JSON compare as numbers, integers exactly; so does the text of a subject, type or header where an order
//! is asked and both sides are numbers. All else compares bytewise: JSON strings unescaped, `true`, `false` and `null`
//! by their text. Objects and arrays only exist.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt, ptr,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use super::{
    error::cut_name,
    value::{Number, Value},
};
use crate::{event::Event, json::Pointer};

mod shown;

/// A route's conditions: any list, all of its tests. Empty passes everything.
#[derive(Debug, Default)]
pub struct Conditions {
    any: Box<[Box<[Test]>]>,
}

#[derive(Debug)]
struct Test {
    field: Field,
    comparison: Comparison,
    text: Box<str>,
    /// `text` as a number, if it is one.
    number: Option<Number>,
}

#[derive(Debug)]
enum Field {
    Subject,
    EventType,
    Header(Box<str>),
    Payload(Arc<Pointer>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Exists,
    Equals,
    NotEquals,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    Contains,
}

/// One condition as the guest wrote it.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) field: String,
    pub(super) comparison: Comparison,
    pub(super) value: String,
}

/// A filter named a field that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a condition names the field `{field}`: use `subject`, `event-type`, `header:NAME`, or a JSON pointer such as `/order/amount`"
)]
pub struct ConditionError {
    pub field: String,
}

/// A condition asks for a part of the payload, but the payload is not JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payload is not JSON, but a condition asks for `{pointer}`")]
pub struct NotJson {
    pub pointer: String,
}

impl Conditions {
    pub(super) fn new(written: Vec<Vec<Written>>, pointers: &Pointers) -> Result<Self, ConditionError> {
        let all = |list: Vec<Written>| list.into_iter().map(|one| Test::new(one, pointers)).collect();
        Ok(Self { any: written.into_iter().map(all).collect::<Result<_, _>>()? })
    }

    /// Whether every event passes.
    pub fn is_empty(&self) -> bool {
        self.any.is_empty()
    }

    /// Whether the event of `facts` passes. Allocates only for strings with escapes.
    ///
    /// # Errors
    /// When a test asks for a part of the payload and the payload is not JSON. What lies outside the way to that part
    /// is not checked.
    pub fn test<'a>(&'a self, facts: &mut Facts<'a>) -> Result<bool, NotJson> {
        if self.any.is_empty() {
            return Ok(true);
        }
        for list in &self.any {
            if all(list, facts)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn all<'a>(list: &'a [Test], facts: &mut Facts<'a>) -> Result<bool, NotJson> {
    for test in list {
        if !test.passes(facts)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Test {
    fn new(written: Written, pointers: &Pointers) -> Result<Self, ConditionError> {
        let Written { field, comparison, value } = written;
        let field = match field.as_str() {
            "subject" => Field::Subject,
            "event-type" => Field::EventType,
            other => match (other.strip_prefix("header:"), pointers.get(other)) {
                (Some(name), _) if !name.is_empty() => Field::Header(name.into()),
                (None, Some(pointer)) => Field::Payload(pointer),
                _ => return Err(ConditionError { field: cut_name(field) }),
            },
        };
        Ok(Self { field, comparison, number: Number::parse(&value), text: value.into() })
    }

    fn passes<'a>(&'a self, facts: &mut Facts<'a>) -> Result<bool, NotJson> {
        let event = facts.event;
        Ok(match &self.field {
            Field::Subject => self.holds_for_text(&event.subject),
            Field::EventType => self.holds_for_text(&event.event_type),
            Field::Header(name) => event.headers.get(name).is_some_and(|value| self.holds_for_text(value)),
            Field::Payload(pointer) => facts.with(pointer, |value| value.is_some_and(|value| self.holds_for(value)))?,
        })
    }

    fn holds_for(&self, value: &Value<'_>) -> bool {
        match value {
            Value::Container => self.comparison == Comparison::Exists,
            Value::String(text) => self.holds(text, None),
            Value::Word(text) => self.holds(text, None),
            Value::Number(text, number) => self.holds(text, Some(*number)),
        }
    }

    /// Text from outside JSON has no type: it counts as a number where that is asked and can be.
    fn holds_for_text(&self, text: &str) -> bool {
        let number = if self.comparison.is_order() { Number::parse(text) } else { None };
        self.holds(text, number)
    }

    fn holds(&self, text: &str, number: Option<Number>) -> bool {
        let order = || match (number, self.number) {
            (Some(left), Some(right)) => left.partial_cmp(&right),
            _ => Some(text.as_bytes().cmp(self.text.as_bytes())),
        };
        match self.comparison {
            Comparison::Exists => true,
            Comparison::Equals => order() == Some(Ordering::Equal),
            Comparison::NotEquals => order() != Some(Ordering::Equal),
            Comparison::Less => order().is_some_and(Ordering::is_lt),
            Comparison::LessOrEqual => order().is_some_and(Ordering::is_le),
            Comparison::Greater => order().is_some_and(Ordering::is_gt),
            Comparison::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
            Comparison::StartsWith => text.starts_with(&*self.text),
            Comparison::Contains => text.contains(&*self.text),
        }
    }
}

impl Comparison {
    fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessOrEqual | Self::Greater | Self::GreaterOrEqual)
    }
}

/// Look-ups that are remembered; further ones are made anew each time.
const REMEMBERED: usize = 8;

/// What was found in one event's payload, remembered over the routes that ask the same.
pub struct Facts<'a> {
    event: &'a Event,
    known: [Option<(&'a Pointer, Option<Value<'a>>)>; REMEMBERED],
}

impl<'a> Facts<'a> {
    /// Allocates nothing.
    pub fn new(event: &'a Event) -> Self {
        Self { event, known: [const { None }; REMEMBERED] }
    }

    fn with<T>(&mut self, pointer: &'a Pointer, read: impl FnOnce(Option<&Value<'a>>) -> T) -> Result<T, NotJson> {
        let find = || look_up(pointer, &self.event.payload);
        for slot in &mut self.known {
            match slot {
                Some((known, value)) if ptr::eq(*known, pointer) => return Ok(read(value.as_ref())),
                Some(_) => {}
                None => {
                    let (_, value) = slot.insert((pointer, find()?));
                    return Ok(read(value.as_ref()));
                }
            }
        }
        Ok(read(find()?.as_ref()))
    }
}

fn look_up<'a>(pointer: &Pointer, payload: &'a [u8]) -> Result<Option<Value<'a>>, NotJson> {
    let not_json = || NotJson { pointer: cut_name(pointer.as_str().to_owned()) };
    let Some(raw) = pointer.find(payload).map_err(|_| not_json())? else { return Ok(None) };
    Value::of(raw).map(Some).ok_or_else(not_json)
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts").field("event", &self.event.id).finish_non_exhaustive()
    }
}

/// The pointers in use, one object each, so that a look-up is recognised by its address.
#[derive(Debug, Default)]
pub(super) struct Pointers(Mutex<HashMap<String, Weak<Pointer>>>);

impl Pointers {
    fn get(&self, text: &str) -> Option<Arc<Pointer>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(text).and_then(Weak::upgrade) {
            return Some(found);
        }
        let new = Arc::new(text.parse().ok().filter(|_| !text.is_empty())?);
        known.retain(|_, pointer| pointer.strong_count() > 0);
        known.insert(text.to_owned(), Arc::downgrade(&new));
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Headers, Origin};

    fn event(payload: &str) -> Event {
        let mut headers = Headers::default();
        headers.push("Kind", "card");
        headers.push("Retries", "10");
        Event {
            id: "1".into(),
            uid: Default::default(),
            event_type: "created".into(),
            subject: "orders.eu.created".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers,
            payload: payload.to_owned().into(),
            origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
            sequence: 1,
        }
    }

    fn written(field: &str, comparison: Comparison, value: &str) -> Written {
        Written { field: field.to_owned(), comparison, value: value.to_owned() }
    }

    fn conditions(lists: &[&[(&str, Comparison, &str)]]) -> Conditions {
        let lists = lists.iter().map(|list| list.iter().map(|(f, c, v)| written(f, *c, v)).collect()).collect();
        Conditions::new(lists, &Pointers::default()).unwrap()
    }

    fn holds(payload: &str, field: &str, comparison: Comparison, value: &str) -> bool {
        let event = event(payload);
        conditions(&[&[(field, comparison, value)]]).test(&mut Facts::new(&event)).unwrap()
    }

    use Comparison::*;

    #[test]
    fn fields_are_found_where_they_stand() {
        for (field, comparison, value, expected) in [
            ("subject", StartsWith, "orders.eu.", true),
            ("subject", Contains, "us", false),
            ("event-type", Equals, "created", true),
            ("header:kind", Equals, "card", true),
            ("header:none", Exists, "", false),
            ("header:none", NotEquals, "x", false),
            ("/a/b", Equals, "x", true),
            ("/a", Exists, "", true),
            ("/a", NotEquals, "x", false),
            ("/none", NotEquals, "x", false),
            ("/list/1", Equals, "2", true),
            ("/nothing", Exists, "", true),
            ("/nothing", Equals, "null", true),
            ("/yes", Equals, "true", true),
        ] {
            let payload = r#"{"a":{"b":"x"},"list":[1,2],"nothing":null,"yes":true}"#;
            assert_eq!(holds(payload, field, comparison, value), expected, "{field} {comparison:?} {value}");
        }
    }

    #[test]
    fn numbers_compare_as_numbers_and_text_bytewise() {
        let payload = r#"{"n":10,"f":1.50,"big":9007199254740993,"s":"10","e":"a\u0062"}"#;
        for (field, comparison, value, expected) in [
            ("/n", Greater, "9", true),
            ("/n", Equals, "10.0", true),
            ("/n", Less, "9 apples", true),
            ("/n", StartsWith, "1", true),
            ("/f", Equals, "1.5", true),
            ("/f", NotEquals, "1.5", false),
            ("/big", Equals, "9007199254740992", false),
            ("/big", GreaterOrEqual, "9007199254740993", true),
            ("/s", Greater, "9", false),
            ("/s", Equals, "10.0", false),
            ("/e", Equals, "ab", true),
            ("header:retries", Greater, "9", true),
            ("header:retries", LessOrEqual, "9", false),
            ("header:retries", Equals, "10.0", false),
            ("header:kind", Less, "cash", true),
        ] {
            assert_eq!(holds(payload, field, comparison, value), expected, "{field} {comparison:?} {value}");
        }
    }

    #[test]
    fn any_list_passes_with_all_of_its_tests() {
        let event = event(r#"{"n":10}"#);
        let test = |lists: &[&[(&str, Comparison, &str)]]| conditions(lists).test(&mut Facts::new(&event)).unwrap();
        assert!(test(&[]));
        assert!(test(&[&[]]));
        assert!(test(&[&[("/n", Greater, "99")], &[("/n", Greater, "9"), ("event-type", Exists, "")]]));
        assert!(!test(&[&[("/n", Greater, "9"), ("/n", Less, "9")]]));
    }

    #[test]
    fn only_a_look_into_the_payload_needs_json() {
        let event = event("plain text");
        assert!(holds("plain text", "subject", Exists, ""));
        let lists = conditions(&[&[("event-type", Equals, "other"), ("/a", Exists, "")]]);
        assert_eq!(lists.test(&mut Facts::new(&event)), Ok(false));
        let lists = conditions(&[&[("/a", Exists, "")]]);
        assert_eq!(lists.test(&mut Facts::new(&event)), Err(NotJson { pointer: "/a".to_owned() }));
    }

    #[test]
    fn a_look_up_is_made_once_for_all_routes() {
        let event = event(r#"{"n":10}"#);
        let pointers = Pointers::default();
        let route = |value| Conditions::new(vec![vec![written("/n", Greater, value)]], &pointers).unwrap();
        let (one, two) = (route("9"), route("11"));
        let mut facts = Facts::new(&event);
        assert_eq!(one.test(&mut facts), Ok(true));
        assert_eq!(two.test(&mut facts), Ok(false));
        assert_eq!(facts.known.iter().flatten().count(), 1);
        drop(one);
        drop(two);
        pointers.get("/other").unwrap();
        assert_eq!(pointers.0.lock().unwrap().len(), 1, "pointers that nobody uses go");
    }

    #[test]
    fn an_unknown_field_is_named() {
        for field in ["", "payload", "header:", "/a~2", "type"] {
            let error = Conditions::new(vec![vec![written(field, Exists, "")]], &Pointers::default()).unwrap_err();
            assert_eq!(error.field, field);
        }
    }
}

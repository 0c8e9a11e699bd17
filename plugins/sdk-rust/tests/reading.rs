//! What a filter's types say of an event's fields.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should say where")]

use std::{borrow::Cow, cell::RefCell};

use serde::Deserialize;
use serde_json::Value;
use trommel_filter::{
    Event, Failure, Fields, Matches, Outcome, Process, Result, export,
    testing::{TestEvent, TestRoute},
};

#[derive(Deserialize)]
struct Reader {
    /// A field that `process` reads by its name.
    #[serde(default)]
    field: String,
}

#[derive(Debug, Fields)]
#[allow(dead_code, reason = "only shown")]
struct Order<'a> {
    #[field("/amount")]
    amount: f64,
    #[field("/customer")]
    customer: Cow<'a, str>,
    #[field("/note")]
    note: Option<Option<String>>,
    #[field("/lines")]
    lines: Option<Vec<Line>>,
    #[field("/any")]
    any: Option<Value>,
    #[field("header:Priority")]
    priority: Option<u8>,
    event_type: String,
    observed_at: u64,
    payload: &'a str,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Line {
    sku: String,
}

thread_local! {
    static READ: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Matches for Reader {
    type Reads<'a> = Order<'a>;

    fn matches(&self, order: Order) -> bool {
        let shared = matches!(order.customer, Cow::Borrowed(_));
        let Order { amount, customer, note, lines, any, priority, event_type, observed_at, payload } = order;
        READ.set(format!(
            "{amount} {customer} {shared} {note:?} {lines:?} {any:?} {priority:?} {event_type} {observed_at} {}",
            payload.len()
        ));
        true
    }
}

/// The payload as JSON and as text, beside a field that is read by its name.
impl Process for Reader {
    type Reads<'a> = Event<'a>;

    fn reads(&self) -> Vec<String> {
        vec![self.field.clone(), "payload".to_owned()]
    }

    fn process(&self, event: Event) -> Result<Outcome> {
        let line: Line = event.require("payload")?;
        let text: &str = event.require("payload")?;
        let field: Option<Value> = event.get(&self.field)?;
        Ok(Outcome::replace(format!("{} {text} {field:?}", line.sku)))
    }
}

export!(Reader);

fn read(event: &TestEvent) -> Option<String> {
    let route = TestRoute::<Reader>::new(&[]).unwrap();
    route.matches(event).then(|| READ.take())
}

#[test]
fn values_are_what_the_types_say() {
    let event = TestEvent::new(r#"{"amount":1e2,"customer":"a\u00e9","note":null,"lines":[{"sku":"s"}],"any":null}"#);
    let expected = r#"100 aé false Some(None) Some([Line { sku: "s" }]) Some(Null) None events 0 80"#;
    assert_eq!(read(&event).as_deref(), Some(expected));
    let event = TestEvent::new(r#"{"amount":1,"customer":"a","lines":null}"#).with("header:priority", "7");
    let expected = "1 a true None None None Some(7) created 5 40";
    assert_eq!(read(&event.with("event-type", "created").with("observed-at", "5")).as_deref(), Some(expected));
}

/// As a condition on a field that is not there.
#[test]
fn what_can_not_be_read_does_not_match() {
    for payload in ["", "{}", r#"{"amount":1}"#, r#"{"amount":"x","customer":"a"}"#, r#"{"amount":1,"customer":null}"#]
    {
        assert_eq!(read(&TestEvent::new(payload)), None, "{payload}");
    }
}

fn process(field: &str, event: &TestEvent) -> Result<Outcome> {
    TestRoute::<Reader>::new(&[("field", field)])?.process(event)
}

#[test]
fn fields_are_read_by_their_names_too() {
    let event = TestEvent::new(r#" {"sku":"s","a":[1]}"#);
    let replaced = |field: &str| Ok(Outcome::replace(format!(r#"s  {{"sku":"s","a":[1]}} {field}"#)));
    assert_eq!(process("/a", &event), replaced("Some(Array [Number(1)])"));
    assert_eq!(process("/b", &event), replaced("None"));
    assert_eq!(process("header:b", &event.with("header:B", "x")), replaced(r#"Some(String("x"))"#));
}

#[test]
fn what_can_not_be_read_is_named() {
    for (field, payload, why) in [
        ("/a", "no", "the payload is not JSON: expected ident at line 1 column 2"),
        ("subject", "{}", "`payload`: missing field `sku` at line 1 column 2"),
        ("subject", r#"{"sku":7}"#, "`payload`: invalid type: integer `7`, expected a string at line 1 column 8"),
        ("subject", r#"{"sku":""} x"#, "`payload`: trailing characters at line 1 column 12"),
    ] {
        assert_eq!(process(field, &TestEvent::new(payload)), Err(Failure::malformed(why)), "{payload}");
    }
    let deep = format!(r#"{{"sku":"","a":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(process("/a", &TestEvent::new(deep)).unwrap_err().cause.detail.contains("recursion limit"));
}

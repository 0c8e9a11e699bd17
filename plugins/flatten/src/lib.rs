//! `flatten`: an event's own members in one object, and beside them what it is (L132).

use serde::Deserialize;
use serde_json::{Map, Value};
use trommel_filter::{Fields, Outcome, Process, Result, export};

#[derive(Deserialize)]
struct Flatten;

#[derive(Fields)]
struct Envelope<'a> {
    payload: &'a [u8],
    event_type: &'a str,
    id: &'a str,
    source_time: Option<&'a str>,
}

impl Process for Flatten {
    type Reads<'a> = Envelope<'a>;

    fn process(&self, Envelope { payload, event_type, id, source_time }: Envelope) -> Result<Outcome> {
        let Some(mut flat) = members(payload) else { return Ok(Outcome::Keep) };
        let facts = [("type", Some(event_type)), ("event_id", Some(id)), ("timestamp", source_time)];
        for (name, value) in facts {
            value.map(|value| flat.insert(name.to_owned(), value.into()));
        }
        Outcome::replace_json(&flat)
    }
}

/// The members of the event inside the standard envelope, or of the payload where there is none. `None` when they can't
/// be read: the event then stays as it is.
fn members(payload: &[u8]) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut payload)) = serde_json::from_slice(payload) else { return None };
    if !payload.get("header").is_some_and(Value::is_object) {
        return Some(payload);
    }
    match payload.shift_remove("event") {
        Some(Value::Object(event)) => Some(event),
        _ => None,
    }
}

export!(Flatten);

#[cfg(test)]
mod tests {
    use trommel_filter::{
        Failure,
        testing::{TestEvent, TestRoute},
    };

    use super::*;

    fn flat(source_time: Option<&str>, payload: &str) -> Outcome {
        let event = TestEvent::new(payload).with("event-type", "im.chat.updated_v1").with("id", "e-1");
        let event = source_time.into_iter().fold(event, |event, time| event.with("source-time", time));
        TestRoute::<Flatten>::new(&[]).unwrap().process(&event).unwrap()
    }

    fn replaced(text: &str) -> Outcome {
        Outcome::replace(text)
    }

    /// L132
    #[test]
    fn members_of_the_event_come_up_beside_what_it_is() {
        let payload = r#"{"schema":"2.0","header":{"event_id":"e-1"},"event":{"chat_id":"oc_1","n":1.10,"type":"theirs","deep":{"a":[]}}}"#;
        assert_eq!(
            flat(Some("1608725989000"), payload),
            replaced(
                r#"{"chat_id":"oc_1","n":1.10,"type":"im.chat.updated_v1","deep":{"a":[]},"event_id":"e-1","timestamp":"1608725989000"}"#
            )
        );
        assert_eq!(
            flat(None, payload),
            replaced(r#"{"chat_id":"oc_1","n":1.10,"type":"im.chat.updated_v1","deep":{"a":[]},"event_id":"e-1"}"#)
        );
    }

    #[test]
    fn an_object_without_an_envelope_is_the_event() {
        let expected = r#"{"a":1,"event":{},"type":"im.chat.updated_v1","event_id":"e-1"}"#;
        assert_eq!(flat(None, r#"{"a": 1, "event": {}}"#), replaced(expected));
    }

    #[test]
    fn what_can_not_be_read_stays_as_it_is() {
        for payload in ["", "not JSON", "[1]", "null", r#"{"header":{}}"#, r#"{"header":{},"event":[]}"#] {
            assert_eq!(flat(Some("1"), payload), Outcome::Keep, "{payload}");
        }
    }

    #[test]
    fn it_has_no_params() {
        let refused = TestRoute::<Flatten>::new(&[("keep", "/a")]).unwrap_err();
        assert_eq!(refused, Failure::malformed("`keep` is not a param: there is none"));
    }
}

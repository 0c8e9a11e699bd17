//! `flatten`: an event's own members in one object, and beside them what it is (L132).

#[path = "../../border.rs"]
mod border;

use border::{Filter, Rules};
use serde_json::{Map, Value};
use trommel::filter::types::{Event, Failure, Fields, Hooks, Outcome, Params};

wit_bindgen::generate!({
    path: "../../wit/v0.1.0",
    world: "filter-component",
    additional_derives: [PartialEq],
});

struct Flatten;

impl Rules for Flatten {
    const HOOKS: Hooks = Hooks::PROCESS;
    const PROCESS_READS: Fields = Fields::PAYLOAD.union(Fields::ID).union(Fields::SOURCE_TIME);

    fn new(params: &Params) -> Result<Self, String> {
        border::known(params, [])?;
        Ok(Self)
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        let Some(mut flat) = members(event.payload.as_deref().unwrap_or_default()) else {
            return Ok(Outcome::Keep);
        };
        let facts = [("type", Some(event.event_type)), ("event_id", event.id), ("timestamp", event.source_time)];
        for (name, value) in facts {
            value.map(|value| flat.insert(name.to_owned(), value.into()));
        }
        Ok(Outcome::Replace(Value::Object(flat).to_string().into_bytes()))
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

type Exported = Filter<Flatten>;
export!(Exported);

#[cfg(test)]
mod tests {
    use super::{
        border::test::{event, params},
        exports::trommel::filter::filter::Guest,
        *,
    };

    fn flat(source_time: Option<&str>, payload: &str) -> Outcome {
        Flatten.process(event("im.chat.updated_v1", "e-1", source_time, payload)).unwrap()
    }

    fn replaced(text: &str) -> Outcome {
        Outcome::Replace(text.as_bytes().to_vec())
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
        let refused = Exported::normalize_params("k".to_owned(), params(&[("keep", "/a")]));
        assert_eq!(refused, Err(Failure::Malformed("`flatten` has no param `keep`: it has none at all".to_owned())));
    }
}

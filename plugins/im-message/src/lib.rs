//! `im-message`: a received message as one flat object, its content as text (L56).
//!
//! How content becomes text stands in [`content`].

mod content;
mod json;
mod post;

use content::Mention;
use json::text;
use serde::Deserialize;
use serde_json::{Map, Value};
use trommel_filter::{Failure, Fields, Outcome, Process, Result, export};

#[derive(Deserialize)]
struct Message;

#[derive(Fields)]
struct Received<'a> {
    payload: &'a [u8],
    event_type: &'a str,
    id: Option<&'a str>,
    source_time: Option<&'a str>,
}

impl Process for Message {
    type Reads<'a> = Received<'a>;

    fn process(&self, event: Received) -> Result<Outcome> {
        let payload: Value = serde_json::from_slice(event.payload)
            .map_err(|error| Failure::malformed(format!("the payload is not JSON: {error}")))?;
        let Some(message) = payload.pointer("/event/message").filter(|message| message.is_object()) else {
            return Err(Failure::malformed("the payload has no message at `/event/message`"));
        };
        Outcome::replace_json(&flatten(&event, &payload, message))
    }
}

/// What is not there, or empty, is left out.
fn flatten(event: &Received, payload: &Value, message: &Value) -> Map<String, Value> {
    let mentions = mentions(message);
    let kind = text(message, "message_type");
    let (created, updated) = (text(message, "create_time"), text(message, "update_time"));
    let id = text(message, "message_id");
    let sent_by = |pointer| payload.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let rendered = content::render(kind, text(message, "content"), &mentions);
    let members = [
        ("type", event.event_type),
        ("event_id", event.id.unwrap_or_default()),
        ("timestamp", event.source_time.unwrap_or(created)),
        ("id", id),
        ("message_id", id),
        ("create_time", created),
        // The server repeats the one in the other while nothing was edited.
        ("update_time", if updated == created { "" } else { updated }),
        ("chat_id", text(message, "chat_id")),
        ("chat_type", text(message, "chat_type")),
        ("message_type", kind),
        ("sender_id", sent_by("/event/sender/sender_id/open_id")),
        ("sender_type", sent_by("/event/sender/sender_type")),
        ("root_id", text(message, "root_id")),
        ("thread_id", text(message, "thread_id")),
        ("reply_to", text(message, "parent_id")),
        ("content", &rendered),
    ];
    let there = members.into_iter().filter(|(_, value)| !value.is_empty());
    let mut flat: Map<_, _> = there.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    if !mentions.is_empty() {
        flat.insert("mentions".to_owned(), mentions.iter().map(Mention::to_json).collect());
    }
    flat
}

fn mentions(message: &Value) -> Vec<Mention<'_>> {
    let listed = message.get("mentions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    listed.iter().map(Mention::read).filter(Mention::says_something).collect()
}

export!(Message);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use trommel_filter::{
        FailureKind,
        testing::{TestEvent, TestRoute},
    };

    use super::*;

    fn process(payload: &str) -> Result<Outcome> {
        let event = TestEvent::new(payload).with("event-type", "im.message.receive_v1").with("id", "ev_1");
        TestRoute::<Message>::new(&[])?.process(&event.with("source-time", "1776409469273"))
    }

    fn flat(payload: &Value) -> String {
        match process(&payload.to_string()) {
            Ok(Outcome::Replace(bytes)) => String::from_utf8(bytes).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// A message in a thread, with all that one can have.
    fn recorded() -> Value {
        json!({
            "schema": "2.0",
            "header": {
                "event_id": "ev_1", "event_type": "im.message.receive_v1", "create_time": "1776409469273",
                "token": "", "app_id": "cli_a1", "tenant_key": "tk_1"
            },
            "event": {
                "sender": {
                    "sender_id": { "union_id": "on_s", "user_id": "u_s", "open_id": "ou_s" },
                    "sender_type": "user", "tenant_key": "tk_1"
                },
                "message": {
                    "message_id": "om_1", "root_id": "om_root", "parent_id": "om_parent", "thread_id": "omt_1",
                    "chat_id": "oc_1", "chat_type": "group", "message_type": "text",
                    "create_time": "1776409468987", "update_time": "1776409469999",
                    "content": "{\"text\":\"hello @_user_1\"}",
                    "mentions": [{ "key": "@_user_1", "id": { "open_id": "ou_a" }, "name": "Alice", "tenant_key": "tk_1" }]
                }
            }
        })
    }

    /// L56
    #[test]
    fn a_message_comes_out_flat() {
        let expected = concat!(
            r#"{"type":"im.message.receive_v1","event_id":"ev_1","timestamp":"1776409469273","id":"om_1","#,
            r#""message_id":"om_1","create_time":"1776409468987","update_time":"1776409469999","chat_id":"oc_1","#,
            r#""chat_type":"group","message_type":"text","sender_id":"ou_s","sender_type":"user","root_id":"om_root","#,
            r#""thread_id":"omt_1","reply_to":"om_parent","content":"hello @Alice","#,
            r#""mentions":[{"key":"@_user_1","id":"ou_a","name":"Alice"}]}"#,
        );
        assert_eq!(flat(&recorded()), expected);
    }

    /// L56
    #[test]
    fn a_message_that_was_not_edited_has_no_update_time() {
        let mut payload = recorded();
        payload["event"]["message"]["update_time"] = json!("1776409468987");
        assert!(!flat(&payload).contains("update_time"));
    }

    #[test]
    fn what_is_not_there_is_left_out() {
        let payload = json!({ "event": { "message": { "message_id": "om_1", "mentions": [7, {}], "root_id": 7 } } });
        let expected = r#"{"type":"im.message.receive_v1","event_id":"ev_1","timestamp":"1776409469273","id":"om_1","message_id":"om_1"}"#;
        assert_eq!(flat(&payload), expected);
        let payload = recorded().to_string();
        let without_time = Received { payload: payload.as_bytes(), event_type: "t", id: None, source_time: None };
        let flat = Message.process(without_time).unwrap();
        let Outcome::Replace(flat) = flat else { panic!("{flat:?}") };
        assert!(flat.starts_with(br#"{"type":"t","timestamp":"1776409468987","#), "the message's own time stands in");
    }

    #[test]
    fn what_is_no_message_is_malformed() {
        for payload in ["", "not JSON", "{}", r#"{"event":{"message":"text"}}"#] {
            assert_eq!(process(payload).unwrap_err().kind, FailureKind::Malformed, "{payload}");
        }
    }

    #[test]
    fn it_has_no_params() {
        let refused = TestRoute::<Message>::new(&[("chat", "oc_1")]).unwrap_err();
        assert_eq!(refused, Failure::malformed("`chat` is not a param: there is none"));
    }
}

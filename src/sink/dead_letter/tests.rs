use serde_json::{Value, json};

use super::*;
use crate::sink::{double::output, line};

/// The record without its time, which must be one.
fn record(letter: &Output) -> Value {
    let mut record: Value = serde_json::from_slice(&letter.payload).unwrap();
    let time = record.as_object_mut().unwrap().remove("time").unwrap();
    time.as_str().unwrap().parse::<Timestamp>().unwrap();
    record
}

/// X4: nothing undecodable is dropped in silence.
#[test]
fn an_event_that_was_no_event_is_kept_as_far_as_it_is_known() {
    let letter = of_event(output("t", "e-1", &b"\xff"[..]).ticket, Place::default(), "not_json", "line 1");
    assert_eq!(
        record(&letter),
        json!({
            "reason": "not_json", "detail": "line 1",
            "id": "e-1", "uid": letter.ticket.event().uid.to_string(), "event_type": "t", "subject": "orders.eu",
            "source": "orders", "stream": "ORDERS", "sequence": 7, "attempts": 2,
            "payload_base64": "/w==",
        })
    );
    assert_eq!(letter.dead_letter, Some("not_json"));
}

#[test]
fn a_filter_that_failed_is_named() {
    let place = Place { key: "k", route: "r", filter: "f", filter_digest: "abc", tries: 3, ..Place::default() };
    let record = record(&of_event(output("t", "e-1", "text").ticket, place, "trap", "unreachable"));
    for (name, value) in [
        ("key", json!("k")),
        ("route", json!("r")),
        ("filter", json!("f")),
        ("filter_digest", json!("abc")),
        ("tries", json!(3)),
        ("payload_text", json!("text")),
    ] {
        assert_eq!(record[name], value, "{name}");
    }
}

/// The event as it came in, not what the filter made of it, so that it can be sent through again.
#[test]
fn an_output_that_its_sink_refused_keeps_its_event() {
    let refused = Output { payload: "made".into(), index: 4, ..output("t", "e-1", "{\n \"n\": 1}") };
    let letter = of_output(refused, "large", "too_large", "9 MiB");
    let record = record(&letter);
    assert_eq!(
        (&record["payload"], &record["sink"], &record["key"]),
        (&json!({"n": 1}), &json!("large"), &json!("key"))
    );
    let id = format!("{}:key:route/large/too_large:4", letter.ticket.event().uid);
    assert_eq!(letter.id().to_string(), id, "letters of several outputs stay apart");
    let mut lines = Vec::new();
    line::append(&mut lines, &letter.payload);
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 1);
}

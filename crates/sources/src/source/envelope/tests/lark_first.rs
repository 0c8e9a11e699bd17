//! Lark's events of version 1.0.

use super::{TRUSTING, VERIFYING, message, open, refused, with_headers};

const FIRST: &str = r#"{"ts":"1502199207.7171419","uuid":"bc447199585340d1f3728d26b1c0297a","token":"41a9425ea7df4536a7623e38fa321bae",
 "type":"event_callback","event":{"type":"app_open","app_id":"cli_1","tenant_key":"2ca1","open_id":"ou_1"}}"#;

#[test]
fn version_1_says_what_the_event_is_too() {
    let event = open(&TRUSTING, message(FIRST)).unwrap();
    assert_eq!((&*event.id, &*event.event_type), ("bc447199585340d1f3728d26b1c0297a", "app_open"));
    assert_eq!((event.source_time.as_deref(), &*event.payload), (Some("1502199207.7171419"), FIRST.as_bytes()));
    // A header makes it version 2.0, whatever else is there.
    let both = FIRST.replacen('{', r#"{"header":{"event_id":"h-1","event_type":"t"},"#, 1);
    let event = open(&TRUSTING, message(both)).unwrap();
    assert_eq!((&*event.id, &*event.event_type, event.source_time), ("h-1", "t", None));
}

#[test]
fn version_1_that_says_too_little_is_refused() {
    for (body, reason, part) in [
        (FIRST.replace(r#""app_open""#, "null"), "bad_lark_event", "it lacks `event.type`"),
        (FIRST.replace(r#""app_open""#, "7"), "bad_lark_event", "`event.type` is not a string: 7"),
        (FIRST.replace("bc447199585340d1f3728d26b1c0297a", ""), "bad_lark_event", "it lacks `uuid`"),
        (r#"{"uuid":"1","event":[]}"#.to_owned(), "bad_lark_event", "it lacks `event.type`"),
    ] {
        let (_, malformed) = refused(&TRUSTING, message(body.clone()));
        assert_eq!(malformed.reason, reason, "{body}");
        assert!(malformed.detail.contains(part), "{body}: {}", malformed.detail);
    }
    let carried = [("Nats-Msg-Id", "bc447199585340d1f3728d26b1c0297a"), ("Lark-App-Id", "cli_2")];
    let (_, malformed) = refused(&VERIFYING, with_headers(FIRST, &carried));
    assert_eq!(malformed.reason, "header_conflict");
    assert!(malformed.detail.contains("`event.app_id` is \"cli_1\", and its carrier says `cli_2`"), "{malformed:?}");
}

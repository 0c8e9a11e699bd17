use proptest::prelude::*;

use super::*;
use crate::event::MAX_SUBJECT;

mod families;
mod lark_first;

fn message(payload: impl Into<Bytes>) -> SourceMessage {
    SourceMessage {
        subject: "orders.eu.created".into(),
        headers: Headers::default(),
        payload: payload.into(),
        observed_at: 7,
        attempt: 2,
        origin: Arc::new(Origin { source: "orders".into(), stream: "ORDERS".into() }),
        incarnation: 9,
        sequence: 41,
    }
}

fn with_headers(payload: impl Into<Bytes>, headers: &[(&str, &str)]) -> SourceMessage {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    SourceMessage { headers, ..message(payload) }
}

fn plain(id: &str, event_type: &str, subject: &str, source_time: &str) -> EnvelopeFormat {
    let field = |text: &str| match text {
        "" => None,
        text => Some(match text.strip_prefix("header:") {
            Some(name) => Field::Header(name.to_owned()),
            None if text == "subject" => Field::Subject,
            None if text == "event-type" => Field::EventType,
            None => Field::Pointer(text.parse().unwrap()),
        }),
    };
    EnvelopeFormat::Plain {
        id: field(id),
        event_type: field(event_type),
        subject: field(subject),
        source_time: field(source_time),
    }
}

fn refused(envelope: &EnvelopeFormat, message: SourceMessage) -> (Event, MalformedMessage) {
    *open(envelope, message).unwrap_err()
}

fn header<'a>(event: &'a Event, name: &str) -> Option<&'a str> {
    event.headers.get(name).map(|value| &**value)
}

/// L40 and X3: values that the message lacks are taken from the broker, never made up.
#[test]
fn a_message_that_says_nothing_gets_the_defaults() {
    let event = open(&plain("", "", "", ""), message("not json")).unwrap();
    assert_eq!(event.id, "ORDERS:41");
    assert_eq!(event.event_type, "orders.eu.created");
    assert_eq!(event.subject, "orders.eu.created");
    assert_eq!(event.source_time, None);
    assert_eq!((event.observed_at, event.attempt, event.sequence), (7, 2, 41));
    assert_eq!(event.payload, "not json");
}

/// L66: no id is ever empty, so no two events without one are taken for duplicates.
#[test]
fn ids_come_from_the_field_then_the_message_id_then_the_sequence() {
    let by_pointer = plain("/id", "", "", "");
    let id = |envelope: &EnvelopeFormat, message| open(envelope, message).unwrap().id;
    let sent = [("Nats-Msg-Id", "sent")];
    assert_eq!(id(&by_pointer, with_headers(r#"{"id":"o-1"}"#, &sent)), "o-1");
    assert_eq!(id(&by_pointer, with_headers(r#"{"id":10}"#, &sent)), "10");
    assert_eq!(id(&by_pointer, with_headers(r#"{"id":""}"#, &sent)), "sent");
    assert_eq!(id(&by_pointer, with_headers(r#"{"id":null}"#, &sent)), "sent");
    assert_eq!(id(&by_pointer, with_headers("[]", &[("NATS-MSG-ID", "")])), "ORDERS:41");
    assert_eq!(id(&plain("header:x-id", "", "", ""), with_headers("", &[("X-Id", "h-1")])), "h-1");
    assert_eq!(id(&plain("subject", "", "", ""), message("")), "orders.eu.created");
    assert_eq!(id(&plain("event-type", "/type", "", ""), message(r#"{"type":"paid"}"#)), "paid");
}

#[test]
fn ids_are_bounded_and_name_nothing_for_machines() {
    let by_pointer = plain("/id", "", "", "");
    let with_id = |length: usize| message(format!(r#"{{"id":"{}"}}"#, "i".repeat(length)));
    let [short, long, longer] =
        [MAX_ID, MAX_ID + 1, MAX_ID + 2].map(|length| open(&by_pointer, with_id(length)).unwrap());
    assert_eq!(short.id, "i".repeat(MAX_ID));
    assert!(long.id.starts_with("sha256:") && long.id.len() < MAX_ID && long.id != longer.id, "{}", long.id);
    assert_eq!(short.uid, long.uid, "it is the same place");
    let again = open(&by_pointer, SourceMessage { incarnation: 10, ..with_id(1) }).unwrap();
    assert_ne!(again.uid, short.uid, "the stream was made again");
}

#[test]
fn routers_that_feed_each_other_end() {
    let through = |hops: &str| open(&plain("", "", "", ""), with_headers("x", &[("trommel-hops", hops)]));
    for hops in ["0", "31", "many", "-1", "99999999999999999999"] {
        assert!(through(hops).is_ok(), "{hops}");
    }
    for hops in ["32", "4294967295"] {
        assert_eq!(through(hops).unwrap_err().1.reason, "too_many_hops", "{hops}");
    }
}

#[test]
fn every_field_can_stand_in_the_payload() {
    let envelope = plain("/meta/id", "/meta/type", "/meta/topic", "/meta/at");
    let body =
        Bytes::from_static(br#"{"meta":{"id":"o-1","type":"paid","topic":"shop.paid","at":"2024-05-01T10:00:00Z"}}"#);
    let event = open(&envelope, message(body.clone())).unwrap();
    assert_eq!((&*event.id, &*event.event_type, &*event.subject), ("o-1", "paid", "shop.paid"));
    assert_eq!(event.source_time.as_deref(), Some("2024-05-01T10:00:00Z"));
    assert_eq!(event.payload.as_ptr(), body.as_ptr(), "the payload is shared");
    assert!(body.as_ptr_range().contains(&event.id.as_bytes().as_ptr()), "and so is the id");
}

#[test]
fn the_type_defaults_to_the_subject_that_counts() {
    let event = open(&plain("", "", "/topic", ""), message(r#"{"topic":"a.b"}"#)).unwrap();
    assert_eq!(event.event_type, "a.b");
    let event = open(&plain("", "subject", "/topic", ""), message(r#"{"topic":"a.b"}"#)).unwrap();
    assert_eq!(event.event_type, "orders.eu.created");
}

#[test]
fn a_pointer_needs_json_and_a_value_that_is_text() {
    let by_pointer = plain("/id", "", "", "");
    for body in ["", "plain text", r#"{"id":"a""#, "\u{feff}text"] {
        let (event, malformed) = refused(&by_pointer, message(body));
        assert_eq!(malformed.reason, "not_json", "{body}");
        assert_eq!((&*event.id, &*event.payload), ("ORDERS:41", body.as_bytes()));
    }
    let event = open(&by_pointer, message("\u{feff}{\"id\":\"a\",\"id\":\"b\"}")).unwrap();
    assert_eq!((&*event.id, &*event.payload), ("b", &b"{\"id\":\"a\",\"id\":\"b\"}"[..]));
    let (_, malformed) = refused(&by_pointer, message(r#"{"id":{"a":1}}"#));
    assert_eq!(malformed.reason, "bad_field");
    assert!(malformed.detail.contains("`/id`"), "{}", malformed.detail);
    let deep = format!(r#"{{"deep":{}{},"id":"a"}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(&*open(&by_pointer, message(deep)).unwrap().id, "a");
    assert_eq!(refused(&by_pointer, message(&b"{\"id\":\"\xff\"}"[..])).1.reason, "not_json");
}

/// F11: subjects are checked on entry.
#[test]
fn subjects_are_checked() {
    let envelope = plain("", "", "/topic", "");
    let body = |topic: &str| message(format!(r#"{{"topic":"{topic}"}}"#));
    assert_eq!(open(&envelope, body(&"s".repeat(MAX_SUBJECT))).unwrap().subject.len(), MAX_SUBJECT);
    for topic in ["a..b", "a.*", ">", &"s".repeat(MAX_SUBJECT + 1)] {
        assert_eq!(refused(&envelope, body(topic)).1.reason, "bad_subject", "{topic}");
    }
    let unnamed = SourceMessage { subject: ByteString::new(), ..message("") };
    assert_eq!(refused(&plain("", "", "", ""), unnamed).1.reason, "bad_subject");
}

#[test]
fn odd_headers_are_kept_as_they_are() {
    let odd = [("x-odd", "a\u{0}\r\n\u{7f}ü"), ("x-odd", ""), ("X-Odd", " ")];
    let event = open(&plain("header:x-none", "", "", ""), with_headers("", &odd)).unwrap();
    let kept: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(kept, odd);
}

#[test]
fn large_bodies_are_shared_whatever_they_hold() {
    for size in [0, 1 << 20, 8 << 20] {
        let body = Bytes::from(vec![0xff; size]);
        let event = open(&plain("", "", "", ""), message(body.clone())).unwrap();
        assert_eq!((event.payload.as_ptr(), event.payload.len()), (body.as_ptr(), size));
    }
    let body = format!(r#"{{"filler":"{}","id":"last"}}"#, "x".repeat(8 << 20));
    assert_eq!(open(&plain("/id", "", "", ""), message(body)).unwrap().id, "last");
}

const STRUCTURED: &str = r#"{"specversion":"1.0","id":"c-1","source":"/shop","type":"shop.paid","time":"2024-05-01T10:00:00Z",
 "subject":"order/9","sampled":true,"rate":3,"partitionkey":"é","dataschema":null,"data":{"amount": 5}}"#;

#[test]
fn structured_cloudevents_become_binary_ones() {
    let body = Bytes::from_static(STRUCTURED.as_bytes());
    let headers = [
        ("Content-Type", "application/CloudEvents+JSON; charset=utf-8"),
        ("ce-id", "stale"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    let event = open(&EnvelopeFormat::CloudEvents, with_headers(body.clone(), &headers)).unwrap();
    assert_eq!((&*event.id, &*event.event_type, &*event.subject), ("c-1", "shop.paid", "orders.eu.created"));
    assert_eq!(event.source_time.as_deref(), Some("2024-05-01T10:00:00Z"));
    assert_eq!(event.payload, r#"{"amount": 5}"#);
    assert!(body.as_ptr_range().contains(&event.payload.as_ptr()), "the data is shared");
    for (name, value) in [
        ("ce-specversion", Some("1.0")),
        ("ce-id", Some("c-1")),
        ("ce-source", Some("/shop")),
        ("ce-subject", Some("order/9")),
        ("ce-sampled", Some("true")),
        ("ce-rate", Some("3")),
        ("ce-partitionkey", Some("é")),
        ("ce-dataschema", None),
        ("content-type", Some("application/json")),
        ("traceparent", Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
    ] {
        assert_eq!(header(&event, name), value, "{name}");
    }
    let again = SourceMessage { headers: event.headers.clone(), ..message(event.payload.clone()) };
    let again = open(&EnvelopeFormat::CloudEvents, again).unwrap();
    assert_eq!((&again.id, &again.event_type, &again.headers), (&event.id, &event.event_type, &event.headers));
}

#[test]
fn structured_data_is_read_by_its_content_type() {
    let payload = |rest: &str| {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{rest}}}"#);
        open(&EnvelopeFormat::CloudEvents, message(body)).map(|event| event.payload)
    };
    for (rest, expected) in [
        ("", &b""[..]),
        (r#","data":"text""#, br#""text""#),
        (r#","data":"text","datacontenttype":"application/json""#, br#""text""#),
        (r#","data":"text","datacontenttype":"application/vnd.x+JSON; v=1""#, br#""text""#),
        (r#","data":"a\nb","datacontenttype":"text/plain""#, b"a\nb"),
        (r#","data":[1],"datacontenttype":"text/plain""#, b"[1]"),
        (r#","data_base64":"AP8=","datacontenttype":"image/png""#, b"\x00\xff"),
    ] {
        assert_eq!(payload(rest).unwrap(), expected, "{rest}");
    }
    for (rest, part) in [
        (r#","data":1,"data_base64":"AA==""#, "both"),
        (r#","data_base64":7"#, "not a string"),
        (r#","data_base64":"?""#, "data_base64"),
        (r#","extension":{}"#, "`extension`"),
        (r#","x":"a\r\nb""#, "control character"),
        (r#","x":"\ud800""#, "`x`"),
        (r#","data":"\ud800","datacontenttype":"text/plain""#, "not valid UTF-8"),
        (r#","no_such":1"#, "`no_such`"),
    ] {
        let (event, malformed) = *payload(rest).unwrap_err();
        assert_eq!(malformed.reason, "bad_cloudevent", "{rest}");
        assert!(malformed.detail.contains(part), "{rest}: {}", malformed.detail);
        assert!(event.payload.starts_with(b"{"), "the raw body stays");
    }
}

#[test]
fn binary_cloudevents_speak_in_their_headers() {
    let headers = [
        ("ce-specversion", "1.0"),
        ("CE-ID", "c-1"),
        ("ce-source", "/shop"),
        ("ce-type", "shop.paid"),
        ("ce-subject", "o/9"),
    ];
    let event = open(&EnvelopeFormat::CloudEvents, with_headers(&b"\xff"[..], &headers)).unwrap();
    assert_eq!((&*event.id, &*event.event_type), ("c-1", "shop.paid"));
    assert_eq!((event.source_time.clone(), &event.payload[..]), (None, &b"\xff"[..]));
    assert_eq!(header(&event, "ce-subject"), Some("o/9"));
    assert_eq!(event.headers.len(), headers.len());
}

/// F12: the trace extension of CloudEvents is for carriers that have no place for one.
#[test]
fn a_cloudevents_trace_counts_where_the_message_has_none() {
    let body =
        r#"{"specversion":"1.0","id":"1","source":"/","type":"t","traceparent":"00-in-body","tracestate":"v=1"}"#;
    let event = open(&EnvelopeFormat::CloudEvents, message(body)).unwrap();
    assert_eq!((header(&event, "traceparent"), header(&event, "tracestate")), (Some("00-in-body"), Some("v=1")));
    let event = open(&EnvelopeFormat::CloudEvents, with_headers(body, &[("Traceparent", "00-in-header")])).unwrap();
    assert_eq!((header(&event, "traceparent"), header(&event, "tracestate")), (Some("00-in-header"), None));
    let event =
        open(&EnvelopeFormat::CloudEvents, message(r#"{"specversion":"1.0","id":"1","source":"/","type":"t"}"#))
            .unwrap();
    assert_eq!(header(&event, "traceparent"), None);
}

#[test]
fn cloudevents_that_lack_something_are_refused_by_name() {
    let check = |message: SourceMessage, reason: &str, part: &str| {
        let (event, malformed) = refused(&EnvelopeFormat::CloudEvents, message);
        assert_eq!(malformed.reason, reason, "{}", malformed.detail);
        assert!(malformed.detail.contains(part), "{}", malformed.detail);
        event
    };
    let event = check(message(r#"{"specversion":"1.0","id":"c-1","source":""}"#), "bad_cloudevent", "`source`, `type`");
    assert_eq!(event.id, "c-1", "what is known stays known");
    check(message("{}"), "bad_cloudevent", "`specversion`, `id`, `source`, `type`");
    check(message(STRUCTURED.replace("1.0", "0.3")), "bad_cloudevent", "`0.3`");
    check(message("[]"), "bad_cloudevent", "object");
    check(message(""), "not_json", "");
    check(message("<xml/>"), "not_json", "");
    check(with_headers("", &[("ce-specversion", "1.0")]), "bad_cloudevent", "`id`, `source`, `type`");
    check(with_headers("x", &[("content-type", "text/plain")]), "bad_cloudevent", "`specversion`");
    for format in ["application/cloudevents-batch+json", "application/cloudevents+avro", "application/cloudevents"] {
        check(with_headers("[]", &[("content-type", format)]), "bad_cloudevent", "content type");
    }
}

const LARK: &str = r#"{"schema":"2.0","header":{"event_id":"5e3702a84e847582be8db7fb73283c02","event_type":"im.message.receive_v1",
 "create_time":"1608725989000","token":"rvaYgkND1iOiu5MM0E1rncYC6PLtF7JV","app_id":"cli_9f5343c580712544","tenant_key":"2ca1d211f64f6438"},
 "event":{"message":{"message_id":"om_1"}}}"#;
const TRUSTING: EnvelopeFormat = EnvelopeFormat::Lark { verify_header: false };
const VERIFYING: EnvelopeFormat = EnvelopeFormat::Lark { verify_header: true };

/// L15 and L40.
#[test]
fn a_lark_header_says_what_the_event_is() {
    let body = Bytes::from_static(LARK.as_bytes());
    let event = open(&TRUSTING, with_headers(body.clone(), &[("Nats-Msg-Id", "m-1")])).unwrap();
    assert_eq!((&*event.id, &*event.event_type), ("5e3702a84e847582be8db7fb73283c02", "im.message.receive_v1"));
    assert_eq!(event.source_time.as_deref(), Some("1608725989000"));
    assert_eq!(&*event.subject, "orders.eu.created");
    assert_eq!(event.payload.as_ptr(), body.as_ptr(), "the whole body is the payload");
    let silent = LARK.replace("1608725989000", "");
    assert_eq!(open(&TRUSTING, message(silent)).unwrap().source_time, None, "X3: it is not made up");
}

/// L71: nothing is dropped in silence.
#[test]
fn lark_events_that_say_too_little_are_refused() {
    for (body, reason, part) in [
        ("{}".to_owned(), "bad_lark_event", "`event_id`, `event_type`"),
        (r#"{"header":[]}"#.to_owned(), "bad_lark_event", "`event_id`, `event_type`"),
        (LARK.replace("5e3702a84e847582be8db7fb73283c02", ""), "bad_lark_event", "lacks `event_id`"),
        (LARK.replace(r#""im.message.receive_v1""#, "null"), "bad_lark_event", "lacks `event_type`"),
        (LARK.replace(r#""1608725989000""#, "1608725989000"), "bad_lark_event", "`header.create_time` is not a string"),
        (LARK.replace("2.0", "3.0"), "bad_lark_event", r#"schema is "3.0""#),
        ("[]".to_owned(), "bad_lark_event", "lacks"),
        (LARK[..LARK.len() - 1].to_owned(), "not_json", "line 3"),
        (String::new(), "not_json", ""),
    ] {
        for envelope in [TRUSTING, VERIFYING] {
            if reason == "bad_lark_event" && body.contains(":1608725989000") && envelope == VERIFYING {
                continue;
            }
            let (event, malformed) = refused(&envelope, message(body.clone()));
            assert_eq!(malformed.reason, reason, "{body}");
            assert!(malformed.detail.contains(part), "{body}: {}", malformed.detail);
            assert_eq!(event.payload, body);
        }
    }
    let (event, _) = refused(&TRUSTING, message(LARK.replace(r#""im.message.receive_v1""#, "null")));
    assert_eq!(event.id, "5e3702a84e847582be8db7fb73283c02", "what is known stays known");
}

/// L46: a fact that the body claims must be the carrier's; a missing one claims nothing, one of
/// another type does.
#[test]
fn a_lark_body_may_not_contradict_its_carrier() {
    let carried = [
        ("Nats-Msg-Id", "e-1"),
        ("Lark-Event-Type", "t"),
        ("Lark-Create-Time", "1"),
        ("Lark-App-Id", "a"),
        ("Lark-Tenant-Key", "k"),
    ];
    let header = |fields: &str| with_headers(format!(r#"{{"header":{{{fields}}}}}"#), &carried);
    for silent in [
        "",
        r#""event_id":"e-1","event_type":"t","create_time":"1","app_id":"a","tenant_key":"k""#,
        r#""event_id":null,"event_type":"","app_id":null"#,
        r#""token":7"#,
    ] {
        let event = open(&VERIFYING, header(silent)).unwrap_or_else(|refused| panic!("{silent}: {refused:?}"));
        assert_eq!((&*event.id, &*event.event_type, event.source_time.as_deref()), ("e-1", "t", Some("1")));
    }
    for field in ["event_id", "event_type", "create_time", "app_id", "tenant_key"] {
        for claim in [r#""other""#, "7", "{}", "false"] {
            let (event, malformed) = refused(&VERIFYING, header(&format!(r#""{field}":{claim}"#)));
            assert_eq!(malformed.reason, "header_conflict");
            assert!(malformed.detail.starts_with(&format!("`header.{field}` is {claim}, ")), "{}", malformed.detail);
            assert_eq!(event.id, "e-1", "the carrier's word counts");
        }
    }
    let twice = header(r#""app_id":"a","app_id":"b""#);
    assert_eq!(refused(&VERIFYING, twice).1.reason, "header_conflict", "whichever a reader takes");

    assert_eq!(open(&VERIFYING, with_headers("[]", &carried)).unwrap().id, "e-1", "other bodies are not judged");
    assert_eq!(refused(&VERIFYING, with_headers("<xml/>", &carried)).1.reason, "not_json");
    let event = open(&VERIFYING, message(LARK)).unwrap();
    assert_eq!(event.event_type, "im.message.receive_v1", "a carrier that says nothing contradicts nothing");
    let event = open(&TRUSTING, header(r#""event_id":"e-2","event_type":"u","app_id":7"#)).unwrap();
    assert_eq!((&*event.id, &*event.event_type), ("e-2", "u"), "unless asked to, nothing is compared");
}

/// H20, H21
#[test]
fn a_helix_event_is_what_its_payload_holds() {
    let body = |payload: &str| {
        format!(
            r#"{{"id":"r","type":"n1.join","source":"helix","payload":{payload},"timestamp":"2026-01-02T03:04:05Z"}}"#
        )
    };
    for (payload, expected) in [
        (r#""eyJydW5faWQiOiJyIn0=""#, r#"{"run_id":"r"}"#),
        (r#""no base64!""#, "no base64!"),
        (r#"{"run_id": "r"}"#, r#"{"run_id": "r"}"#),
        ("null", ""),
    ] {
        let event = open(&EnvelopeFormat::Helix, message(body(payload))).unwrap();
        assert_eq!((&*event.id, &*event.event_type), ("r", "n1.join"));
        assert_eq!(
            (event.source_time.as_deref(), &event.payload[..]),
            (Some("2026-01-02T03:04:05Z"), expected.as_bytes())
        );
        assert_eq!(event.subject, "orders.eu.created");
    }
    let shouted =
        open(&EnvelopeFormat::Helix, message(r#"{"ID":"r","Type":"t","Payload":"AAE=","Timestamp":""}"#)).unwrap();
    assert_eq!((&*shouted.id, &shouted.payload[..], shouted.source_time), ("r", &[0, 1][..], None));
}

/// H29 and X4: nothing is dropped in silence.
#[test]
fn helix_and_mesh_events_that_say_too_little_are_refused() {
    for (envelope, body, reason, part) in [
        (EnvelopeFormat::Helix, "{}", "bad_helix_event", "lacks `id`, `type`"),
        (EnvelopeFormat::Helix, r#"{"id":"r","type":7}"#, "bad_helix_event", "`type` is not a string: 7"),
        (EnvelopeFormat::Helix, "[]", "bad_helix_event", "not a JSON object"),
        (EnvelopeFormat::Helix, "<xml/>", "not_json", ""),
        (EnvelopeFormat::JbMesh, r#"{"node":"n"}"#, "bad_mesh_event", "lacks `type`"),
        (EnvelopeFormat::JbMesh, r#"{"type":["t"]}"#, "bad_mesh_event", "`type` is not a string"),
        (EnvelopeFormat::JbMesh, "7", "bad_mesh_event", "not a JSON object"),
    ] {
        let (event, malformed) = refused(&envelope, message(body));
        assert!(malformed.reason == reason && malformed.detail.contains(part), "{body}: {malformed:?}");
        assert_eq!(event.payload, body);
    }
}

/// J01
#[test]
fn a_mesh_event_says_its_type_and_time() {
    let body = r#"{"type":"tool.crashed","node":"n1","timestamp":"2026-01-02T03:04:05Z","data":{"restart_count":2}}"#;
    let event = open(&EnvelopeFormat::JbMesh, message(body)).unwrap();
    assert_eq!((&*event.event_type, event.source_time.as_deref()), ("tool.crashed", Some("2026-01-02T03:04:05Z")));
    assert_eq!((&*event.id, &event.payload[..]), ("ORDERS:41", body.as_bytes()));
}

proptest! {
    /// Every message is opened or refused, and a refusal keeps the bytes.
    #[test]
    fn no_message_is_lost(
        body in prop_oneof![
            any::<Vec<u8>>(),
            r#"\{"(id|data|type|specversion)":["0-9a-z\\{}\[\]]{0,9}\}"#.prop_map(String::into_bytes),
            r#"\{"(type|subject)":"[a-z.*]{0,4}","(id|payload|headers|tenant_id|trace_id)":["0-9a-z\\{}\[\]:]{0,9}\}"#
                .prop_map(String::into_bytes),
            r#"\{"header":\{"event_(id|type)":["0-9a-z{}\[\]]{0,9}(,"event_(id|type)":"x")?\}\}"#
                .prop_map(String::into_bytes),
        ],
        headers in proptest::collection::vec(
            ("(ce-)?(id|type|source|specversion)|content-type|nats-msg-id", "\\PC*"),
            0..5,
        ),
        subject in "[a-z.*>]{0,8}",
    ) {
        for envelope in [
            plain("/id", "/type", "", "header:ce-time"), plain("", "", "", ""), EnvelopeFormat::CloudEvents, EnvelopeFormat::Helix,
            EnvelopeFormat::JbMesh, EnvelopeFormat::Ctrlplane, EnvelopeFormat::Flowcraft, TRUSTING, VERIFYING,
        ] {
            let headers = headers.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect();
            let message = SourceMessage { headers, subject: subject.as_str().into(), ..message(body.clone()) };
            match open(&envelope, message) {
                Ok(event) => {
                    prop_assert!(check_subject(&event.subject).is_ok());
                    prop_assert!(!event.id.is_empty() && !event.event_type.is_empty());
                }
                Err(refused) => prop_assert_eq!(&refused.0.payload[..], &body[..]),
            }
        }
    }
}

//! What travels on the bus: how it is made, what publishing adds, and how it is written.

use std::sync::Arc;

use futures_util::FutureExt;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use serde_json::{json, value::RawValue};
use trommel::{
    bus::{Bus, Envelope},
    event::SubjectError,
};

fn envelope(subject: &str) -> Envelope {
    Envelope::new(subject).unwrap()
}

/// What a subscription gets of it.
fn published(envelope: impl Into<Arc<Envelope>>) -> Arc<Envelope> {
    let bus = Bus::default();
    let mut subscription = bus.subscribe(">".parse().unwrap()).open().unwrap();
    bus.publish(envelope).now_or_never().unwrap().unwrap();
    subscription.recv().now_or_never().unwrap().unwrap()
}

/// F02 and F11: there is no envelope with a subject that no pattern fits, so none can be published.
#[test]
fn a_subject_that_is_none_is_refused() {
    for (subject, error) in [
        ("", SubjectError::Empty),
        ("a..b", SubjectError::EmptyToken),
        ("a.*", SubjectError::Wildcard),
        (&"a".repeat(1025), SubjectError::TooLong(1025)),
    ] {
        assert_eq!(Envelope::new(subject), Err(error.clone()));
        let read = serde_json::from_value::<Envelope>(json!({ "subject": subject })).unwrap_err();
        assert_eq!(read.to_string(), error.to_string());
    }
}

/// F02: what is JSON already stays as it is, null is none, all else is encoded.
#[test]
fn payloads_are_encoded_once() {
    let raw = RawValue::from_string(r#"{"b": 1.50, "a":2}"#.to_owned()).unwrap();
    let text = |envelope: Envelope| envelope.payload().map(|payload| String::from_utf8(payload.to_vec()).unwrap());
    let encoded = |payload| text(envelope("a").with_payload(payload).unwrap());
    assert_eq!(encoded(&raw).as_deref(), Some(raw.get()));
    assert_eq!(encoded(&RawValue::NULL.to_owned()), None);
    assert_eq!(text(envelope("a").with_payload(&None::<u8>).unwrap()), None);
    assert_eq!(text(envelope("a").with_payload(&("x", 1)).unwrap()).as_deref(), Some(r#"["x",1]"#));
    let bytes = bytes::Bytes::from_static(b"not even JSON");
    let shared = envelope("a").with_json(bytes.clone());
    assert_eq!(shared.payload().unwrap().as_ptr(), bytes.as_ptr(), "neither looked at nor copied");
    assert!(
        envelope("a").with_payload(&std::collections::HashMap::from([((1, 2), 3)])).is_err(),
        "no JSON has such keys"
    );
}

/// F03
#[test]
fn publishing_fills_in_what_is_missing() {
    let before = jiff::Timestamp::now();
    let filled = published(envelope("a"));
    assert!(filled.id.len() == 20 && filled.id.parse::<xid::Id>().is_ok(), "{}", filled.id);
    assert!((before..=jiff::Timestamp::now()).contains(&filled.time.unwrap()));
    assert_eq!((&filled.trace_id, &filled.span_id), (&None, &None));
    assert_ne!(published(envelope("a")).id, filled.id);

    let mut given = envelope("a");
    given.id = "mine".into();
    given.time = Some(jiff::Timestamp::UNIX_EPOCH);
    let given = Arc::new(given);
    assert!(Arc::ptr_eq(&published(Arc::clone(&given)), &given), "nothing is missing, so nothing is copied");
}

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn span(trace: &str, span: &str) -> Context {
    let (trace, span) = (TraceId::from_hex(trace).unwrap(), SpanId::from_hex(span).unwrap());
    let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
    Context::new().with_remote_span_context(span)
}

/// F02 and F03: the ambient span is that of the constructor, else that of the publish.
#[test]
fn the_ambient_span_is_taken_along() {
    let ids = |envelope: &Envelope| [&envelope.trace_id, &envelope.span_id].map(|id| id.as_deref().map(str::to_owned));
    let bare = envelope("a");
    let ambient = span(TRACE, SPAN).attach();
    let made = envelope("a");
    assert_eq!(ids(&made), [TRACE, SPAN].map(|id| Some(id.to_owned())));
    assert_eq!(ids(&published(bare)), [TRACE, SPAN].map(|id| Some(id.to_owned())));
    drop(ambient);

    let other = "11111111111111111111111111111111";
    let _ambient = span(other, SPAN).attach();
    assert_eq!(ids(&published(made.clone())), ids(&made), "what is there stays");
    let mut half = made.clone();
    half.span_id = None;
    assert_eq!(ids(&published(half)), [Some(TRACE.to_owned()), None], "a span of another trace would mean nothing");
    let mut half = made;
    (half.trace_id, half.span_id) = (Some(other.into()), None);
    assert_eq!(ids(&published(half)), [Some(other.to_owned()), Some(SPAN.to_owned())]);
}

/// F04
#[test]
fn payloads_are_decoded() {
    let order = envelope("a").with_payload(&json!({ "number": 7 })).unwrap();
    assert_eq!(order.decode::<serde_json::Value>().unwrap(), Some(json!({ "number": 7 })));
    assert!(order.decode::<u8>().is_err());
    assert_eq!(envelope("a").decode::<u8>().unwrap(), None);
    assert_eq!(envelope("a").with_json("").decode::<u8>().unwrap(), None);
}

/// F05
#[test]
fn well_known_headers_have_names() {
    let bare = envelope("a");
    assert_eq!([bare.tenant(), bare.actor_id(), bare.run_id(), bare.node_id(), bare.graph_id()], [""; 5]);
    let names = ["tenant", "actor_id", "run_id", "node_id", "graph_id", "anything"];
    let full = names.into_iter().fold(bare, |envelope, name| envelope.with_header(name, format!("{name}'s")));
    assert_eq!(full.tenant(), "tenant's");
    assert_eq!(
        [full.actor_id(), full.run_id(), full.node_id(), full.graph_id()],
        ["actor_id's", "run_id's", "node_id's", "graph_id's"]
    );
    assert_eq!(full.headers["anything"], "anything's");
    assert_eq!(full.with_header("tenant", "other").tenant(), "other");
}

/// F01
#[test]
fn envelopes_are_written_without_what_is_empty() {
    let bare = envelope("a.b");
    assert_eq!(serde_json::to_string(&bare).unwrap(), r#"{"subject":"a.b"}"#);
    let text = concat!(
        r#"{"id":"i","subject":"a.b","time":"2026-03-14T08:03:36.069Z","source":"s","trace_id":"t","span_id":"p","#,
        r#""headers":{"tenant":"acme"},"payload":{"b": 1.50,"a":[]}}"#
    );
    let full: Envelope = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&full).unwrap(), text, "the payload to the letter");
    assert_eq!((full.tenant(), full.source.as_deref()), ("acme", Some("s")));
    assert_eq!(full, full.clone());

    // As other libraries write what they have not set.
    let zero = json!({
        "id": "", "subject": "a.b", "time": "0001-01-01T00:00:00Z", "source": "", "trace_id": "", "span_id": "",
        "headers": null, "payload": null
    });
    assert_eq!(serde_json::from_value::<Envelope>(zero).unwrap(), bare);
    let refused = serde_json::to_string(&bare.with_json("{broken")).unwrap_err().to_string();
    assert!(refused.starts_with("the payload is not JSON: "), "{refused}");
}

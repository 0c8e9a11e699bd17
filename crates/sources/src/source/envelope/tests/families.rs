//! Events of a ctrlplane and of a flowcraft bus.

use super::*;

const CTRLPLANE: &str = r#"{"id":"evt_01h455vb4pex5vsknk084sn02q","type":"instance.created","tenant_id":"t-1",
 "instance_id":"inst_01h455vb4pex5vsknk084sn02r","actor_id":"ada","payload":{"size":"s"},"timestamp":"2026-01-02T03:04:05Z"}"#;

/// C01
#[test]
fn a_ctrlplane_event_says_whose_it_is() {
    let body = Bytes::from_static(CTRLPLANE.as_bytes());
    let carried = [("Tenant", "t-2"), ("tenant", "t-3"), ("x-odd", "1")];
    let event = open(&EnvelopeFormat::Ctrlplane, with_headers(body.clone(), &carried)).unwrap();
    assert_eq!((&*event.id, &*event.event_type), ("evt_01h455vb4pex5vsknk084sn02q", "instance.created"));
    assert_eq!(event.source_time.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(event.payload.as_ptr(), body.as_ptr(), "the whole body is the payload");
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let instance = ("instance_id", "inst_01h455vb4pex5vsknk084sn02r");
    assert_eq!(headers, [("x-odd", "1"), ("tenant", "t-1"), instance, ("actor_id", "ada")]);

    let least = r#"{"id":"","type":"health.passed","tenant_id":"","actor_id":null}"#;
    let event = open(&EnvelopeFormat::Ctrlplane, with_headers(least, &[("tenant", "t-2")])).unwrap();
    assert_eq!((&*event.id, event.source_time.as_deref()), ("ORDERS:41", None), "what is left out is not made up");
    assert_eq!((header(&event, "tenant"), event.headers.len()), (Some("t-2"), 1), "nor taken from the carrier");
}

const FLOWCRAFT: &str = r#"{"id":"cv37rs3pp9olc6atsjk0","subject":"graph.run.r1.node.n1.start","time":"2026-01-02T03:04:05Z",
 "source":"runner","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7",
 "headers":{"run_id":"r1","node_id":"n1","tenant":"","x-Free":"a\u0020b"},"payload":{"n": 1}}"#;

/// F01, F05: the envelope is transport, so nothing of it is left in the payload and nothing is
/// lost.
#[test]
fn a_flowcraft_envelope_is_taken_off() {
    let body = Bytes::from_static(FLOWCRAFT.as_bytes());
    let event =
        open(&EnvelopeFormat::Flowcraft, with_headers(body.clone(), &[("RUN_ID", "r0"), ("tenant", "t-1")])).unwrap();
    assert_eq!((&*event.id, &*event.subject), ("cv37rs3pp9olc6atsjk0", "graph.run.r1.node.n1.start"));
    assert_eq!((&event.event_type, event.source_time.as_deref()), (&event.subject, Some("2026-01-02T03:04:05Z")));
    assert_eq!(event.payload, r#"{"n": 1}"#);
    assert!(body.as_ptr_range().contains(&event.payload.as_ptr()), "the payload is shared");
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    let [tenant, source] = [("tenant", "t-1"), ("source", "runner")];
    let said = [("run_id", "r1"), ("node_id", "n1"), ("x-Free", "a b")];
    assert_eq!(headers, [&[tenant, source][..], &said, &[("traceparent", trace)]].concat());
}

/// F02 to F04, F12
#[test]
fn what_a_flowcraft_envelope_leaves_out_is_absent() {
    for rest in ["", r#","payload":null,"headers":null,"id":"","time":null"#, r#","headers":{}"#] {
        let event = open(&EnvelopeFormat::Flowcraft, message(format!(r#"{{"subject":"a.b"{rest}}}"#))).unwrap();
        assert_eq!((&*event.id, &*event.event_type, event.source_time.as_deref()), ("ORDERS:41", "a.b", None));
        assert!(event.payload.is_empty() && event.headers.is_empty(), "{rest}: {event:?}");
    }
    let trace = |rest: &str| {
        let event = open(&EnvelopeFormat::Flowcraft, message(format!(r#"{{"subject":"a"{rest}}}"#))).unwrap();
        event.headers.get("traceparent").map(ToString::to_string)
    };
    let ids = r#","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7""#;
    assert!(trace(ids).is_some());
    assert_eq!(trace(&ids.replace("4bf9", "4BF9")), None);
    assert_eq!(trace(&ids[..46]), None, "one id alone is none");
    let other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    assert_eq!(trace(&format!(r#"{ids},"headers":{{"traceparent":"{other}"}}"#)).as_deref(), Some(other));
}

/// C01, F01, F11 and X4: nothing is dropped in silence, and what is known stays known.
#[test]
fn ctrlplane_and_flowcraft_events_that_say_too_little_are_refused() {
    let (ctrlplane, flowcraft) = (&EnvelopeFormat::Ctrlplane, &EnvelopeFormat::Flowcraft);
    for (envelope, body, reason, part) in [
        (ctrlplane, r#"{"id":"e","tenant_id":"t"}"#, "bad_ctrlplane_event", "lacks `type`"),
        (ctrlplane, r#"{"type":7}"#, "bad_ctrlplane_event", "`type` is not a string: 7"),
        (ctrlplane, r#"{"type":"t","tenant_id":["a"]}"#, "bad_ctrlplane_event", "`tenant_id` is not a string"),
        (
            ctrlplane,
            r#"{"type":"t","tenant_id":"a","tenant_id":"b"}"#,
            "bad_ctrlplane_event",
            "`tenant_id` stands twice",
        ),
        (ctrlplane, r#"{"type":"t","actor_id":"a\r\nb: c"}"#, "bad_ctrlplane_event", "`actor_id` has a control"),
        (ctrlplane, "[]", "bad_ctrlplane_event", "not a JSON object"),
        (ctrlplane, "<xml/>", "not_json", ""),
        (flowcraft, r#"{"id":"e"}"#, "bad_flowcraft_event", "lacks `subject`"),
        (flowcraft, r#"{"id":"e","subject":""}"#, "bad_flowcraft_event", "lacks `subject`"),
        (flowcraft, r#"{"subject":"a..b"}"#, "bad_subject", "`a..b`"),
        (flowcraft, r#"{"subject":"a.*"}"#, "bad_subject", "`a.*`"),
        (flowcraft, r#"{"subject":1}"#, "bad_flowcraft_event", "`subject` is not a string: 1"),
        (flowcraft, r#"{"subject":"a","headers":[]}"#, "bad_flowcraft_event", "`headers` is not an object: []"),
        (flowcraft, r#"{"subject":"a","headers":{"x":1}}"#, "bad_flowcraft_event", "`headers.x` is not a string: 1"),
        (flowcraft, r#"{"subject":"a","headers":{"x\n":"1"}}"#, "bad_flowcraft_event", r"`headers.x\n` has a control"),
        (flowcraft, r#"{"subject":"a","source":"\u0000"}"#, "bad_flowcraft_event", "`source` has a control"),
        (flowcraft, "7", "bad_flowcraft_event", "not a JSON object"),
        (flowcraft, "", "not_json", ""),
    ] {
        let (event, malformed) = refused(envelope, message(body));
        assert!(malformed.reason == reason && malformed.detail.contains(part), "{body}: {malformed:?}");
        assert_eq!(event.payload, body);
        assert_eq!(event.id == "e", body.contains(r#""id":"e""#));
    }
}

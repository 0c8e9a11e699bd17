use super::*;

fn round_trip<E: EventFamily>(event: &E, format: WireFormat) -> E {
    E::decode(&event.encode(format).unwrap()).unwrap()
}

#[test]
fn events_are_the_same_in_both_formats() {
    for format in [WireFormat::Json, WireFormat::Avro] {
        let node = NodeEvent::new("n1", "join");
        assert_eq!(round_trip(&node, format), node);
        let session = SessionEvent::new("s1", "attach");
        assert_eq!(round_trip(&session, format), session);
        let scheduler = SchedulerEvent::new("t1", "preempt");
        assert_eq!(round_trip(&scheduler, format), scheduler);
        let audit = AuditEvent::new("ada", "s1", "terminate");
        assert_eq!(round_trip(&audit, format), audit);
        let health = HealthEvent::new("db", "probe");
        assert_eq!(round_trip(&health, format), health);
        let alert = AlertEvent::new("zone-a", "fire");
        assert_eq!(round_trip(&alert, format), alert);
    }
}

#[test]
fn an_event_is_named_by_entity_and_action() {
    let event = NodeEvent::new("n 1", "join");
    assert_eq!(super::super::subject(NodeEvent::PREFIX, NodeEvent::DOMAIN, &event.name()), "helix.nodes.n_1.join");
    let envelope = HelixEnvelope::read(&event.encode(WireFormat::Json).unwrap()).unwrap();
    assert_eq!((envelope.id, envelope.event_type), (event.run_id, "n_1.join".to_owned()));
}

/// Nothing is dropped in silence.
#[test]
fn metadata_is_kept_or_refused() {
    let mut event = NodeEvent::new("n1", "join");
    event.metadata.insert("zone".to_owned(), "eu".to_owned());
    assert_eq!(round_trip(&event, WireFormat::Json), event);
    assert!(event.encode(WireFormat::Avro).unwrap_err().to_string().contains("metadata has no place"));
}

#[test]
fn what_other_producers_write_is_read() {
    let body = |payload: &str| format!(r#"{{"ID":"run-3","type":"n3.heartbeat","payload":{payload}}}"#);
    // A record of the first version, which has no action.
    let old = NodeEvent::decode(body(r#""wwGwsNF6FmFwhwpydW4tMwRuM4D4usygk9OcMQ==""#).as_bytes()).unwrap();
    assert_eq!((&*old.run_id, &*old.node_id, &*old.action), ("run-3", "n3", ""));
    assert_eq!(old.timestamp.to_string(), "2026-03-14T08:00:03Z");
    let plain = r#"{"run_id":"r","node_id":"n","action":"join","timestamp":"2026-03-14T10:00:00.5+02:00","x":1}"#;
    let read = NodeEvent::decode(body(plain).as_bytes()).unwrap();
    assert_eq!(read.timestamp.to_string(), "2026-03-14T08:00:00.5Z");

    for (body, part) in [
        (body("null"), "EOF"),
        (body(r#""wwEAAAAAAAAAAAA=""#), "no schema has"),
        ("{}".to_owned(), "lacks `id`"),
        (r#"{"id":7}"#.to_owned(), "`id` is not a string"),
        ("[]".to_owned(), "not a JSON object"),
        ("<xml/>".to_owned(), ""),
    ] {
        let refused = NodeEvent::decode(body.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains(part), "{body}: {refused}");
    }
    assert!(HealthEvent::decode(body(r#""wwGwsNF6FmFwhwpydW4tMwRuM4D4usygk9OcMQ==""#).as_bytes()).is_err());
}

//! Whole messages, both ways.

use std::collections::BTreeMap;

use super::{framing::WriterSchema, *};

mod faults;
mod parsing;
mod resolution;
mod round_trips;
mod times;

const HELIX: [(&str, &str); 5] = [
    ("node-v1", include_str!("../../folder/src/preset/helix/node-v1.avsc")),
    ("node-v2", include_str!("../../folder/src/preset/helix/node-v2.avsc")),
    ("session", include_str!("../../folder/src/preset/helix/session.avsc")),
    ("scheduler", include_str!("../../folder/src/preset/helix/scheduler.avsc")),
    ("audit", include_str!("../../folder/src/preset/helix/audit.avsc")),
];

fn schemas(files: &[(&str, &str)]) -> AvroSchemas {
    AvroSchemas::parse(files).unwrap()
}

/// The schemas `writer` and `reader`.
fn pair(writer: &str, reader: &str) -> AvroSchemas {
    schemas(&[("writer", writer), ("reader", reader)])
}

fn encode(schemas: &AvroSchemas, name: &str, json: &str) -> Result<Vec<u8>, String> {
    let encoder = schemas.encoder(&schemas.get(name).unwrap(), Framing::SingleObject).unwrap();
    encoder.encode(json.as_bytes()).map_err(|error| error.to_string())
}

/// Message of `writer`, decoded as `reader`.
fn convert(schemas: &AvroSchemas, json: &str) -> Result<String, AvroDecodeError> {
    let message = encode(schemas, "writer", json).unwrap();
    decode(schemas, &message, Some("reader"))
}

fn decode(schemas: &AvroSchemas, message: &[u8], reader: Option<&str>) -> Result<String, AvroDecodeError> {
    let reader = reader.map(|name| schemas.get(name).unwrap());
    schemas.decoder(reader.as_ref(), TimeForm::Integer).decode(message).map(|json| String::from_utf8(json).unwrap())
}

/// Message with the header of the only schema.
fn message(schemas: &AvroSchemas, body: &[u8]) -> Vec<u8> {
    let name = schemas.names().next().unwrap();
    let header = WriterSchema::Fingerprint(schemas.get(name).unwrap().fingerprint()).header();
    [&header, body].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// H42
#[test]
fn the_headers_of_helix() {
    let schemas = schemas(&HELIX);
    let header = |name| hex(&WriterSchema::Fingerprint(schemas.get(name).unwrap().fingerprint()).header());
    assert_eq!(header("node-v1"), "c301b0b0d17a16617087");
    assert_eq!(header("node-v2"), "c3013e4cb53199a0aea6");
    assert_eq!(header("session"), "c3010e4c1fbe6a6410d3");
    assert_eq!(header("scheduler"), "c30116d6a7e818062822");
    assert_eq!(header("audit"), "c3012f9ccaa220139430");
}

/// H43
#[test]
fn the_body_of_a_node_event() {
    let schemas = schemas(&HELIX);
    let json = r#"{"run_id":"r","node_id":"n1","timestamp":42,"action":"join"}"#;
    let message = encode(&schemas, "node-v2", json).unwrap();
    assert_eq!(hex(&message), "c3013e4cb53199a0aea60272046e3154086a6f696e");
    assert_eq!(decode(&schemas, &message, None).unwrap(), json);
}

/// H43
#[test]
fn integers_are_zig_zag() {
    let schemas = schemas(&[("int", r#""int""#)]);
    let all = [("0", "00"), ("-1", "01"), ("1", "02"), ("63", "7e"), ("-64", "7f"), ("64", "8001")];
    for (json, bytes) in all.into_iter().chain([("2147483647", "feffffff0f"), ("-2147483648", "ffffffff0f")]) {
        let message = encode(&schemas, "int", json).unwrap();
        assert_eq!(hex(&message[10..]), bytes, "{json}");
        assert_eq!(decode(&schemas, &message, None).unwrap(), json);
    }
}

/// H52
#[test]
fn both_versions_of_a_record_read_each_other() {
    let schemas = schemas(&HELIX);
    let (old, new) = (
        r#"{"run_id":"r","node_id":"n1","timestamp":42}"#,
        r#"{"run_id":"r","node_id":"n1","timestamp":42,"action":"join"}"#,
    );
    let message = encode(&schemas, "node-v2", new).unwrap();
    assert_eq!(decode(&schemas, &message, Some("node-v1")).unwrap(), old);
    let message = encode(&schemas, "node-v1", old).unwrap();
    assert_eq!(decode(&schemas, &message, Some("node-v2")).unwrap(), new.replace("join", ""));
    // Ambiguous: two schemas that differ have the name.
    assert_eq!(schemas.get("NodeEvent"), None);
    assert_eq!(schemas.get("AuditEvent"), schemas.get("audit"));
}

#[test]
fn confluent() {
    let known = schemas(&HELIX);
    let node = known.get("node-v1").unwrap();
    assert!(known.encoder(&node, Framing::Confluent).is_none());
    assert_eq!(known.with_ids(&BTreeMap::from([(1, "none".into()), (2, "audit".into())])).unwrap_err(), [1]);

    let known = known.with_ids(&BTreeMap::from([(7, "node-v1".into()), (300, "node-v2".into())])).unwrap();
    let json = r#"{"run_id":"r","node_id":"n1","timestamp":42}"#;
    let encoder = known.encoder(&node, Framing::Confluent).unwrap();
    let message = encoder.encode(json.as_bytes()).unwrap();
    assert_eq!(hex(&message), "00000000070272046e3154");
    assert_eq!(Framing::of(&message), Some(Framing::Confluent));
    assert_eq!(decode(&known, &message, None).unwrap(), json);
    assert_eq!(decode(&known, b"\0\0\0\x01\x2c\x02r\x04n1\x54\0", Some("node-v1")).unwrap(), json);
    let fault = decode(&known, &[0, 0, 0, 0, 8, 0], None).unwrap_err();
    assert_eq!(fault.to_string(), "unknown_schema: no schema has the id 8");
}

#[test]
fn framings_are_told_by_the_first_bytes() {
    assert_eq!(Framing::of(&[0xc3, 1]), Some(Framing::SingleObject));
    assert_eq!(Framing::of(&[0xc3, 2]), None);
    assert_eq!(Framing::of(b"{}"), None);
    assert_eq!(Framing::of(b""), None);
}

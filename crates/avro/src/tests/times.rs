//! Timestamps as RFC 3339, both ways.

use proptest::prelude::*;

use super::*;

fn timestamp(unit: &str) -> String {
    format!(
        r#"{{"type":"record","name":"T","fields":[{{"name":"at","type":{{"type":"long","logicalType":"timestamp-{unit}"}}}}]}}"#
    )
}

/// A message of `writer`, decoded as `reader`, with times as RFC 3339.
fn as_text(schemas: &AvroSchemas, writer: &str, json: &str, reader: &str) -> Result<String, AvroDecodeError> {
    let message = encode(schemas, writer, json).unwrap();
    let decoder = schemas.decoder(Some(&schemas.get(reader).unwrap()), TimeForm::Rfc3339);
    decoder.decode(&message).map(|json| String::from_utf8(json).unwrap())
}

#[test]
fn a_timestamp_is_rfc_3339_where_that_is_asked_for() {
    let schemas = schemas(&[("node-v1", HELIX[0].1), ("node-v2", HELIX[1].1)]);
    let number = r#"{"run_id":"r","node_id":"n1","timestamp":1767225600000000001}"#;
    let text = r#"{"run_id":"r","node_id":"n1","timestamp":"2026-01-01T00:00:00.000000001Z"}"#;
    assert_eq!(as_text(&schemas, "node-v1", number, "node-v1").unwrap(), text);
    // Of another writer, and of one whose schema does not say that it is a timestamp.
    let with_action = text.replace("}", ",\"action\":\"\"}");
    assert_eq!(as_text(&schemas, "node-v1", number, "node-v2").unwrap(), with_action);
    assert_eq!(encode(&schemas, "node-v1", text), encode(&schemas, "node-v1", number));
    let zoned = text.replace("2026-01-01T00:00:00.000000001Z", "2026-01-01T02:00:00.000000001+02:00");
    assert_eq!(encode(&schemas, "node-v1", &zoned), encode(&schemas, "node-v1", number));
    let message = encode(&schemas, "node-v1", text).unwrap();
    assert_eq!(decode(&schemas, &message, None).unwrap(), number);
}

#[test]
fn a_plain_long_is_read_in_the_readers_unit_and_a_timestamp_in_the_writers() {
    let plain = r#"{"type":"record","name":"T","fields":[{"name":"at","type":"long"},{"name":"x","type":"null"}]}"#;
    let schemas = schemas(&[("plain", plain), ("micros", &timestamp("micros"))]);
    let read = as_text(&schemas, "plain", r#"{"at":1500,"x":null}"#, "micros").unwrap();
    assert_eq!(read, r#"{"at":"1970-01-01T00:00:00.0015Z"}"#);
    let other = r#"{"type":"record","name":"T","fields":[{"name":"at","type":{"type":"long","logicalType":"timestamp-nanos"}},
        {"name":"x","type":"null","default":null}]}"#;
    let schemas = self::schemas(&[("micros", &timestamp("micros")), ("nanos", other)]);
    let read = as_text(&schemas, "micros", r#"{"at":1500}"#, "nanos").unwrap();
    assert_eq!(read, r#"{"at":"1970-01-01T00:00:00.0015Z","x":null}"#);
}

#[test]
fn what_a_unit_can_not_hold_is_refused() {
    let of = |unit: &str| schemas(&[(unit, &timestamp(unit))]);
    let refused = |unit, text: &str| encode(&of(unit), unit, &format!(r#"{{"at":"{text}"}}"#)).unwrap_err();
    let at = |schema, why| format!("does not fit the schema `{schema}` at `/at`: {why}");
    let finer = at("micros", "is finer than the microseconds of its schema");
    assert_eq!(refused("micros", "2026-01-01T00:00:00.0000001Z"), finer);
    let late = at("nanos", "does not fit the 64 bits of its nanoseconds");
    assert_eq!(refused("nanos", "2300-01-01T00:00:00Z"), late);
    let other = at("nanos", "expected RFC 3339, such as `2026-05-01T00:00:00Z`, or long");
    assert_eq!(refused("nanos", "tomorrow"), other);
    let far = as_text(&of("millis"), "millis", r#"{"at":253402300800000}"#, "millis").unwrap_err();
    let detail = "avro_bad_time: a timestamp of 253402300800000 milliseconds has no four-digit year, at byte 17";
    assert_eq!(far.to_string(), detail);
    let early = as_text(&of("millis"), "millis", r#"{"at":-62198755200000}"#, "millis").unwrap_err();
    assert_eq!(early.reason, "avro_bad_time");
}

/// Local timestamps have no zone, so RFC 3339 can't have them.
#[test]
fn a_default_is_shown_as_it_would_be_read() {
    let reader = r#"{"type":"record","name":"T","fields":[
        {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"},"default":1500},
        {"name":"local","type":{"type":"long","logicalType":"local-timestamp-millis"},"default":1500}]}"#;
    let schemas = schemas(&[("writer", r#"{"type":"record","name":"T","fields":[]}"#), ("reader", reader)]);
    let read = as_text(&schemas, "writer", "{}", "reader").unwrap();
    assert_eq!(read, r#"{"at":"1970-01-01T00:00:01.5Z","local":1500}"#);
}

proptest! {
    #[test]
    fn every_nanosecond_comes_back(count in any::<i64>()) {
        let schemas = schemas(&[("nanos", &timestamp("nanos"))]);
        let number = format!(r#"{{"at":{count}}}"#);
        let text = as_text(&schemas, "nanos", &number, "nanos").unwrap();
        prop_assert_eq!(encode(&schemas, "nanos", &text), encode(&schemas, "nanos", &number));
    }
}

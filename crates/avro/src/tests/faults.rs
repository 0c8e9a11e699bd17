//! Each fault has its reason (H45), and an encoding error its path (H44).

use super::*;

const NODE: &str = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"]}]}"#;
const SELF: &str = r#"{"type":"record","name":"Self","fields":[{"name":"self","type":"Self"}]}"#;

fn reason(schema: &str, body: &[u8]) -> &'static str {
    let schemas = schemas(&[("a", schema)]);
    decode(&schemas, &message(&schemas, body), None).unwrap_err().reason
}

#[test]
fn headers() {
    let schemas = schemas(&HELIX);
    let fault = |message: &[u8]| decode(&schemas, message, None).unwrap_err().to_string();
    assert_eq!(fault(b""), "avro_too_short: 0 bytes are no header with a schema");
    assert!(fault(&[0xc3]).starts_with("avro_too_short"));
    assert!(fault(&[0xc3, 1, 0, 0, 0, 0, 0, 0, 0]).starts_with("avro_too_short"));
    assert!(fault(&[0, 0, 0, 1]).starts_with("avro_too_short"));
    assert!(fault(br#"{"run_id":"r"}"#).starts_with("not_avro"));
    assert!(fault(&[0xc3, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0]).starts_with("not_avro"));
    // H46
    assert_eq!(
        fault(&[0xc3, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        "unknown_schema: no schema has the fingerprint 0807060504030201"
    );
}

#[test]
fn truncated() {
    for schema in [r#""int""#, r#""double""#, r#""float""#, r#""boolean""#, r#""string""#] {
        assert_eq!(reason(schema, b""), "avro_truncated", "{schema}");
    }
    assert_eq!(reason(r#""int""#, &[0x80]), "avro_truncated");
    assert_eq!(reason(r#""double""#, &[0; 7]), "avro_truncated");
    assert_eq!(reason(r#"{"type":"fixed","name":"F","size":4}"#, &[0; 3]), "avro_truncated");
    assert_eq!(reason(r#"{"type":"array","items":"int"}"#, &[2, 0]), "avro_truncated");
}

#[test]
fn scalars() {
    assert_eq!(reason(r#""null""#, &[0]), "avro_trailing_bytes");
    assert_eq!(reason(r#""boolean""#, &[2]), "avro_bad_boolean");
    assert_eq!(reason(r#""int""#, &[0x80, 0x80, 0x80, 0x80, 0x10]), "avro_bad_varint");
    assert_eq!(reason(r#""long""#, &[0xff; 10]), "avro_bad_varint");
    assert_eq!(reason(r#""long""#, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), "avro_bad_varint");
    assert_eq!(reason(r#""string""#, &[4, 0xc3, 0x28]), "avro_not_utf8");
    assert_eq!(reason(r#"{"type":"map","values":"null"}"#, &[2, 2, 0xff, 0]), "avro_not_utf8");
    assert_eq!(reason(r#"["null","int"]"#, &[4]), "avro_bad_union");
    assert_eq!(reason(r#"["null","int"]"#, &[1]), "avro_bad_union");
    let symbols = r#"{"type":"enum","name":"E","symbols":["A"]}"#;
    assert_eq!(reason(symbols, &[2]), "avro_bad_enum");
    assert_eq!(reason(symbols, &[1]), "avro_bad_enum");
}

#[test]
fn lengths() {
    let ints = r#"{"type":"array","items":"int"}"#;
    assert_eq!(reason(r#""string""#, &[1]), "avro_bad_length");
    assert_eq!(reason(r#""string""#, &[4, 0]), "avro_bad_length");
    assert_eq!(reason(r#""bytes""#, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), "avro_bad_length");
    assert_eq!(reason(ints, &[0x80, 0x80, 0x80, 0x80, 0x10, 0]), "avro_bad_length");
    // The least long, which has no negation.
    assert_eq!(reason(ints, &[&[0xff; 9][..], &[1, 0, 0]].concat()), "avro_bad_length");
    // Blocks with wrong sizes: too large, negative, and different from what is read.
    assert_eq!(reason(ints, &[1, 8, 2, 0]), "avro_bad_length");
    assert_eq!(reason(ints, &[1, 1, 2, 0]), "avro_bad_length");
    assert_eq!(reason(ints, &[1, 4, 2, 0]), "avro_bad_length");
    let schemas = schemas(&[("a", ints)]);
    assert_eq!(decode(&schemas, &message(&schemas, &[1, 2, 2, 2, 4, 0]), None).unwrap(), "[1,2]");
}

#[test]
fn explosions() {
    let many = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40];
    let skipped = r#"{"type":"record","name":"R","fields":[{"name":"a","type":{"type":"array","items":"null"}}]}"#;
    assert_eq!(reason(r#"{"type":"array","items":"null"}"#, &many), "avro_too_large");
    assert_eq!(reason(&format!(r#"{{"type":"array","items":{SELF}}}"#), &many), "avro_too_deep");
    let schemas = pair(skipped, r#"{"type":"record","name":"R","fields":[]}"#);
    let header = WriterSchema::Fingerprint(schemas.get("writer").unwrap().fingerprint()).header();
    let fault = decode(&schemas, &[&header[..], &many].concat(), Some("reader")).unwrap_err();
    assert_eq!(fault.reason, "avro_too_large");
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":9}"#;
    assert_eq!(reason(decimal, &[&[0x82, 0x10], &[1; 1025][..]].concat()), "avro_too_large");
}

#[test]
fn depth_is_bounded() {
    let schemas = schemas(&[("a", NODE)]);
    let nested = |levels: usize| [vec![2; levels - 1], vec![0]].concat();
    let json = decode(&schemas, &message(&schemas, &nested(100)), None).unwrap();
    assert!(json.ends_with(&format!("null{}", "}".repeat(100))));
    assert_eq!(encode(&schemas, "a", &json).unwrap(), message(&schemas, &nested(100)));
    assert_eq!(decode(&schemas, &message(&schemas, &nested(101)), None).unwrap_err().reason, "avro_too_deep");
    assert_eq!(reason(SELF, &[]), "avro_too_deep");
    let deeper = json.replace("null", r#"{"next":null}"#);
    assert!(encode(&schemas, "a", &deeper).unwrap_err().ends_with("nests more than 100 times"));
    assert!(encode(&schemas, "a", &json.replace("null", &"[".repeat(10_000))).unwrap_err().contains("not JSON"));
}

fn unencodable(schema: &str, json: &str) -> String {
    encode(&schemas(&[("a", schema)]), "a", json).unwrap_err()
}

#[test]
fn what_can_not_be_encoded_is_named() {
    let schemas = schemas(&HELIX);
    let misfit = |json| encode(&schemas, "node-v1", json).unwrap_err();
    assert_eq!(
        misfit(r#"{"run_id":"r","node_id":1,"timestamp":42}"#),
        "does not fit the schema `node-v1` at `/node_id`: expected string"
    );
    assert_eq!(
        misfit(r#"{"run_id":"r","node_id":"n"}"#),
        "does not fit the schema `node-v1` at `/timestamp`: is missing"
    );
    assert_eq!(misfit("[]"), "does not fit the schema `node-v1`: expected object");
    assert!(misfit("{").contains("it is not JSON: EOF"));
    assert!(misfit("").contains("it is not JSON: EOF"));
    // Other members are left out, of several with one name the last counts, and the order does not
    // matter.
    let message = encode(&schemas, "node-v1", r#"{"timestamp":42,"x":{},"node_id":"a","run_id":"r","node_id":"n1"}"#);
    assert_eq!(hex(&message.unwrap()[10..]), "0272046e3154");
}

#[test]
fn values_must_fit() {
    let misfits = [
        (r#""int""#, "2147483648", "does not fit the 32 bits of an int"),
        (r#""int""#, "1.5", "expected int"),
        (r#""long""#, "9223372036854775808", "expected long"),
        (r#""float""#, "1e300", "does not fit the 32 bits of a float"),
        (r#""double""#, r#""1""#, "expected double"),
        (r#""null""#, "0", "is not null"),
        (r#""boolean""#, "0", "expected boolean"),
        (r#""bytes""#, r#""a""#, "is not base64"),
        (r#"{"type":"fixed","name":"F","size":4}"#, r#""YWJj""#, "has 3 bytes instead of 4"),
        (r#"{"type":"enum","name":"E","symbols":["A"]}"#, r#""B""#, "is none of the enum's symbols"),
        (r#"{"type":"map","values":"int"}"#, r#"{"a/b":true}"#, "at `/a~1b`: expected int"),
        (r#"{"type":"array","items":["null","int"]}"#, "[null,true]", "at `/1`: expected int"),
        (r#"["null","int","string"]"#, "true", "fits no branch of the union"),
        (r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#, r#""x""#, "expected a UUID"),
        (
            r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#,
            r#"{"months":-1}"#,
            "expected a duration",
        ),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, r#""1.234""#, "digits after the point"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, r#""123.4""#, "more digits than"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":4,"scale":2}"#, r#""1e3""#, "expected a decimal"),
    ];
    for (schema, json, why) in misfits {
        let misfit = unencodable(schema, json);
        assert!(misfit.contains(why), "{schema} {json}: {misfit}");
    }
}

/// Two branches at each level, of which neither fits in the end.
#[test]
fn unions_within_unions_end() {
    let schema = r#"{"type":"record","name":"A","fields":[{"name":"n","type":["int","A",
        {"type":"record","name":"B","fields":[{"name":"n","type":["int","A","B"]}]}]}]}"#;
    let json = format!("{}true{}", r#"{"n":"#.repeat(90), "}".repeat(90));
    assert!(unencodable(schema, &json).contains("too many tries"));
}

//! Encoding, decoding and encoding again returns the same bytes.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn there_and_back(schema: &str, json: &str, bytes: &str) {
    let schemas = schemas(&[("a", schema)]);
    let message = encode(&schemas, "a", json).unwrap();
    assert_eq!(hex(&message[10..]), bytes, "{schema} {json}");
    assert_eq!(decode(&schemas, &message, None).unwrap(), json, "{schema}");
}

#[test]
fn values() {
    for (json, bytes) in [("null", "00"), ("5", "020a"), ("5.0", "040000000000001440"), (r#""a""#, "060261")] {
        there_and_back(r#"["null","long","double","string"]"#, json, bytes);
    }
    there_and_back(r#""long""#, "-9223372036854775808", "ffffffffffffffffff01");
    there_and_back(r#""long""#, "9223372036854775807", "feffffffffffffffff01");
    there_and_back(r#""float""#, "0.1", "cdcccc3d");
    there_and_back(r#""float""#, r#""-Infinity""#, "000080ff");
    there_and_back(r#""double""#, r#""NaN""#, "000000000000f87f");
    there_and_back(r#""double""#, "-0.0", "0000000000000080");
    there_and_back(r#"["float","double"]"#, "0.1", "00cdcccc3d");
    there_and_back(r#"["float","double"]"#, "0.12345678901", "021f624437dd9abf3f");
    // A float that would be written differently: found by the fuzzer.
    there_and_back(r#"["float","double"]"#, "85899345920.0", "020000000000003442");
    there_and_back(r#""string""#, r#""\"\\\n\u0001ä😀""#, "14225c0a01c3a4f09f9880");
    there_and_back(r#"{"type":"map","values":"int"}"#, r#"{"b":1,"a":2}"#, "0402620202610400");
    there_and_back(r#"{"type":"array","items":"null"}"#, "[null,null]", "0400");
    there_and_back(r#"{"type":"array","items":"null"}"#, "[]", "00");
    let decimal = r#"{"type":"bytes","logicalType":"decimal","precision":6,"scale":2}"#;
    for (json, bytes) in
        [("12.34", "0404d2"), ("-0.01", "02ff"), ("0.00", "0200"), ("-1.28", "0280"), ("1.28", "040080")]
    {
        there_and_back(decimal, &format!("\"{json}\""), bytes);
    }
    let decimal = r#"{"type":"fixed","name":"D","size":4,"logicalType":"decimal","precision":9}"#;
    there_and_back(decimal, r#""-2""#, "fffffffe");
    let uuid = r#"{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}"#;
    there_and_back(uuid, r#""00112233-4455-6677-8899-aabbccddeeff""#, "00112233445566778899aabbccddeeff");
    let duration = r#"{"type":"fixed","name":"D","size":12,"logicalType":"duration"}"#;
    there_and_back(duration, r#"{"months":1,"days":2,"millis":4294967295}"#, "0100000002000000ffffffff");
}

/// Records are told apart by their fields: the first with all of them and no others.
#[test]
fn records_in_unions() {
    let schema = r#"[{"type":"record","name":"A","fields":[{"name":"x","type":"int"}]},
        {"type":"record","name":"B","fields":[{"name":"x","type":"int"},{"name":"y","type":"int","default":0}]}]"#;
    there_and_back(schema, r#"{"x":1}"#, "0002");
    there_and_back(schema, r#"{"x":1,"y":2}"#, "020204");
}

/// A record of all kinds of types. Unions have branches that JSON tells apart.
const RICH: &str = r#"{"type":"record","name":"Rich","namespace":"n","fields":[
    {"name":"boolean","type":"boolean"},{"name":"int","type":"int"},{"name":"long","type":"long"},
    {"name":"float","type":"float"},{"name":"double","type":"double"},
    {"name":"string","type":"string"},{"name":"bytes","type":"bytes"},
    {"name":"fixed","type":{"type":"fixed","name":"F","size":5}},
    {"name":"enum","type":{"type":"enum","name":"E","symbols":["A","B","C"]}},
    {"name":"array","type":{"type":"array","items":["null","string"]}},
    {"name":"map","type":{"type":"map","values":{"type":"array","items":"long"}}},
    {"name":"union","type":["null","boolean","long","double","string",{"type":"map","values":"n.F"}]},
    {"name":"inner","type":["null","Rich"]},
    {"name":"nothing","type":"null"},
    {"name":"decimal","type":{"type":"bytes","logicalType":"decimal","precision":400,"scale":3}},
    {"name":"uuid","type":{"type":"fixed","name":"U","size":16,"logicalType":"uuid"}},
    {"name":"duration","type":{"type":"fixed","name":"D","size":12,"logicalType":"duration"}},
    {"name":"time","type":{"type":"long","logicalType":"timestamp-micros"}}]}"#;

fn zig_zag(out: &mut Vec<u8>, value: i64) {
    let mut bits = ((value << 1) ^ (value >> 63)) as u64;
    while bits >= 0x80 {
        out.push(bits as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

fn prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    zig_zag(out, bytes.len() as i64);
    out.extend(bytes);
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn block(items: Vec<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::new();
    if !items.is_empty() {
        zig_zag(&mut out, items.len() as i64);
    }
    out.extend(items.concat());
    out.push(0);
    out
}

fn branch(index: i64, value: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::new();
    zig_zag(&mut out, index);
    out.extend(value);
    out
}

fn long() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![any::<i64>(), -200_i64..200].prop_map(|value| written(|out| zig_zag(out, value))).boxed()
}

fn int() -> BoxedStrategy<Vec<u8>> {
    any::<i32>().prop_map(|value| written(|out| zig_zag(out, value.into()))).boxed()
}

fn text() -> BoxedStrategy<Vec<u8>> {
    any::<String>().prop_map(|text| written(|out| prefixed(out, text.as_bytes()))).boxed()
}

/// All NaNs have one form in JSON.
fn double() -> BoxedStrategy<Vec<u8>> {
    let any = any::<u64>().prop_map(f64::from_bits).prop_map(|value| if value.is_nan() { f64::NAN } else { value });
    any.prop_map(|value| value.to_le_bytes().to_vec()).boxed()
}

fn float() -> BoxedStrategy<Vec<u8>> {
    let any = any::<u32>().prop_map(f32::from_bits).prop_map(|value| if value.is_nan() { f32::NAN } else { value });
    any.prop_map(|value| value.to_le_bytes().to_vec()).boxed()
}

fn bytes(size: impl Into<proptest::collection::SizeRange>) -> BoxedStrategy<Vec<u8>> {
    proptest::collection::vec(any::<u8>(), size).boxed()
}

fn decimal() -> BoxedStrategy<Vec<u8>> {
    bytes(0..100)
        .prop_map(|bytes| {
            let least = num_bigint::BigInt::from_signed_bytes_be(&bytes).to_signed_bytes_be();
            written(|out| prefixed(out, &least))
        })
        .boxed()
}

/// In JSON, infinities and NaN are strings: a union that has both can't tell them.
fn union() -> BoxedStrategy<Vec<u8>> {
    let finite =
        double().prop_filter("finite", |bytes| f64::from_le_bytes(bytes.as_slice().try_into().unwrap()).is_finite());
    let entry = (text(), bytes(5)).prop_map(|(name, value)| [name, value].concat());
    prop_oneof![
        Just(branch(0, vec![])),
        (0_u8..2).prop_map(|value| branch(1, vec![value])),
        long().prop_map(|value| branch(2, value)),
        finite.prop_map(|value| branch(3, value)),
        text().prop_map(|value| branch(4, value)),
        proptest::collection::vec(entry, 0..3).prop_map(|entries| branch(5, block(entries))),
    ]
    .boxed()
}

fn rich(inner: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let nullable = prop_oneof![Just(branch(0, vec![])), text().prop_map(|value| branch(1, value))];
    let array = proptest::collection::vec(nullable, 0..4).prop_map(block);
    let entry = (text(), proptest::collection::vec(long(), 0..3).prop_map(block))
        .prop_map(|(name, longs)| [name, longs].concat());
    let map = proptest::collection::vec(entry, 0..4).prop_map(block);
    let lengthy = bytes(0..20).prop_map(|bytes| written(|out| prefixed(out, &bytes)));
    let first = ((0_u8..2).prop_map(|value| vec![value]), int(), long(), float(), double(), text(), lengthy, bytes(5));
    let second = (
        (0_u8..3).prop_map(|index| vec![2 * index]),
        array,
        map,
        union(),
        inner,
        decimal(),
        bytes(16),
        bytes(12),
        long(),
    );
    (first, second)
        .prop_map(|((a, b, c, d, e, f, g, h), (i, j, k, l, m, n, o, p, q))| {
            [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q].concat()
        })
        .boxed()
}

fn nested_rich() -> BoxedStrategy<Vec<u8>> {
    let leaf = rich(Just(branch(0, vec![])).boxed());
    leaf.prop_recursive(3, 4, 1, |inner| rich(inner.prop_map(|value| branch(1, value)).boxed())).boxed()
}

proptest! {
    #[test]
    fn every_value_comes_back(body in nested_rich()) {
        let schemas = schemas(&[("a", RICH)]);
        let message = message(&schemas, &body);
        let json = decode(&schemas, &message, None).unwrap();
        prop_assert_eq!(hex(&encode(&schemas, "a", &json).unwrap()), hex(&message), "{}", json);
        prop_assert!(serde_json::from_str::<Value>(&json).is_ok());
    }

    /// The library reads every value alike, where JSON can express it.
    #[test]
    fn the_library_reads_the_same(body in nested_rich()) {
        let library = apache_avro::Schema::parse_str(RICH).unwrap();
        let reader = apache_avro::reader::datum::GenericDatumReader::builder(&library).build().unwrap();
        let mut rest = body.as_slice();
        let value = reader.read_value(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        let schemas = schemas(&[("a", RICH)]);
        let json = decode(&schemas, &message(&schemas, &body), None).unwrap();
        let ours: Value = serde_json::from_str(&json).unwrap();
        let mut said = String::new();
        compare(&value, &ours, &mut said);
        prop_assert!(said.is_empty(), "{}", said);
    }

    /// Any bytes are read or refused, and what is read encodes back to the same.
    #[test]
    fn garbage_ends(body in bytes(0..200)) {
        let schemas = schemas(&[("a", RICH)]);
        if let Ok(json) = decode(&schemas, &message(&schemas, &body), None) {
            let again = encode(&schemas, "a", &json).unwrap();
            prop_assert_eq!(decode(&schemas, &again, None).unwrap(), json);
        }
    }
}

/// Compares only the kinds whose JSON form the library and this module share.
fn compare(library: &apache_avro::types::Value, ours: &Value, said: &mut String) {
    use apache_avro::types::Value as Avro;
    let same = match library {
        Avro::Record(fields) => return fields.iter().for_each(|(name, value)| compare(value, &ours[name], said)),
        Avro::Union(_, value) => return compare(value, ours, said),
        Avro::Array(items) => {
            return items.iter().enumerate().for_each(|(place, item)| compare(item, &ours[place], said));
        }
        Avro::Map(entries) => entries.len() == ours.as_object().unwrap().len(),
        Avro::Null => ours.is_null(),
        Avro::Boolean(value) => ours == value,
        Avro::Int(value) => ours == value,
        Avro::Long(value) | Avro::TimestampMicros(value) => ours == value,
        Avro::String(value) | Avro::Enum(_, value) => ours == value,
        Avro::Double(value) if value.is_finite() => ours.as_f64() == Some(*value),
        Avro::Uuid(value) => *ours == value.to_string(),
        _ => true,
    };
    if !same {
        let _written = writeln!(said, "{library:?} is {ours}");
    }
}

//! Data of one schema read as another (H49).

use super::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)
}

#[test]
fn promotions() {
    let all = [
        ("int", "long", "5", "5"),
        ("int", "float", "5", "5.0"),
        ("int", "double", "5", "5.0"),
        ("long", "float", "5", "5.0"),
        ("long", "double", "5", "5.0"),
        ("float", "double", "0.1", "0.10000000149011612"),
        ("string", "bytes", r#""abc""#, r#""YWJj""#),
        ("bytes", "string", r#""YWJj""#, r#""abc""#),
    ];
    for (writer, reader, wrote, read) in all {
        let (from, to) = (format!("\"{writer}\""), format!("\"{reader}\""));
        assert_eq!(convert(&pair(&from, &to), wrote).unwrap(), read, "{writer} {reader}");
    }
    for (writer, reader, wrote) in [("long", "int", "5"), ("double", "float", "5"), ("int", "string", "5")] {
        let (from, to) = (format!("\"{writer}\""), format!("\"{reader}\""));
        assert_eq!(convert(&pair(&from, &to), wrote).unwrap_err().reason, "avro_unresolvable");
    }
    let fault = decode(
        &pair(r#""bytes""#, r#""string""#),
        &encode(&pair(r#""bytes""#, r#""string""#), "writer", r#""/w==""#).unwrap(),
        Some("reader"),
    );
    assert_eq!(fault.unwrap_err().reason, "avro_not_utf8");
}

#[test]
fn fields_in_the_readers_order_with_defaults_and_aliases() {
    let inner = r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int","default":7},{"name":"y","type":"bytes","default":"\u00ff"}]}"#;
    let schemas = pair(
        &record(
            r#"{"name":"a","type":"int"},{"name":"b","type":"string"},{"name":"c","type":["null","int"]},{"name":"d","type":"long"}"#,
        ),
        &record(&format!(
            r#"{{"name":"dd","type":"long","aliases":["x","d"]}},{{"name":"new","type":{inner},"default":{{"x":1}}}},
            {{"name":"a","type":"double"}},{{"name":"u","type":["null","int"],"default":null}},{{"name":"c","type":["null","long"]}}"#
        )),
    );
    assert_eq!(
        convert(&schemas, r#"{"a":1,"b":"skipped","c":3,"d":4}"#).unwrap(),
        r#"{"dd":4,"new":{"x":1,"y":"/w=="},"a":1.0,"u":null,"c":3}"#
    );
    // Skipped fields must be sound.
    let message = message(&schemas, &[]);
    let header = WriterSchema::Fingerprint(schemas.get("writer").unwrap().fingerprint()).header();
    assert_ne!(message, header);
    let fault = decode(&schemas, &[&header[..], &[2, 2, 0xff, 0, 8]].concat(), Some("reader")).unwrap_err();
    assert_eq!(fault.reason, "avro_not_utf8");
}

/// A written field becomes one field only, and its own name goes before aliases.
#[test]
fn aliases_do_not_take_what_has_its_own_field() {
    let writer = record(r#"{"name":"a","type":"int"}"#);
    let reader = record(r#"{"name":"b","type":"int","default":0,"aliases":["a"]},{"name":"a","type":"int"}"#);
    assert_eq!(convert(&pair(&writer, &reader), r#"{"a":1}"#).unwrap(), r#"{"b":0,"a":1}"#);
    let reader =
        record(r#"{"name":"b","type":"int","aliases":["a"]},{"name":"c","type":"int","aliases":["a"],"default":9}"#);
    assert_eq!(convert(&pair(&writer, &reader), r#"{"a":1}"#).unwrap(), r#"{"b":1,"c":9}"#);
}

#[test]
fn fields_that_nobody_wrote_need_a_default() {
    let schemas = pair(&record(""), &record(r#"{"name":"a","type":"int"}"#));
    let fault = convert(&schemas, "{}").unwrap_err();
    assert_eq!(
        fault.to_string(),
        "avro_unresolvable: `writer` can't be read as `reader`: \
         the reader's field `a` of `R` is not written, and has no default"
    );
}

#[test]
fn named_types_go_by_their_names_or_aliases() {
    let fixed = |name: &str, more: &str| format!(r#"{{"type":"fixed","name":"{name}","size":2{more}}}"#);
    let read = |writer: &str, reader: &str| convert(&pair(writer, reader), r#""AAA=""#).map_err(|fault| fault.reason);
    assert_eq!(read(&fixed("n.A", ""), &fixed("m.A", "")).unwrap(), r#""AAA=""#);
    assert_eq!(read(&fixed("n.A", ""), &fixed("m.B", r#","aliases":["n.A"]"#)).unwrap(), r#""AAA=""#);
    assert_eq!(read(&fixed("n.A", ""), &fixed("n.B", r#","aliases":["A"]"#)).unwrap(), r#""AAA=""#);
    assert_eq!(read(&fixed("A", ""), &fixed("B", "")), Err("avro_unresolvable"));
    let larger = r#"{"type":"fixed","name":"A","size":3}"#;
    assert_eq!(read(&fixed("A", ""), larger), Err("avro_unresolvable"));
}

#[test]
fn symbols() {
    let writer = r#"{"type":"enum","name":"E","symbols":["A","B","C"]}"#;
    let schemas = pair(writer, r#"{"type":"enum","name":"E","symbols":["C","A"]}"#);
    assert_eq!(convert(&schemas, r#""A""#).unwrap(), r#""A""#);
    assert_eq!(convert(&schemas, r#""C""#).unwrap(), r#""C""#);
    assert_eq!(convert(&schemas, r#""B""#).unwrap_err().reason, "avro_unresolvable");
    let schemas = pair(writer, r#"{"type":"enum","name":"E","symbols":["C","X"],"default":"X"}"#);
    assert_eq!(convert(&schemas, r#""B""#).unwrap(), r#""X""#);
}

#[test]
fn unions() {
    // Branches that can't be read only matter when they come.
    let schemas = pair(r#"["null","int","string"]"#, r#"["null","long"]"#);
    assert_eq!(convert(&schemas, "5").unwrap(), "5");
    assert_eq!(convert(&schemas, "null").unwrap(), "null");
    assert_eq!(convert(&schemas, r#""a""#).unwrap_err().reason, "avro_unresolvable");
    assert_eq!(convert(&pair(r#"["int","string"]"#, r#""long""#), "5").unwrap(), "5");
    assert_eq!(convert(&pair(r#"["null","string"]"#, r#""long""#), "null").unwrap_err().reason, "avro_unresolvable");
    // The same type goes before promotions.
    assert_eq!(convert(&pair(r#""int""#, r#"["double","int"]"#), "5").unwrap(), "5");
    assert_eq!(convert(&pair(r#""int""#, r#"["double","string"]"#), "5").unwrap(), "5.0");
}

#[test]
fn types_that_contain_themselves() {
    let list = |of: &str, more: &str| {
        format!(
            r#"{{"type":"record","name":"L","fields":[{{"name":"value","type":"{of}"}},{{"name":"next","type":["null","L"]}}{more}]}}"#
        )
    };
    let schemas = pair(&list("int", ""), &list("long", r#",{"name":"n","type":"int","default":1}"#));
    assert_eq!(
        convert(&schemas, r#"{"value":1,"next":{"value":2,"next":null}}"#).unwrap(),
        r#"{"value":1,"next":{"value":2,"next":null,"n":1},"n":1}"#
    );
    let deep =
        r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]},{"name":"no","type":"int"}]}"#;
    assert_eq!(
        convert(&pair(&list("int", ""), deep), r#"{"value":1,"next":null}"#).unwrap_err().reason,
        "avro_unresolvable"
    );
}

/// Logical types leave no trace in the fingerprint, so an additional field must tell the two apart.
#[test]
fn logical_types() {
    let read = |writer: &str, reader: &str, wrote: &str| {
        let writer = record(&format!(r#"{{"name":"a","type":{writer}}},{{"name":"b","type":"null"}}"#));
        let reader = record(&format!(r#"{{"name":"a","type":{reader}}}"#));
        let json = convert(&pair(&writer, &reader), &format!(r#"{{"a":{wrote},"b":null}}"#));
        json.map_err(|fault| fault.reason)
    };
    let decimal = |scale: u8| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#);
    assert_eq!(read(&decimal(2), r#""bytes""#, r#""12.34""#).unwrap(), r#"{"a":"BNI="}"#);
    assert_eq!(read(r#""bytes""#, &decimal(2), r#""BNI=""#).unwrap(), r#"{"a":"12.34"}"#);
    assert_eq!(read(&decimal(2), &decimal(3), r#""12.34""#), Err("avro_unresolvable"));
    let date = r#"{"type":"int","logicalType":"date"}"#;
    assert_eq!(read(date, r#""long""#, "19000").unwrap(), r#"{"a":19000}"#);
}

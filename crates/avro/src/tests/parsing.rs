//! Schema files and their references to each other.

use super::*;

fn problems(files: &[(&str, &str)]) -> Vec<(usize, String)> {
    AvroSchemas::parse(files).unwrap_err().into_iter().map(|problem| (problem.file, problem.why)).collect()
}

fn problem(schema: &str) -> String {
    problems(&[("a", schema)]).remove(0).1
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"to","type":"Address"},{"name":"from","type":["null","shop.Address"]},{"name":"state","type":"State"}]}"#;
const ADDRESS: &str = r#"{"type":"record","name":"shop.Address","fields":[{"name":"city","type":"string"},
    {"name":"kind","type":{"type":"enum","name":"State","symbols":["A","B"]}}]}"#;

#[test]
fn files_refer_to_each_other_in_any_order() {
    let there = schemas(&[("order", ORDER), ("address", ADDRESS)]);
    let back = schemas(&[("address", ADDRESS), ("order", ORDER)]);
    assert_eq!(there.get("order"), back.get("order"));
    assert_eq!(
        there.get("order").unwrap().canonical_form(),
        r#"{"name":"shop.Order","type":"record","fields":[{"name":"to","type":{"name":"shop.Address","type":"record","fields":[{"name":"city","type":"string"},{"name":"kind","type":{"name":"shop.State","type":"enum","symbols":["A","B"]}}]}},{"name":"from","type":["null","shop.Address"]},{"name":"state","type":"shop.State"}]}"#
    );
    assert_eq!(there.get("shop.Order"), there.get("order"));
    assert_eq!(there.names().collect::<Vec<_>>(), ["address", "order"]);
    let json = r#"{"to":{"city":"x","kind":"A"},"from":{"city":"y","kind":"B"},"state":"B"}"#;
    let message = encode(&there, "order", json).unwrap();
    assert_eq!(decode(&there, &message, None).unwrap(), json);
}

/// Each refers to the other.
#[test]
fn files_may_refer_to_each_other_both_ways() {
    let a = r#"{"type":"record","name":"A","fields":[{"name":"b","type":["null","B"]}]}"#;
    let b = r#"{"type":"record","name":"B","fields":[{"name":"a","type":["null","A"]}]}"#;
    let schemas = schemas(&[("a", a), ("b", b)]);
    let json = r#"{"b":{"a":{"b":null}}}"#;
    let message = encode(&schemas, "a", json).unwrap();
    assert_eq!(decode(&schemas, &message, None).unwrap(), json);
}

#[test]
fn names_of_other_files_must_mean_one_thing() {
    let log = r#"{"type":"array","items":"NodeEvent"}"#;
    let files = [HELIX[0], HELIX[1], ("log", log)];
    let why = "`NodeEvent` may be that of `node-v1` or that of `node-v2`, and they differ";
    assert_eq!(problems(&files), [(2, why.to_owned())]);
    // Equal schemas count as one.
    let schemas = schemas(&[HELIX[0], ("copy", HELIX[0].1), ("log", log)]);
    assert_eq!(schemas.get("NodeEvent").unwrap().name(), "copy");
    assert_eq!(schemas.by_fingerprint(0x8770_6116_7ad1_b0b0).unwrap().name(), "copy");
}

#[test]
fn all_problems_are_found() {
    let files = [("a", "{"), ("b", r#""B""#), HELIX[0], ("c", "1"), ("node-v1", r#""int""#)];
    let found = problems(&files);
    assert_eq!(found.iter().map(|(file, _)| *file).collect::<Vec<_>>(), [0, 1, 3, 4]);
    assert!(found[0].1.starts_with("it is not JSON: EOF"), "{found:?}");
    assert_eq!(found[1].1, "there is no type `B`");
    assert_eq!(found[3].1, "there is a schema `node-v1` already");
}

#[test]
fn what_is_no_schema() {
    let field = |field: &str| format!(r#"{{"type":"record","name":"R","fields":[{field}]}}"#);
    let bad = [
        ("{}".to_owned(), "a type has no `type`"),
        (r#"{"type":"record","fields":[]}"#.to_owned(), "has no `name`"),
        (r#"{"type":"record","name":"R"}"#.to_owned(), "`R` has no `fields`"),
        (r#"{"type":"record","name":"a-b","fields":[]}"#.to_owned(), "`a-b` is not a valid name of a type"),
        (r#"{"type":"fixed","name":"int","size":1}"#.to_owned(), "`int` is not a valid name of a type"),
        (r#"{"type":"fixed","name":"F","size":-1}"#.to_owned(), "`F` has no proper `size`"),
        (r#"{"type":"enum","name":"E","symbols":["a","a"]}"#.to_owned(), "some of them the same"),
        (r#"{"type":"enum","name":"E","symbols":["a"],"default":"b"}"#.to_owned(), "is none of its symbols"),
        (r#"{"type":"array"}"#.to_owned(), "an array has no `items`"),
        (r#"["int","int"]"#.to_owned(), "a union has two branches `int`"),
        (r#"["int",["null"]]"#.to_owned(), "a union is a branch of another"),
        ("[]".to_owned(), "a union has no branches"),
        (r#"{"type":"bytes","logicalType":"decimal","precision":1001}"#.to_owned(), "more than 1000 digits"),
        (field("1"), "a field of `R` is not an object"),
        (field(r#"{"name":"a b","type":"int"}"#), "has no proper name"),
        (field(r#"{"name":"a","type":"int"},{"name":"a","type":"int"}"#), "`R` has two fields `a`"),
        (
            field(r#"{"name":"a","type":"int","default":"x"}"#),
            "the default of field `a` of `R` does not fit: expected int",
        ),
        (field(r#"{"name":"a","type":"bytes","default":"ā"}"#), "stand for no byte"),
        // A default that would have to contain itself.
        (field(r#"{"name":"a","type":"R","default":{}}"#), "`/a`: is missing"),
        (field(r#"{"name":"a","type":{"type":"record","name":"R","fields":[]}}"#), "`R` is defined twice"),
    ];
    for (schema, why) in bad {
        let found = problem(&schema);
        assert!(found.contains(why), "{schema}: {found}");
    }
}

/// Each file is flat, but all of them together are not.
#[test]
fn depth_is_bounded() {
    let files: Vec<(String, String)> = (0..400)
        .map(|n| {
            let next = if n == 399 { "int".to_owned() } else { format!("R{}", n + 1) };
            let text = format!(r#"{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"{next}"}}]}}"#);
            (format!("r{n}"), text)
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let found = problems(&files);
    assert_eq!(found[0], (0, "nests more than 200 types".to_owned()));
}

#[test]
fn logical_types_that_make_no_sense_are_left_out() {
    for schema in [
        r#"{"type":"bytes","logicalType":"decimal","precision":1,"scale":2}"#,
        r#"{"type":"bytes","logicalType":"uuid"}"#,
        r#"{"type":"bytes","logicalType":"decimal"}"#,
    ] {
        let schemas = schemas(&[("a", schema)]);
        assert_eq!(schemas.get("a").unwrap().canonical_form(), r#""bytes""#);
        assert_eq!(decode(&schemas, &message(&schemas, &[2, 0]), None).unwrap(), r#""AA==""#);
    }
}

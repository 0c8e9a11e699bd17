use JsonEdit::{Remove, Rename, Set};

use super::*;
use crate::json::PointerTree;

fn set<'a>(pointer: &'a str, value: &'a str) -> JsonEdit<'a> {
    Set(pointer, value.as_bytes())
}

fn made(json: &str, edits: &[JsonEdit<'_>]) -> Result<String, EditError> {
    edited(json.as_bytes(), edits).map(|out| String::from_utf8(out).unwrap())
}

/// Asserts what becomes of a text by one edit.
fn becomes(json: &str, edit: JsonEdit<'_>, expected: &str) {
    assert_eq!(made(json, &[edit]).as_deref(), Ok(expected), "{edit:?} of {json}");
}

#[test]
fn a_member_is_set_where_it_stands() {
    becomes(r#" { "a" : 1.10 , "b":[ 2 ] } "#, set("/a", " {\"x\":1}\n"), r#" { "a" : {"x":1} , "b":[ 2 ] } "#);
    becomes(r#"{"a":{"b":{"c":1},"d":2}}"#, set("/a/b/c", "null"), r#"{"a":{"b":{"c":null},"d":2}}"#);
    becomes(r#"{"a\u0062":1,"c":2}"#, set("/ab", "3"), r#"{"a\u0062":3,"c":2}"#);
    becomes(r#"{"m~n":{"a/b":1}}"#, set("/m~0n/a~1b", "2"), r#"{"m~n":{"a/b":2}}"#);
    becomes("\n[1]\n", set("", r#"{"a":1}"#), r#"{"a":1}"#);
    becomes("no JSON", set("", "7"), "7");
}

#[test]
fn an_absent_member_is_added_behind_the_others() {
    becomes("{}", set("/a", "1"), r#"{"a":1}"#);
    becomes(r#"{"a":1}"#, set("/b\"ü", "2"), r#"{"a":1,"b\"ü":2}"#);
    becomes(r#"{ "a": 1 }"#, set("/b", "2"), r#"{ "a": 1, "b": 2 }"#);
    becomes("{\n  \"a\": 1\n}\n", set("/b", "2"), "{\n  \"a\": 1,\n  \"b\": 2\n}\n");
    becomes("{}", set("/a/0/c", "1"), r#"{"a":{"0":{"c":1}}}"#);
    becomes("{}", set("/list/-/x", "1"), r#"{"list":[{"x":1}]}"#);
    becomes(r#"{"a":{"b":1}}"#, set("/a/c/d", "2"), r#"{"a":{"b":1,"c":{"d":2}}}"#);
}

#[test]
fn elements_are_set_and_added() {
    becomes("[1, 2 ,3 ]", set("/1", "9"), "[1, 9 ,3 ]");
    becomes("[1, 2 ,3 ]", set("/3", "9"), "[1, 2 ,3,9 ]");
    becomes("[1, 2]", set("/-", "9"), "[1, 2, 9]");
    becomes("[]", set("/0", "9"), "[9]");
    becomes(r#"[[],{}]"#, set("/1/a", "9"), r#"[[],{"a":9}]"#);
    becomes("[]", set("/-/a/b", "9"), r#"[{"a":{"b":9}}]"#);
}

#[test]
fn what_is_removed_leaves_no_comma() {
    let json = r#"{ "a": 1, "b": 2 , "c": 3 }"#;
    becomes(json, Remove("/a"), r#"{ "b": 2 , "c": 3 }"#);
    becomes(json, Remove("/b"), r#"{ "a": 1, "c": 3 }"#);
    becomes(json, Remove("/c"), r#"{ "a": 1, "b": 2  }"#);
    becomes(r#"{"a": 1, "b": 2}"#, Remove("/a"), r#"{"b": 2}"#);
    becomes(r#"{"a":1}"#, Remove("/a"), "{}");
    becomes("{\n  \"a\": 1,\n  \"b\": 2\n}", Remove("/b"), "{\n  \"a\": 1\n}");
    becomes("[1, 2, 3]", Remove("/0"), "[2, 3]");
    becomes("[1, 2, 3]", Remove("/2"), "[1, 2]");
    becomes("[ 7 ]", Remove("/0"), "[ ]");
    for absent in ["/x", "/a/x", "/a/b/x", "/l/1", "/l/-", "/l/x", "/l/01", "/s/x/y"] {
        let json = r#"{"a":{"b":1},"l":[1],"s":"x"}"#;
        becomes(json, Remove(absent), json);
    }
}

#[test]
fn a_renamed_member_keeps_value_and_place() {
    becomes(r#"{"a": [1] ,"b":2}"#, Rename("/a", "c\n"), r#"{"c\n": [1] ,"b":2}"#);
    becomes(r#"{"a":1,"b":2,"c":3}"#, Rename("/c", "a"), r#"{"b":2,"a":3}"#);
    becomes(r#"{"a":1,"b":2}"#, Rename("/a", "a"), r#"{"a":1,"b":2}"#);
    becomes(r#"{"a":{"b":{}}}"#, Rename("/a/b", ""), r#"{"a":{"":{}}}"#);
    for absent in ["/x", "/a/x", "/x/y"] {
        becomes(r#"{"a":1}"#, Rename(absent, "z"), r#"{"a":1}"#);
    }
}

/// Whoever reads the first of two members must not find what an edit took out of the last.
#[test]
fn no_other_member_of_the_name_stays() {
    let json = r#"{"a":"secret","b":1,"\u0061":"secret too"}"#;
    becomes(json, Remove("/a"), r#"{"b":1}"#);
    becomes(json, set("/a", "0"), r#"{"b":1,"\u0061":0}"#);
    becomes(json, Rename("/a", "c"), r#"{"b":1,"c":"secret too"}"#);
    becomes(json, Rename("/b", "a"), r#"{"a":1}"#);
    becomes(r#"{"a":{"x":"secret"},"a":{"y":1}}"#, Remove("/a/x"), r#"{"a":{"y":1}}"#);
    becomes(r#"{"a":1,"a":2,"a":3}"#, Rename("/a", "a"), r#"{"a":3}"#);
    becomes(r#"{ "a":1,"b":2,"b":3}"#, set("/a", "7"), r#"{ "a":7,"b":2,"b":3}"#);
}

#[test]
fn edits_are_made_one_after_the_other() {
    let edits = [
        set("/a/b", "[1,2]"),
        set("/a/b/-", "3"),
        Remove("/a/b/0"),
        Rename("/a", "c"),
        set("/c/b/0", r#"{"x":{"y":1}}"#),
        Remove("/c/b/0/x/y"),
        set("/c/b/0/x/z", "true"),
    ];
    assert_eq!(made("{}", &edits).as_deref(), Ok(r#"{"c":{"b":[{"x":{"z":true}},3]}}"#));
    assert_eq!(made(" {} ", &[]).as_deref(), Ok(" {} "));
    assert_eq!(made("{}", &[set("", "[1]"), set("/1", "2")]).as_deref(), Ok("[1,2]"));
    let moved = [Remove("/0"), set("/0/a", "1")];
    assert_eq!(made(r#"[{"a":0},{"a":0},{"a":0}]"#, &moved).as_deref(), Ok(r#"[{"a":1},{"a":0}]"#));
}

#[test]
fn what_can_not_be_edited_is_told_with_the_way_out() {
    let error = |json: &str, edit| made(json, &[edit]).unwrap_err().to_string();
    let json = r#"{"a":{"n":1.5,"s":"x","t":true,"z":null,"l":[1,2]}}"#;
    for (edit, expected) in [
        (set("/a/n/x", "1"), "an edit sets `/a/n/x`, but `/a/n` is a number, which has no members: set `/a/n` first"),
        (set("/a/s/x/y", "1"), "an edit sets `/a/s/x/y`, but `/a/s` is a string, "),
        (set("/a/t/0", "1"), "an edit sets `/a/t/0`, but `/a/t` is a boolean, "),
        (set("/a/z/0", "1"), "an edit sets `/a/z/0`, but `/a/z` is `null`, "),
        (set("/a/l/3", "1"), "an edit sets `/a/l/3`, but `/a/l` is an array of 2: name an index up to 2, or `-`"),
        (set("/a/l/x/y", "1"), "an edit sets `/a/l/x/y`, but `/a/l` is an array of 2: "),
        (set("/a/l/01", "1"), "an edit sets `/a/l/01`, but `/a/l` is an array of 2: "),
        (set("/a", "1 2"), "an edit sets `/a` to what is not one JSON text: trailing characters at line 1 column 3"),
        (set("/a", ""), "an edit sets `/a` to what is not one JSON text: "),
        (Rename("/a/l/0", "x"), "an edit renames `/a/l/0`, an element of an array"),
        (Remove(""), "an edit removes or renames the whole payload"),
        (Rename("", "x"), "an edit removes or renames the whole payload"),
        (Remove("a"), "an edit changes `a`: a JSON pointer is empty or begins with `/`"),
        (Remove("/~2"), "an edit changes `/~2`: in a JSON pointer, `~` is followed by"),
    ] {
        assert!(error(json, edit).starts_with(expected), "{edit:?}: {}", error(json, edit));
    }
    assert!(error("12", set("/a", "1")).starts_with("an edit sets `/a`, but the whole payload is a number"));
    let deep = "/a".repeat(MOST_STEPS + 1);
    assert!(error("{}", set(&deep, "1")).ends_with("which has more than 128 steps"));
    assert!(made("{}", &[set(&deep[2..], "1")]).is_ok());
    assert!(matches!(made("{}", &[Remove("/a"); MOST_EDITS + 1]), Err(EditError::TooMany(1025))));
}

#[test]
fn a_payload_that_is_not_json_is_not_edited() {
    for json in [
        "",
        " ",
        "hello",
        "12 apples",
        "{",
        r#"{"a""#,
        r#"{"a":1"#,
        r#"{"a":1}}"#,
        "{} {}",
        "[1 2]",
        r#"{"b":1 "a":2}"#,
    ] {
        for edit in [set("/a", "1"), Remove("/a"), Rename("/a", "b")] {
            assert_eq!(made(json, &[edit]), Err(EditError::NotJson { pointer: "/a".to_owned() }), "{json}");
        }
    }
    becomes("12", Remove("/a"), "12");
}

/// The time for edits is bounded, whatever the text and the edits are.
#[test]
fn many_edits_of_many_members_are_refused() {
    let members: Vec<_> = (0..50_000).map(|n| format!("\"{n}\":1")).collect();
    let json = format!("{{{}}}", members.join(","));
    let names: Vec<_> = (0..MOST_EDITS).map(|n| format!("/x{n}")).collect();
    let edits: Vec<_> = names.iter().map(|name| Remove(name)).collect();
    assert_eq!(made(&json, &edits), Err(EditError::TooMuch));
    assert_eq!(made(&json, &edits[..20]).as_deref(), Ok(&*json));
    let elements = format!("[{}1]", "1,".repeat(50_000));
    assert_eq!(made(&elements, &[Remove("/0"); MOST_EDITS]), Err(EditError::TooMuch));
    let again = [Remove("/0"), set("", &elements)].repeat(MOST_EDITS / 2);
    assert_eq!(made(&elements, &again), Err(EditError::TooMuch));
    assert!(made(&elements, &[set("/0", "2"); MOST_EDITS]).is_ok());
    let deep = format!("{}1{}", "[".repeat(1 << 20), "]".repeat(1 << 20));
    becomes(&deep, Remove("/1"), &deep);
    assert!(made(&deep, &[set(&"/0".repeat(MOST_STEPS), "1")]).is_ok());
}

/// The reading that an outline saves is seen where it would find something else than was noted.
#[test]
fn what_a_walk_has_noted_is_not_read_again() {
    let noted = |json: &str, pointers: &[&str]| {
        let mut outline = JsonOutline::default();
        let tree = PointerTree::new(pointers.iter().copied()).unwrap();
        tree.find_outlined(json.as_bytes(), &mut outline).unwrap();
        outline
    };
    let along = |json: &str, outline: &JsonOutline, edit| {
        edited_along(json.as_bytes(), outline, &[edit]).map(|out| String::from_utf8(out).unwrap())
    };
    let (text, other) = (r#"{"a":{"b":1}, "c":[2]}"#, r#"{"a":{"b":1}; "c":[2]}"#);
    let outline = noted(text, &["/a/b"]);
    for (edit, expected) in [
        (set("/d", "3"), r#"{"a":{"b":1}, "c":[2], "d":3}"#),
        (set("/a/b", "3"), r#"{"a":{"b":3}, "c":[2]}"#),
        (Remove("/c"), r#"{"a":{"b":1}}"#),
    ] {
        assert_eq!(along(text, &outline, edit).as_deref(), Ok(expected));
        assert!(along(other, &JsonOutline::default(), edit).is_err() && along(other, &outline, edit).is_ok());
    }
    // What was passed over is read, as before.
    assert!(along(other, &outline, set("/c/0", "3")).is_err());
    assert_eq!(along(text, &outline, set("/c/0", "3")).as_deref(), Ok(r#"{"a":{"b":1}, "c":[3]}"#));
    // So is a text with very many members.
    let members: Vec<_> = (0..300).map(|n| format!("\"{n}\":1")).collect();
    let wide = format!("{{{}}}", members.join(","));
    let edited = along(&wide, &noted(&wide, &["/7"]), Remove("/299")).unwrap();
    assert_eq!(edited, format!("{{{}}}", members[..299].join(",")));
    let often = format!("{{{}\"a\":{{}}}}", "\"a\":{},".repeat(300));
    assert_eq!(along(&often, &noted(&often, &["/a/b"]), Remove("/a")).as_deref(), Ok("{}"));
}

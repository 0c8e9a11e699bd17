//! Outputs are what their key's schema says, or their event is a dead letter that names the place
//! that does not fit.

use crate::router;

use std::{collections::BTreeSet, io::Write};

use router::{Folder, trommel};
use serde_json::{Value, json};

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    path = "events.ndjson"
    id = "/id"

    [[sink]]
    name = "out"
    type = "stdout"
"#;

const MISBEHAVE: &str = "[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n";

const FROM_STDIN: &str = r#"
    [[source]]
    name = "events"
    type = "lines"

    [[sink]]
    name = "out"
    type = "stdout"
"#;

const SCHEMA: &str = r#"{ "type": "object", "properties": { "amount": { "type": "integer" } } }"#;

/// A key for all events with these fields, and its route.
fn key(fields: &str, route: &str) -> String {
    let key = format!("[[key]]\nkey = \"orders\"\nsubject = \"events\"\n{fields}\n");
    format!("{key}\n[[route]]\nkey = \"orders\"\nsinks = [\"out\"]\n{route}\n")
}

fn folder(fields: &str) -> Folder {
    Folder::new(SETTINGS).write("keys/orders.toml", &key(fields, "")).write("schemas/order.json", SCHEMA)
}

fn dead_letters(folder: &Folder) -> Vec<Value> {
    folder.read("dead-letters.ndjson").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What comes out of a run, and its dead letters.
fn run(folder: &Folder) -> (Vec<String>, Vec<Value>) {
    let output = folder.run();
    assert!(output.status.success(), "{output:?}");
    let mut lines: Vec<_> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    (lines, dead_letters(folder))
}

#[test]
fn an_output_that_does_not_fit_makes_its_event_a_dead_letter_with_the_pointer() {
    let folder = folder("[key.schema.custom]\nfile = \"order.json\"");
    let folder = folder.write("events.ndjson", "{\"amount\":1}\n{\"amount\":\"secret\"}\n{\"amount\":3}\nno json\n");
    let (outputs, dead_letters) = run(&folder);
    assert_eq!(outputs, [r#"{"amount":1}"#, r#"{"amount":3}"#]);
    let letter = dead_letters.iter().find(|letter| letter["payload"] == json!({ "amount": "secret" })).unwrap();
    assert_eq!(letter["reason"], "schema_mismatch");
    assert_eq!(letter["key"], "orders");
    let detail = r#"output 0 does not fit the key's schema at `/amount`: value is not of type "integer""#;
    assert_eq!(letter["detail"], detail);
}

#[test]
fn an_output_that_is_not_json_does_not_fit() {
    let fields = "filter = \"misbehave\"\nparams = [{ name = \"mode\" }]\n[key.schema.custom]\nfile = \"order.json\"";
    let folder = folder(fields).write("keys/orders.toml", &key(fields, "params = { mode = \"replace\" }"));
    let folder = folder.write("trommel.toml", &format!("{SETTINGS}{MISBEHAVE}"));
    let folder = folder.write("events.ndjson", "{}\n").plugin("misbehave", "misbehave");
    let (outputs, dead_letters) = run(&folder);
    assert_eq!(outputs, [""; 0]);
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0]["reason"], "schema_mismatch");
    assert_eq!(dead_letters[0]["detail"], "output 0 is not JSON: expected value at line 1 column 1");
    assert_eq!((&dead_letters[0]["filter"], &dead_letters[0]["tries"]), (&json!("misbehave"), &json!(1)));
}

/// The filter emits `0`, `1` and `2`; sent on before the last was looked at, the first would come
/// twice one day.
#[test]
fn of_a_route_with_one_bad_output_none_goes_out() {
    let params = "params = [{ name = \"mode\" }, { name = \"n\", type = \"int\" }]";
    let schema = "[key.schema.custom]\ninline = { type = \"integer\", maximum = 1 }";
    let fields = format!("filter = \"misbehave\"\n{params}\n{schema}");
    let two = "[[route]]\nkey = \"orders\"\nsinks = [\"out\"]\nparams = { mode = \"emit\", n = 2 }\n";
    let routes = format!("params = {{ mode = \"emit\", n = 3 }}\n{two}");
    let folder = Folder::new(&format!("{SETTINGS}{MISBEHAVE}")).write("keys/orders.toml", &key(&fields, &routes));
    let folder = folder.write("events.ndjson", "{}\n").plugin("misbehave", "misbehave");
    let (outputs, dead_letters) = run(&folder);
    assert_eq!(outputs, ["0", "1"], "those of the route with two");
    assert_eq!(dead_letters.len(), 1);
    let detail = "output 2 does not fit the key's schema: value is greater than the maximum of 1";
    assert_eq!(dead_letters[0]["detail"], detail);
}

/// Conditions, filters, schemas and sinks have one idea of what a text says that parsers read
/// differently: of members with one name the last counts, half a surrogate pair is U+FFFD, a byte
/// order mark is nothing.
#[test]
fn all_read_the_same_in_json() {
    let schema = "[key.schema.custom]\nfile = \"order.json\"";
    let events = [
        "\u{feff}{\"id\":\"1\",\"amount\":1000000,\"amount\":100}",
        r#"{"id":"2","amount":100,"amount":1000000}"#,
        r#"{"id":"3","amount":100,"amount":"100"}"#,
        r#"{"id":"4","amount":7,"cut":"\ud83d","\udc00":1}"#,
        r#"{"id":"5","\u0061mount":8,"amount":9e3,"pair":"\ud83d\ude00"}"#,
    ];
    let folder = |filter: &str, params: &str| {
        let fields = format!("filter = \"{filter}\"\n{params}\n{schema}");
        let params = "params = { where = \"/amount <= 500\", keep = \"/amount, /cut\" }";
        let route = if filter == "select" { params } else { "" };
        let folder = Folder::new(SETTINGS).write("keys/orders.toml", &key(&fields, route));
        let folder = folder.write("schemas/order.json", SCHEMA).plugin(filter, filter);
        folder.write("events.ndjson", &events.join("\n"))
    };
    let (outputs, dead_letters) = run(&folder("select", "params = [{ name = \"where\" }, { name = \"keep\" }]"));
    let is_mismatch = |dead_letters: &[Value]| {
        // Text compares as text, and the schema wants a number: all go by the last one.
        let [letter] = dead_letters else { panic!("{dead_letters:?}") };
        assert_eq!((&letter["id"], &letter["reason"]), (&json!("3"), &json!("schema_mismatch")));
    };
    assert_eq!(outputs, [r#"{"amount":100}"#, "{\"amount\":7,\"cut\":\"\u{fffd}\"}"], "{dead_letters:?}");
    is_mismatch(&dead_letters);

    let (outputs, dead_letters) = run(&folder("redact", ""));
    let amounts: Vec<_> =
        outputs.iter().map(|line| serde_json::from_str::<Value>(line).unwrap()["amount"].clone()).collect();
    assert_eq!(amounts, [json!(100), json!(1_000_000), json!(7), json!(9e3)]);
    is_mismatch(&dead_letters);
}

#[test]
fn nothing_is_held_against_a_schema_that_is_off() {
    let folder = folder("validate = \"off\"\n[key.schema.custom]\nfile = \"order.json\"");
    let (outputs, dead_letters) = run(&folder.write("events.ndjson", "{\"amount\":\"1\"}\n"));
    assert_eq!(outputs, [r#"{"amount":"1"}"#]);
    assert_eq!(dead_letters, [Value::Null; 0]);
}

#[test]
fn a_sample_is_of_the_same_events_every_time() {
    let events: String = (0..1000).map(|id| format!("{{\"id\":\"e{id}\",\"amount\":\"1\"}}\n")).collect();
    let sample = || {
        let folder = folder("validate = \"sample\"\n[key.schema.custom]\nfile = \"order.json\"");
        let (outputs, dead_letters) = run(&folder.write("events.ndjson", &events));
        assert_eq!(outputs.len() + dead_letters.len(), 1000);
        dead_letters.iter().map(|letter| letter["id"].to_string()).collect::<BTreeSet<_>>()
    };
    let sampled = sample();
    assert!((1..30).contains(&sampled.len()), "{sampled:?}");
    assert_eq!(sampled, sample());
}

/// L15
#[test]
fn a_native_schema_looks_into_the_envelope() {
    let event =
        |amount: &str| format!(r#"{{"schema":"2.0","header":{{"event_id":"e"}},"event":{{"amount":{amount}}}}}"#);
    let events = format!("{}\n{}\n{{\"amount\":3}}\n", event("1"), event("\"2\""));
    let folder = folder("[key.schema.native]\nfile = \"order.json\"").write("events.ndjson", &events);
    let (outputs, dead_letters) = run(&folder);
    assert_eq!(outputs, [event("1")]);
    let details: BTreeSet<_> = dead_letters.iter().map(|letter| letter["detail"].as_str().unwrap()).collect();
    let bare = "output 0 does not fit the key's schema: \"schema\" is a required property";
    let inside = "output 0 does not fit the key's schema at `/event/amount`: value is not of type \"integer\"";
    assert_eq!(details, BTreeSet::from([bare, inside]));
}

#[test]
fn a_changed_schema_is_a_reload_and_a_bad_one_leaves_the_old_in_force() {
    let folder = Folder::new(FROM_STDIN).write("schemas/order.json", SCHEMA);
    let folder = folder.write("keys/orders.toml", &key("[key.schema.custom]\nfile = \"order.json\"", ""));
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    writeln!(stdin, "{{\"amount\":\"1\"}}").unwrap();
    router.wait_for("schema_mismatch");

    folder.put("schemas/order.json", SCHEMA.replace("integer", "strin").as_bytes());
    let refused = router.wait_for("not reloaded");
    assert!(
        refused.contains("schemas/order.json: it is not a valid JSON Schema at `/properties/amount/type`"),
        "{refused}"
    );
    writeln!(stdin, "{{\"amount\":\"2\"}}").unwrap();
    router.wait_for("schema_mismatch");

    folder.put("schemas/order.json", SCHEMA.replace("integer", "string").as_bytes());
    router.wait_for("reloaded");
    writeln!(stdin, "{{\"amount\":\"3\"}}").unwrap();
    router.wait_for_output("{\"amount\":\"3\"}");
    assert!(router.stop().status.success());
    assert_eq!(dead_letters(&folder).len(), 2);
}

/// L10: `stamp-v1` has `process`.
#[test]
fn a_native_key_takes_no_filter_that_processes() {
    let fields = "filter = \"stamp-v1\"\n[key.schema]\nnative = true";
    let folder = folder("").write("keys/orders.toml", &key(fields, "")).write("events.ndjson", "");
    let folder = folder.plugin("stamp-v1", "stamp-v1");
    let output = trommel().arg("check").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "keys/orders.toml:1:1: key `orders` has a native schema, but its filter `stamp-v1` has `process`";
    assert!(stderr.contains(expected), "{stderr}");
}

/// L10, while the router runs.
#[test]
fn a_native_key_keeps_its_filter_when_the_next_one_processes() {
    let fields = "filter = \"match\"\n[key.schema]\nnative = true";
    let folder = Folder::new(FROM_STDIN).write("keys/orders.toml", &key(fields, "")).plugin("match", "match-type");
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    let folder = folder.plugin("match", "stamp-v1");
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("plugins/match.wasm") && refused.contains("has `process`"), "{refused}");
    let event = r#"{"schema":"2.0","header":{},"event":{}}"#;
    writeln!(stdin, "{event}").unwrap();
    router.wait_for_output(event);
    assert!(router.stop().status.success());
    drop(folder);
}

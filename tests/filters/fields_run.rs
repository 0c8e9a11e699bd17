//! Version 0.2 of the contract in a router: batches, chosen sinks, buried outputs, deferred events.

use std::{collections::BTreeMap, fs, process::Output};

use serde_json::Value;

use crate::router::Folder;

const SETTINGS: &str = r#"
[[source]]
name = "in"
type = "lines"
id = "/id"
subject = "/subject"
[[sink]]
name = "out"
type = "stdout"
[[sink]]
name = "alerts"
type = "file"
path = "alerts.ndjson"
[[filter]]
name = "fields"
grants = ["state"]
[dead_letter]
file = "dead.ndjson"
"#;

fn folder(params: &str, events: impl IntoIterator<Item = String>) -> Folder {
    let key = format!(
        r#"
[[key]]
key = "orders"
subject = "orders.>"
filter = "fields"
order_by = "/group"
[[key.params]]
name = "mode"
[[key.params]]
name = "argument"
[[key.params]]
name = "where"
[[key.params]]
name = "match_reads"
[[key.params]]
name = "process_reads"
[[key.params]]
name = "wanted"
[[key.params]]
name = "sinks"

[[route]]
key = "orders"
sinks = ["out", "alerts"]
params = {{ {params} }}
"#
    );
    let events: String = events.into_iter().collect();
    Folder::new(SETTINGS).plugin("fields", "fields").write("keys/orders.toml", &key).write("events", &events)
}

fn event(id: usize, rest: &str) -> String {
    format!("{{\"id\":\"{id}\",\"subject\":\"orders.eu\"{rest}}}\n")
}

fn run(folder: &Folder) -> (Output, String) {
    let output = folder.command().stdin(fs::File::open(folder.file("events")).unwrap()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{log}");
    (output, log)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Each event is counted once, in order, though many go through in one call.
#[test]
fn events_go_through_in_batches() {
    let events = (0..2_000).map(|id| event(id, &format!(",\"group\":{}", id % 3)));
    let folder = folder(r#"mode = "count", process_reads = "/id""#, events);
    let (output, log) = run(&folder);
    assert!(log.contains(": 2000 emitted"), "{log}");
    let counts = String::from_utf8(output.stdout).unwrap();
    let counts: Vec<usize> = counts.lines().map(|line| line.trim_matches('"').parse().unwrap()).collect();
    assert_eq!(counts.len(), 2_000);
    assert!(counts.iter().max() > Some(&1), "no event came with others");
}

#[test]
fn emissions_go_to_the_sink_that_they_choose_and_some_are_buried() {
    let argument = r"one alerts\ntwo - - - - -\nthree - - - - no_rate";
    let params = format!(r#"mode = "emit", sinks = "alerts", argument = "{argument}""#);
    let folder = folder(&params, [event(1, "")]);
    let (output, log) = run(&folder);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "\"two\"\n");
    assert_eq!(lines(&folder.read("alerts.ndjson")), ["\"one\"", "\"two\""]);
    let letter: Value = serde_json::from_str(&folder.read("dead.ndjson")).unwrap();
    let has = |name: &str| letter[name].as_str().unwrap().to_owned();
    assert_eq!(
        [has("reason"), has("code"), has("detail"), has("payload_text")],
        ["buried", "no_rate", "no use", "three"]
    );
    assert!(log.contains("3 outputs written"), "{log}");
}

#[test]
fn a_route_without_a_chosen_sink_is_refused() {
    let folder = folder(r#"mode = "emit", sinks = "alerts elsewhere""#, []);
    let output = folder.trommel(&["check"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("its filter chooses the sink `elsewhere`, but the route feeds `out` and `alerts`"), "{said}");
}

/// An event whose time has not come waits, and only those wait with it that must stay behind it.
#[test]
fn deferred_events_keep_their_order() {
    let events = (0..30).map(|id| event(id, &format!(",\"group\":{}", id % 3)));
    let folder = folder(r#"mode = "defer", process_reads = "/id", argument = "3""#, events);
    let (output, log) = run(&folder);
    assert!(log.contains(": 30 emitted"), "{log}");
    let mut by_group: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let id = event["id"].as_str().unwrap().parse().unwrap();
        by_group.entry(event["group"].as_u64().unwrap()).or_default().push(id);
    }
    assert_eq!(by_group.len(), 3);
    for ids in by_group.values() {
        assert_eq!(ids.len(), 10);
        assert!(ids.is_sorted(), "{ids:?}");
    }
}

#[test]
fn what_a_condition_rejects_costs_no_call() {
    let events = [event(1, ",\"amount\":500"), event(2, ",\"amount\":5"), "no json\n".to_owned()];
    let folder = folder(r#"mode = "echo", where = "/amount >= 100", process_reads = "/amount route""#, events);
    let (output, log) = run(&folder);
    let said: String = serde_json::from_slice(&output.stdout).unwrap();
    assert!(said.starts_with("500\norders-"), "{said}");
    assert!(log.contains("1 emitted, 1 filtered"), "{log}");
    let letter: Value = serde_json::from_str(&folder.read("dead.ndjson")).unwrap();
    assert_eq!(letter["reason"], "not_json");
}

/// A key that does not fit the filter's manifest is refused, not guessed at.
#[test]
fn a_key_and_the_manifest_of_its_filter_agree() {
    for (change, expected) in [
        (("name = \"mode\"", "name = \"mode\"\ntype = \"int\""), "declares its param `mode` as `int`, but its filter"),
        (("name = \"wanted\"", "name = \"wnated\""), "declares the param `wnated`, which its filter `fields` has not"),
    ] {
        let folder = folder("", []);
        let key = folder.read("keys/orders.toml").replace(change.0, change.1);
        folder.put("keys/orders.toml", key.as_bytes());
        let output = folder.trommel(&["check"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(expected), "{said}");
    }
}

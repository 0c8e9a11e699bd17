//! A filter can't be stopped by what it is sent: an event that breaks it is a dead letter, and the
//! others go through.

use crate::router;

use std::ops::Range;

use router::Folder;
use serde_json::Value;

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    path = "in.txt"

    [[sink]]
    name = "out"
    type = "stdout"

    [dead_letter]
    file = "dead.ndjson"

    [[filter]]
    name = "filter"
    grants = ["state"]
    on_quarantine = "dead_letter"
"#;

fn keys(mode: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "all"
        subject = "events"
        order_by = "subject"
        filter = "filter"
        params = [{{ name = "mode", type = "string" }}]

        [[route]]
        key = "all"
        params = {{ mode = "{mode}" }}
        sinks = ["out"]
        "#
    )
}

/// Lines, those for which `is_poison` holds such that the filter breaks on them.
fn lines(numbers: Range<usize>, is_poison: impl Fn(usize) -> bool) -> Vec<String> {
    let line = |n| if is_poison(n) { format!(r#"{{"is":"poison","n":{n}}}"#) } else { format!(r#"{{"n":{n}}}"#) };
    numbers.map(line).collect()
}

/// What comes out of a router, and its dead letters.
fn run(mode: &str, lines: &[String]) -> (Vec<String>, Vec<Value>) {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", &keys(mode)).plugin("filter", "misbehave");
    folder.put("in.txt", lines.join("\n").as_bytes());
    let output = folder.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let letters = folder.read("dead.ndjson");
    let letters = letters.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(), letters)
}

/// All come out but those that break it, each of which is a dead letter that says why.
fn goes_on(mode: &str, lines: &[String]) {
    let (poison, good): (Vec<_>, Vec<_>) = lines.iter().cloned().partition(|line| line.contains("poison"));
    let (out, letters) = run(mode, lines);
    assert_eq!(out, good, "{mode}");
    let dead: Vec<String> = letters.iter().map(|letter| letter["payload"].to_string()).collect();
    assert_eq!(dead, poison, "{mode}");
    assert!(letters.iter().all(|letter| letter["reason"] == "trap"), "{mode}: {letters:?}");
}

#[test]
fn every_thousandth_event_is_a_dead_letter_and_no_more() {
    let lines = lines(0..20_000, |n| n % 1_000 == 999);
    goes_on("flaky-trap", &lines);
    goes_on("flaky-trap-matches", &lines);
}

/// A filter that has worked so far is not at fault when bad events come one after the other.
#[test]
fn a_burst_of_bad_events_stops_nothing() {
    goes_on("flaky-trap", &lines(0..2_000, |n| (1_000..1_090).contains(&n)));
}

/// Half of all events.
#[test]
fn many_bad_events_stop_nothing() {
    goes_on("flaky-trap", &lines(0..400, |n| n % 2 == 1));
}

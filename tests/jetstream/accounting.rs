//! The counters balance: what came in is emitted, filtered, a duplicate, dead-lettered, given back or in flight.

use crate::router;

use std::{
    collections::HashMap,
    io::Write,
    time::{Duration, Instant},
};

use router::{Folder, PATIENCE, get};

const SETTINGS: &str = r#"
    [dedup]
    by = "id"

    [admin]
    listen = "127.0.0.1:0"

    [[source]]
    name = "events"
    type = "lines"
    id = "/id"

    [[sink]]
    name = "out"
    type = "null"
"#;

const KEYS: &str = r#"
    [[key]]
    key = "large"
    subject = "events"
    filter = "select"
    params = [{ name = "where", type = "string" }]

    [[route]]
    key = "large"
    params = { where = "/n >= 50" }
    sinks = ["out"]
"#;

fn counters(page: &str) -> HashMap<String, u64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let split = lines.filter_map(|line| line.rsplit_once(' '));
    split.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

#[test]
fn every_event_is_accounted_for() {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    router.wait_for("running");
    assert_eq!(get(address, "/live").0, 200);
    assert_eq!(get(address, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(get(address, "/nowhere").0, 404);

    for n in 0..100 {
        writeln!(stdin, r#"{{"id":"e{n}","n":{n}}}"#).unwrap();
    }
    for n in 0..10 {
        writeln!(stdin, r#"{{"id":"e{n}","n":{n}}}"#).unwrap();
    }
    writeln!(stdin, "this is not json").unwrap();
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let page = counters(&get(address, "/metrics").1);
        let settled = page["trommel_source_events_in_flight{name=\"events\"}"] == 0;
        if settled && page["trommel_source_events_received_total{name=\"events\"}"] == 111 {
            break page;
        }
        assert!(Instant::now() < deadline, "{page:?}");
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let source = |name: &str| page[&format!("trommel_source_events_{name}{{name=\"events\"}}")];
    let expected = [("received", 111), ("emitted", 50), ("filtered", 50), ("duplicate", 10), ("dead_lettered", 1)];
    for (name, count) in expected {
        assert_eq!(source(&format!("{name}_total")), count, "{name}");
    }
    let ends = ["emitted", "filtered", "duplicate", "skipped", "failed", "dead_lettered"];
    let ended: u64 = ends.iter().map(|name| source(&format!("{name}_total"))).sum();
    assert_eq!(source("received_total"), ended + source("in_flight"));
    assert_eq!(page["trommel_key_events_matched_total{name=\"large\"}"], 100);
    assert_eq!(page["trommel_key_events_filtered_total{name=\"large\"}"], 50);
    assert_eq!(page["trommel_key_outputs_total{name=\"large\"}"], 50);
    assert_eq!(page["trommel_sink_outputs_written_total{name=\"out\"}"], 50);
    assert_eq!(page["trommel_sink_outputs_written_total{name=\"dead letters\"}"], 1);
    drop(stdin);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    let summary = ended.log.last().unwrap();
    for part in ["111 events", "50 emitted", "50 filtered", "10 duplicate", "1 dead-lettered", "50 outputs"] {
        assert!(summary.contains(part), "{summary}");
    }
    assert!(folder.read("dead-letters.ndjson").contains("not_json"));
}

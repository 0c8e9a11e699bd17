//! The counters balance: what came in is emitted, filtered, a duplicate, dead-lettered, given back
//! or in flight.

use crate::patience::blocking::until_ok;
use crate::router::get;
use crate::watched_router::WatchedRouter;

#[test]
fn every_event_is_accounted_for() {
    let mut router = WatchedRouter::start();
    assert_eq!(get(router.admin, "/live").0, 200);
    assert_eq!(get(router.admin, "/ready"), (200, "ready\n".to_owned()));
    assert_eq!(get(router.admin, "/nowhere").0, 404);

    for n in (0..100).chain(0..10) {
        router.send(&format!(r#"{{"id":"e{n}","type":"order","n":{n}}}"#));
    }
    router.send("this is not json");

    let page = until_ok("all events have ended", || {
        let page = router.counters();
        let source = |name: &str| page[&format!("trommel_source_events_{name}{{name=\"events\"}}")];
        let is_so = source("in_flight") == 0 && source("received_total") == 111;
        if is_so { Ok(page) } else { Err(format!("{page:?}")) }
    });
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
    assert_eq!(page["trommel_sink_outputs_written_total{name=\"dead-letters\"}"], 1);
    for sink in ["out", "dead-letters"] {
        assert_eq!(page[&format!("trommel_sink_outputs_pending{{name=\"{sink}\"}}")], 0, "{sink}");
    }
    let (folder, ended) = router.end();
    assert!(ended.status.success(), "{ended:?}");
    let summary = ended.log.last().unwrap();
    for part in ["111 events", "50 emitted", "50 filtered", "10 duplicate", "1 dead-lettered", "50 outputs"] {
        assert!(summary.contains(part), "{summary}");
    }
    assert!(folder.read("dead-letters.ndjson").contains("not_json"));
}

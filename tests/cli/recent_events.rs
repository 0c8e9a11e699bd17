//! The events that ended last are shown over the control socket and the admin listener (C11).

use crate::router;

use std::{io::Write, net::SocketAddr, time::Instant};

use router::{Folder, PATIENCE, get};
use serde_json::{Value, json};

const SETTINGS: &str = r#"
    [admin]
    listen = "127.0.0.1:0"

    [[source]]
    name = "events"
    type = "lines"
    id = "/id"
    event_type = "/type"

    [[sink]]
    name = "out"
    type = "null"
"#;

const KEYS: &str = r#"
    [[key]]
    key = "large"
    event_type = "order"
    filter = "select"
    params = [{ name = "where", type = "string" }]

    [[route]]
    key = "large"
    params = { where = "/n >= 50" }
    sinks = ["out"]
"#;

fn events(address: SocketAddr, query: &str) -> Vec<Value> {
    let (status, page) = get(address, &format!("/events{query}"));
    assert_eq!(status, 200, "{page}");
    serde_json::from_str::<Value>(&page).unwrap()["events"].as_array().unwrap().clone()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Waits until the last of them is seen to have ended.
fn wait_for(address: SocketAddr, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !events(address, "?limit=1000").iter().any(|event| event["id"] == id) {
        assert!(Instant::now() < deadline, "`{id}` has not ended");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// What is shown on loopback is for this machine, and no page of another site that a browser here shows.
#[test]
fn pages_of_other_sites_see_nothing() {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    let (mut router, _stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    for (path, header, expected) in [
        ("/events", "Host: evil.example", 403),
        ("/metrics", "Host: evil.example", 403),
        ("/events", "Host: localhost\r\nOrigin: http://evil.example", 403),
        ("/events", "Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("/events", "Host: localhost", 200),
        ("/metrics", "Host: 127.0.0.1:9464", 200),
        ("/live", "Host: probe.example", 200),
    ] {
        assert_eq!(status_of(address, path, header), expected, "{path} {header}");
    }
}

/// A token is asked for where one is set, save for whether the router is there.
#[test]
fn a_token_is_asked_for() {
    let settings = SETTINGS.replace("[admin]", "[admin]\n    token_file = \"token\"");
    let folder =
        Folder::new(&settings).write("token", "s3cret\n").write("keys/keys.toml", KEYS).plugin("select", "select");
    let (mut router, _stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    for (path, header, expected) in [
        ("/events", "Host: localhost", 401),
        ("/metrics", "Authorization: Bearer s3cre", 401),
        ("/metrics", "Authorization: Bearer s3cret", 200),
        ("/events", "Host: trommel.example\r\nAuthorization: Bearer s3cret", 200),
        ("/live", "Host: probe.example", 200),
    ] {
        assert_eq!(status_of(address, path, header), expected, "{path} {header}");
    }
}

/// Connections that say nothing are let go in favour of others, however many come.
#[test]
fn idle_connections_keep_nobody_out() {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    let (mut router, _stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    let held: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(get(address, "/live").0, 200);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(held);
}

fn status_of(address: SocketAddr, path: &str, headers: &str) -> u16 {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn the_last_events_are_shown_with_their_fate() {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", KEYS).plugin("select", "select");
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let address = router.admin();
    router.wait_for("running");
    assert!(events(address, "").is_empty());

    for n in 0..60 {
        let id = format!("e{n}");
        writeln!(stdin, r#"{{"id":"{id}","type":"order","n":{n}}}"#).unwrap();
        // One by one, so that their order is known.
        wait_for(address, &id);
    }
    writeln!(stdin, r#"{{"id":"other","type":"payment"}}"#).unwrap();
    wait_for(address, "other");
    writeln!(stdin, "this is not json").unwrap();
    wait_for(address, "stdin:62");

    let shown = events(address, "");
    assert_eq!(shown.len(), 50);
    assert_eq!(ids(&shown[..3]), ["stdin:62", "other", "e59"]);
    for (event, fate) in [(&shown[0], "dead_lettered"), (&shown[1], "filtered"), (&shown[2], "emitted")] {
        assert_eq!((&event["fate"], &event["source"]), (&json!(fate), &json!("events")), "{event}");
    }
    assert_eq!(shown[0]["reason"], "not_json");
    assert_eq!(events(address, "?limit=-1").len(), 50);
    assert_eq!(ids(&events(address, "?type=order&limit=2")), ["e59", "e58"]);
    assert_eq!(ids(&events(address, "?type=payment&type=nothing")), ["other"]);
    assert_eq!(get(address, "/events?limit=many").0, 400);
    assert_eq!(get(address, "/events?types=order").0, 400);

    let status = |words: &[&str]| {
        let ended = folder.trommel(&[&["status"], words].concat()).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    };
    let table = status(&["--events", "--type", "payment", "--type", "order", "--limit", "2"]);
    let rows: Vec<_> = table.lines().rev().take(3).map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(rows[2], ["TIME", "SOURCE", "TYPE", "ID", "SUBJECT", "TENANT", "FATE"]);
    assert_eq!(rows[1][1..], ["events", "payment", "other", "events", "filtered"]);
    assert_eq!(rows[0][1..], ["events", "order", "e59", "events", "emitted"]);
    assert!(status(&["--events", "--limit", "1"]).ends_with("dead_lettered: not_json\n"));
    assert!(!status(&[]).contains("e59"));
    let json: Value = serde_json::from_str(&status(&["--events", "--json"])).unwrap();
    assert_eq!(json["routers"][0]["events"], json!(events(address, "")));

    drop(stdin);
    assert!(router.end().status.success());
}

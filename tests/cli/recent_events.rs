//! The events that ended last are shown over the control socket and the admin listener (C11).

use crate::patience::blocking::until;
use crate::router::{PATIENCE, get};
use crate::watched_router::WatchedRouter;

use std::{io::Write, net::SocketAddr, time::Instant};

use serde_json::{Value, json};

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

fn wait_for(router: &WatchedRouter, id: &str) {
    until(&format!("`{id}` has ended"), || router.events("?limit=1000").iter().any(|event| event["id"] == id));
}

/// What is shown on loopback is for this machine, and no page of another site that a browser here
/// shows.
#[test]
fn pages_of_other_sites_see_nothing() {
    let router = WatchedRouter::start();
    for (path, header, expected) in [
        ("/events", "Host: evil.example", 403),
        ("/metrics", "Host: evil.example", 403),
        ("/events", "Host: localhost\r\nOrigin: http://evil.example", 403),
        ("/events", "Host: localhost\r\nSec-Fetch-Site: cross-site", 403),
        ("/events", "Host: localhost", 200),
        ("/metrics", "Host: 127.0.0.1:9464", 200),
        ("/live", "Host: probe.example", 200),
    ] {
        assert_eq!(status_of(router.admin, path, header), expected, "{path} {header}");
    }
}

/// A token is asked for where one is set, save for whether the router is there.
#[test]
fn a_token_is_asked_for() {
    let router = WatchedRouter::start_with_token();
    for (path, header, expected) in [
        ("/events", "Host: localhost", 401),
        ("/metrics", "Authorization: Bearer s3cre", 401),
        ("/metrics", "Authorization: Bearer s3cret", 200),
        ("/events", "Host: trommel.example\r\nAuthorization: Bearer s3cret", 200),
        ("/live", "Host: probe.example", 200),
    ] {
        assert_eq!(status_of(router.admin, path, header), expected, "{path} {header}");
    }
}

/// Connections that say nothing are let go in favour of others, however many come.
#[test]
fn idle_connections_keep_nobody_out() {
    let router = WatchedRouter::start();
    let held: Vec<_> = (0..200).map(|_| std::net::TcpStream::connect(router.admin).unwrap()).collect();
    let began = Instant::now();
    assert_eq!(get(router.admin, "/live").0, 200);
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
    let mut router = WatchedRouter::start();
    assert!(router.events("").is_empty());

    for n in 0..60 {
        let id = format!("e{n}");
        router.send(&format!(r#"{{"id":"{id}","type":"order","n":{n}}}"#));
        // One by one, so that their order is known.
        wait_for(&router, &id);
    }
    router.send(r#"{"id":"other","type":"payment"}"#);
    wait_for(&router, "other");
    router.send("this is not json");
    wait_for(&router, "stdin:62");

    let shown = router.events("");
    assert_eq!(shown.len(), 50);
    assert_eq!(ids(&shown[..3]), ["stdin:62", "other", "e59"]);
    for (event, fate) in [(&shown[0], "dead_lettered"), (&shown[1], "filtered"), (&shown[2], "emitted")] {
        assert_eq!((&event["fate"], &event["source"]), (&json!(fate), &json!("events")), "{event}");
    }
    assert_eq!(shown[0]["reason"], "not_json");
    assert_eq!(router.events("?limit=-1").len(), 50);
    assert_eq!(ids(&router.events("?type=order&limit=2")), ["e59", "e58"]);
    assert_eq!(ids(&router.events("?type=payment&type=nothing")), ["other"]);
    assert_eq!(get(router.admin, "/events?limit=many").0, 400);
    assert_eq!(get(router.admin, "/events?types=order").0, 400);

    let status = |words: &[&str]| {
        let ended = router.folder.trommel(&[&["status"], words].concat()).output().unwrap();
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
    assert_eq!(json["routers"][0]["events"], json!(router.events("")));

    assert!(router.end().1.status.success());
}

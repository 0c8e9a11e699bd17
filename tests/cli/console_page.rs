//! What the console is fed with, and who may change something. The page itself is looked at in
//! `tests/console`.

use crate::router::get;
use crate::tail_page::EventStream;
use crate::watched_router::WatchedRouter;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

const FEED: &str = "/console/feed";

/// The next message of this type.
fn message(feed: &mut EventStream, kind: &str) -> Value {
    loop {
        let data = feed.next().expect("the feed goes on").data;
        if data["type"] == kind {
            return data;
        }
    }
}

/// The status, the head and the body of an answer.
fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

#[test]
fn the_feed_has_the_parts_their_counts_and_the_ends_of_events() {
    let mut router = WatchedRouter::start();
    let mut feed = EventStream::open(router.admin, FEED, "");
    let hello = message(&mut feed, "hello");
    assert_eq!((&hello["changes"], &hello["commands"]), (&json!(false), &json!(true)));
    let topology = message(&mut feed, "topology");
    let key = &topology["keys"][0];
    assert_eq!(
        (&key["name"], &key["filter"], &key["routes"][0]["sinks"]),
        (&json!("large"), &json!("select"), &json!(["out"]))
    );
    assert_eq!(topology["filters"][0]["name"], "select");
    router.send(r#"{"id":"a","type":"order","n":60}"#);
    router.send(r#"{"id":"b","type":"order","n":10}"#);
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let message = message(&mut feed, "ended");
        assert_eq!(message["missed"], 0);
        ended.extend(message["events"].as_array().unwrap().iter().map(|one| format!("{} {}", one["id"], one["fate"])));
    }
    ended.sort();
    assert_eq!(ended, [r#""a" "emitted""#, r#""b" "filtered""#]);
    let sample = loop {
        let sample = message(&mut feed, "sample");
        if sample["sinks"].as_array().unwrap().iter().any(|sink| sink["name"] == "out" && sink["written"] == 1) {
            break sample;
        }
    };
    assert_eq!((&sample["level"], &sample["sources"][0]["received"]), (&json!("ok"), &json!(2)));
    let latency = &sample["sources"][0]["latency"];
    assert!(latency["p50"].as_u64() > Some(0) && latency["p50"].as_u64() <= latency["p99"].as_u64(), "{latency}");
    let key = &sample["keys"][0];
    assert_eq!((&key["matched"], &key["filtered"], &key["sent"]), (&json!(2), &json!(1), &json!({ "out": 1 })));
    assert!(router.end().1.status.success());
    while feed.next().is_some() {}
}

/// Its files hold no data, so they ask for nothing; a browser that has them gets them once.
#[test]
fn the_page_may_load_nothing_from_elsewhere() {
    let router = WatchedRouter::start_with_token();
    let (status, head, body) = ask(router.admin, "GET /console", "", "");
    assert_eq!(status, 200, "{head}");
    // The name of SVG is an address that is not asked.
    let body = body.replace("http://www.w3.org/2000/svg", "");
    assert!(body.contains("console/console.js") && !body.contains("//"), "{body}");
    let head = head.to_lowercase();
    assert!(head.contains("content-security-policy: default-src 'none'; script-src 'self';"), "{head}");
    assert!(head.contains("frame-ancestors 'none'") && head.contains("x-content-type-options: nosniff"), "{head}");
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    assert_eq!(ask(router.admin, "GET /console", &format!("If-None-Match: {tag}\r\n"), "").0, 304);
    assert_eq!(ask(router.admin, "GET /console", "If-None-Match: \"other\"\r\n", "").0, 200);
}

#[test]
fn what_changes_something_wants_the_token() {
    const TOKEN: &str = "Authorization: Bearer s3cret\r\n";
    const DROP: &str = "POST /console/letters/drop";
    let read_only = WatchedRouter::start();
    let (status, _, body) = ask(read_only.admin, DROP, "", r#"{"ids":[0]}"#);
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("`token_file`"), "{body}");
    assert_eq!(get(read_only.admin, "/console/letters"), (200, "{\"rows\":[]}".to_owned()));
    let router = WatchedRouter::start_with_token();
    for (headers, expected) in [("", 401), ("Authorization: Bearer other\r\n", 401), (TOKEN, 422)] {
        let (status, _, body) = ask(router.admin, DROP, headers, r#"{"ids":[7]}"#);
        assert_eq!(status, expected, "{body}");
    }
    assert_eq!(get(router.admin, FEED).0, 401);
    // What a client names is never an option.
    for body in [r#"{"ids":["--all"]}"#, r#"{"ids":[]}"#, r#"{"all":true}"#, "", "[1]"] {
        assert_eq!(ask(router.admin, DROP, TOKEN, body).0, 400, "{body}");
    }
    let asked = |query: &str| ask(router.admin, &format!("GET /console/letters?{query}"), TOKEN, "").0;
    assert_eq!((asked("key=--all"), asked("reason=--limit=7&key=a"), asked("limit=7")), (200, 200, 400));
}

#[test]
fn an_event_is_explained_with_other_conditions() {
    let router = WatchedRouter::start_with_token();
    let explain = |body: &Value| {
        let headers = "Authorization: Bearer s3cret\r\n";
        ask(router.admin, "POST /console/explain", headers, &body.to_string())
    };
    let event = json!({ "event_type": "order", "payload": { "n": 60 } });
    let outcome = |conditions: Option<&str>| {
        let (status, _, body) = explain(&json!({ "event": event, "key": "large", "where": conditions }));
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["rows"][0]["keys"][0]["routes"][0]["outcome"].clone()
    };
    assert_eq!((outcome(None), outcome(Some("/n < 7"))), (json!("kept"), json!("dropped")));
    for (key, conditions, expected) in [("large", "/n ~~ 7", "`--where`"), ("largest", "/n < 7", "no key `largest`")] {
        let (status, _, body) = explain(&json!({ "event": event, "key": key, "where": conditions }));
        assert_eq!(status, 422, "{body}");
        assert!(body.contains(expected), "{body}");
    }
    let (status, _, body) = explain(&json!({ "event": { "payload": "x".repeat(300 << 10) } }));
    assert_eq!(status, 413, "{body}");
}

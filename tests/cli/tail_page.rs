//! `/tail` of the admin listener: what a key lets through, as server-sent events.

use crate::router::{PATIENCE, get};
use crate::watched_router::WatchedRouter;

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
};

use serde_json::Value;

/// An answer that goes on.
pub struct EventStream {
    lines: BufReader<TcpStream>,
    head: String,
}

/// One server-sent event, by its fields.
#[derive(Debug, Default, PartialEq)]
pub struct SentEvent {
    event: String,
    id: String,
    pub data: Value,
}

/// The consumers of a router, as `trommel status` has them.
fn consumers_of(router: &WatchedRouter) -> Vec<Value> {
    let output = router.folder.trommel(&["status", "--json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["routers"][0]["consumers"].as_array().unwrap_or_else(|| panic!("{status}")).clone()
}

impl EventStream {
    pub fn open(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // HTTP/1.0 has no chunks: what follows the head is the body.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").unwrap();
        let mut opened = Self { lines: BufReader::new(stream), head: String::new() };
        loop {
            let line = opened.line().expect("the head ends");
            if line.is_empty() {
                return opened;
            }
            opened.head += &format!("{line}\n").to_lowercase();
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// The next event; comments are passed over. `None` at the end.
    pub fn next(&mut self) -> Option<SentEvent> {
        let mut event = SentEvent::default();
        loop {
            let line = self.line()?;
            match line.split_once(": ") {
                Some(("event", name)) => event.event = name.to_owned(),
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                _ if line.is_empty() && event != SentEvent::default() => return Some(event),
                _ => {}
            }
        }
    }
}

/// The agent developer's console: outputs of one key as they come, with their place in the source
/// as the cursor.
#[test]
fn a_key_is_followed_over_http() {
    let mut router = WatchedRouter::start();
    let mut tail = EventStream::open(router.admin, "/tail?key=large&param=where=/n%20%3E%3D%2050", "");
    assert!(tail.head.starts_with("http/1.0 200"), "{}", tail.head);
    assert!(tail.head.contains("content-type: text/event-stream\n"), "{}", tail.head);
    for n in [10, 60, 20, 70] {
        router.send(&format!("{{\"type\":\"order\",\"id\":\"o{n}\",\"n\":{n}}}"));
    }
    for (n, sequence, seq) in [(60, "2", 1), (70, "4", 2)] {
        let event = tail.next().unwrap();
        assert_eq!((&*event.event, &*event.id), ("", sequence));
        assert_eq!((&event.data["payload"]["n"], &event.data["seq"]), (&n.into(), &seq.into()));
        assert_eq!(event.data["event_id"], format!("o{n}"));
    }
    router.end();
    let end = tail.next();
    assert!(end.is_none_or(|end| end.event == "end" && end.data["reason"] == "the router ends"));
}

/// Who follows a key is shown as who consumes it is, and only as long as that lasts.
#[test]
fn who_follows_a_key_is_in_the_status() {
    let mut router = WatchedRouter::start();
    assert!(consumers_of(&router).is_empty());
    let mut tail = EventStream::open(router.admin, "/tail?key=large&param=where=/n%20%3E%3D%2050", "");
    let listed = consumers_of(&router);
    assert_eq!((listed.len(), &listed[0]["pid"], &listed[0]["key"]), (1, &Value::Null, &"large".into()));
    let text = router.folder.trommel(&["status"]).output().unwrap();
    assert!(String::from_utf8(text.stdout).unwrap().contains("/tail"));
    router.send("{\"type\":\"order\",\"id\":\"o1\",\"n\":60}");
    tail.next().unwrap();
    assert_eq!(consumers_of(&router)[0]["received"], 1);
    drop(tail);
    // The router learns of it when it writes.
    for n in 0.. {
        router.send(&format!("{{\"type\":\"order\",\"id\":\"p{n}\",\"n\":60}}"));
        if consumers_of(&router).is_empty() {
            break;
        }
        assert!(n < 1000, "it is still listed");
    }
}

/// A client that comes back is told that it has missed what came meanwhile: nothing is kept for it.
#[test]
fn a_client_that_comes_back_is_told_of_the_gap() {
    let router = WatchedRouter::start();
    let mut tail = EventStream::open(router.admin, "/tail?key=large&param=where=/n", "Last-Event-ID: 7\r\n");
    let missed = tail.next().unwrap();
    assert_eq!((&*missed.event, missed.data), ("missed", serde_json::json!({ "after": 7 })));
}

/// A client that does not read costs a bounded amount, holds up nobody, and is told how much it has
/// missed.
#[test]
fn a_client_that_does_not_read_is_told_what_it_missed() {
    const EVENTS: u64 = 4000;
    let mut router = WatchedRouter::start();
    let mut slow = EventStream::open(router.admin, "/tail?key=large&param=where=/n%20%3E%3D%2050", "");
    let mut quick = EventStream::open(router.admin, "/tail?key=large&param=where=/n%20%3D%3D%201000000", "");
    let filling = "x".repeat(16 << 10);
    for n in 0..EVENTS {
        router.send(&format!("{{\"type\":\"order\",\"id\":\"o{n}\",\"n\":60,\"text\":\"{filling}\"}}"));
    }
    router.send("{\"type\":\"order\",\"id\":\"last\",\"n\":1000000}");
    assert_eq!(quick.next().unwrap().data["event_id"], "last");
    let (mut read, mut missed) = (0, 0);
    while read + missed <= EVENTS {
        let event = slow.next().unwrap();
        match &*event.event {
            "missed" => missed += event.data["outputs"].as_u64().unwrap(),
            _ => read += 1,
        }
        assert!(event.data["seq"].as_u64().is_none_or(|seq| seq == read + missed), "{event:?}");
    }
    assert!(missed > 0, "{read} were read");
}

#[test]
fn what_can_not_be_followed_is_refused() {
    let router = WatchedRouter::start();
    for (query, status, text) in [
        ("", 400, "name a key, as in `/tail?key=order.paid`"),
        ("?kee=large", 400, "unknown parameter `kee`: it is `key`, `param` or `where`"),
        ("?key=large&param=where", 400, "`param` is `NAME=VALUE`, not `where`"),
        ("?key=large&where=/a%20=%201", 400, "`where` can't be used: line 1, column 4: `=` is not an operator"),
        ("?key=larg", 404, "there is no key `larg`"),
        ("?key=large&param=wher=1", 400, "wher"),
    ] {
        let (found, page) = get(router.admin, &format!("/tail{query}"));
        assert!(found == status && page.contains(text), "{query}: {found} {page}");
    }
    let router = WatchedRouter::start_with_token();
    assert_eq!(get(router.admin, "/tail?key=large").0, 401);
}

//! `where` of keys, routes and consumers, which is tested without any component.

use std::{fs, io::Write as _};

use crate::router;

use router::{Folder, PATIENCE};

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
name = "large"
type = "file"
path = "large.ndjson"
"#;

const KEYS: &str = r#"
[[key]]
key = "orders"
subject = "orders.>"
where = """
/amount > 0; !/test
|| header:none
"""

[[route]]
key = "orders"
sinks = ["out"]

[[route]]
key = "orders"
where = '/amount >= 500; /currency in ["EUR", "USD"]'
sinks = ["large"]
"#;

fn event(id: u32, rest: &str) -> String {
    format!("{{\"id\":\"{id}\",\"subject\":\"orders.eu\",{rest}}}\n")
}

/// A route gets what fulfils its key's conditions and its own; a payload that is not JSON can't be
/// tested, and becomes a dead letter.
#[test]
fn a_route_gets_what_its_key_and_itself_let_through() {
    let events = [
        event(1, r#""amount":500.0,"currency":"EUR""#),
        event(2, r#""amount":499.99,"currency":"EUR""#),
        event(3, r#""amount":1e3,"currency":"GBP""#),
        event(4, r#""amount":900,"currency":"USD","test":true"#),
        event(5, r#""amount":0,"currency":"USD""#),
    ];
    let folder = Folder::new(SETTINGS).write("keys/orders.toml", KEYS).write("events", &events.concat());
    let output = folder.command().stdin(fs::File::open(folder.file("events")).unwrap()).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && log.contains(": 3 emitted, 2 filtered; 4 outputs written"), "{log}");
    let ids = |text: &str| {
        let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["id"].clone();
        text.lines().map(|line| id(line).as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&String::from_utf8(output.stdout).unwrap()), ["1", "2", "3"]);
    assert_eq!(ids(&folder.read("large.ndjson")), ["1"]);
}

/// A consumer's conditions come beside those of its key, and hold for nobody else.
#[test]
fn a_consumer_narrows_its_key() {
    let folder = Folder::new(SETTINGS).write("keys/orders.toml", KEYS);
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut narrow = router::Router::spawn({
        let mut command = folder.trommel(&["consume"]);
        command.args(["orders", "--where", "/currency == EUR", "--max-events", "1", "--timeout"]);
        command.arg(format!("{}s", PATIENCE.as_secs()));
        command
    });
    narrow.wait_for("[trommel] ready key=orders");
    for (id, currency, more) in [(1, "USD", ""), (2, "EUR", ",\"test\":1"), (3, "EUR", "")] {
        let line = event(id, &format!("\"amount\":1,\"currency\":\"{currency}\"{more}"));
        events.write_all(line.as_bytes()).unwrap();
    }
    let ended = narrow.end();
    assert!(ended.status.success() && ended.stdout.len() == 1 && ended.stdout[0].contains("\"id\":\"3\""), "{ended:?}");
    drop(events);
    assert!(router.end().status.success());
    let refused = folder.trommel(&["consume"]).args(["orders", "--where", "/a = 1"]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("`--where` can't be used: line 1, column 4: `=` is not an operator, write `==`"), "{said}");
}

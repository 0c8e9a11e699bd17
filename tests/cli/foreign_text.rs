//! Text of others drives no terminal and forges no line, whichever command prints it: an event
//! whose every part is nasty, and a component whose manifest is.

use crate::flow;
use crate::nats;
use crate::patience::blocking::until;
use crate::router;

use std::{io::Write, process::Command};

use async_nats::HeaderMap;
use nats::NatsServer;
use router::{Folder, Router, component_bytes};
use serde_json::json;

/// Begins a line, sets a title, moves the cursor (C0 and C1), turns the reading order round, ends a
/// line otherwise.
const NASTY: &str =
    "a\nFORGED line\r\u{1b}]0;t\u{7}\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{2066}\u{2028}\u{2029}\u{85}\u{feff}z";

const SETTINGS: &str = r#"
    [[source]]
    name = "in"
    type = "lines"
    id = "/id"
    event_type = "/type"

    [[sink]]
    name = "out"
    type = "null"
"#;

const KEYS: &str = r#"
    [[key]]
    key = "all"
    subject = ">"
    filter = "stamp"
    schema.custom = { inline = { type = "object", required = ["none"] } }

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

/// What a terminal or a reader takes for more than text.
fn harmful(text: &str) -> Vec<String> {
    let is_harmful = |c: char| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().filter(|c| is_harmful(*c)).map(|c| c.escape_unicode().to_string()).collect()
}

fn assert_harmless(what: &str, text: &str) {
    assert_eq!(harmful(text), [""; 0], "{what}: {text:?}");
    let forged = text.lines().filter(|line| line.trim_start().starts_with("FORGED")).count();
    assert_eq!(forged, 0, "{what}: {text}");
}

/// Both outputs of a command that runs to its end.
fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_harmless(&format!("{command:?}"), &text);
    text
}

/// A component whose manifest describes it in as many bytes, all of them nasty.
fn nasty_component() -> Vec<u8> {
    let mut component = component_bytes("stamp-v1");
    let description = b"Stamps events with its version";
    let nasty: Vec<u8> = "\nFORGED\r\u{1b}[2J\u{9b}1m\u{202e}\u{2028}".bytes().chain(*b"........").collect();
    assert_eq!(nasty.len(), description.len());
    let at = component.windows(description.len()).position(|window| window == description).unwrap();
    component[at..at + nasty.len()].copy_from_slice(&nasty);
    component
}

fn nasty_event() -> String {
    json!({ "id": format!("1{NASTY}"), "type": NASTY, "text": NASTY }).to_string()
}

fn folder() -> Folder {
    let folder = Folder::new(SETTINGS).write("keys/all.toml", KEYS);
    folder.put("plugins/stamp.wasm", &nasty_component());
    folder
}

#[test]
fn nothing_harmful_is_printed_of_an_event_or_a_manifest() {
    let folder = folder();
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    router.wait_for("running");
    writeln!(stdin, "{}", nasty_event()).unwrap();
    assert_harmless("log", &router.wait_for("becomes a dead letter"));
    assert!(said(&mut folder.trommel(&["plugin", "ls"])).contains("stamp"));
    // The log tells of the dead letter before it is stored.
    let is_shown = || said(&mut folder.trommel(&["status", "--events"])).contains("schema_mismatch");
    until("the dead letter is among the events that ended", is_shown);
    drop(stdin);
    let ended = router.end();
    assert_harmless("log", &ended.log.join("\n"));

    for (words, expected) in [
        (&["dlq", "list"][..], "schema_mismatch"),
        (&["dlq", "list", "--json"], "schema_mismatch"),
        (&["check"], "1 key"),
    ] {
        let text = said(&mut folder.trommel(words));
        assert!(text.contains(expected), "{text}");
    }
    // The folder comes before the id.
    for words in [&["dlq", "show"][..], &["dlq", "show", "--json"], &["dlq", "retry", "--dry-run"]] {
        let text = said(folder.trommel(words).arg("0"));
        assert!(text.contains("schema_mismatch"), "{text}");
    }
    let event = folder.file("event.json");
    let given = json!({ "id": NASTY, "event_type": NASTY, "subject": "a", "payload": { "text": NASTY } });
    std::fs::write(&event, given.to_string()).unwrap();
    for json in [&[][..], &["--json"]] {
        let explained = said(folder.trommel(&["explain"]).arg(&event).args(json));
        assert!(explained.contains("schema_mismatch"), "{explained}");
        let mut check = router::trommel();
        let checked = said(check.args(["plugin", "check"]).arg(folder.file("plugins/stamp.wasm")).args(json));
        assert!(checked.contains("stamp"), "{checked}");
    }
}

/// The same in the three ways of logging, `--show` included.
#[test]
fn no_log_line_is_forged() {
    for words in [&["--show"][..], &["--log-format", "json"], &["--log", "trace", "--show"]] {
        let folder = folder();
        let (reader, mut stdin) = std::io::pipe().unwrap();
        let mut command = folder.command();
        command.args(words).stdin(reader);
        let mut router = Router::spawn(command);
        // Pipes hold this much.
        writeln!(stdin, "{}\nno json {NASTY:?}", nasty_event()).unwrap();
        drop(stdin);
        let log = router.end().log.join("\n");
        assert!(log.contains("becomes a dead letter"), "{log}");
        assert_harmless(&words.join(" "), &log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_harmful_is_printed_of_a_stream() {
    let server = NatsServer::start().await;
    let settings = flow::settings(&server.url(), "event_type = \"/type\"\nid = \"/id\"", "");
    let folder = Folder::new(&settings).write("keys/all.toml", "[[key]]\nkey = \"k\"\nsubject = \"in.>\"\n");
    assert!(folder.start().stop().status.success());
    let context = flow::connect(&server.url()).await;
    let mut tail = Router::spawn(folder.trommel(&["tail"]));
    tail.wait_for("watching");
    let spread = format!("[\r\n{{\"sequence\":7}}\r,\n{{\"text\":{}}}]", json!(NASTY));
    for payload in [nasty_event(), NASTY.to_owned(), spread] {
        let mut headers = HeaderMap::new();
        headers.insert("Note", "\u{9b}31m\u{202e}");
        context.publish_with_headers("in.a", headers, payload.into()).await.unwrap().await.unwrap();
    }
    for _ in 0..3 {
        assert_harmless("tail", &tail.wait_for_output("20"));
    }
    assert_eq!(said(&mut folder.trommel(&["history"])).lines().count(), 3);
    // A row is a line, whatever its payload looks like.
    let rows = said(&mut folder.trommel(&["history", "--json"]));
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!(rows.iter().map(|row| row["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(rows[0]["event_type"], NASTY);
}

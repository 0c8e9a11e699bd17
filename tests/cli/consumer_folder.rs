//! A folder whose keys can be consumed, and its consumers.

use crate::patience::blocking::until_ok;
use crate::router;

use std::process::{Command, Stdio};

use router::{Folder, Router};
use serde_json::Value;

pub const STDIN: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    id = "/id"
    event_type = "/type"
"#;

pub const KEYS: &str = r#"
    [[key]]
    key = "orders.large"
    description = "Orders above a threshold"
    event_type = "order"
    filter = "select"
    params = [
        { name = "where", required = true, description = "Which orders" },
        { name = "keep" },
    ]

    [[key]]
    key = "all"
    subject = ">"
"#;

pub fn folder() -> Folder {
    Folder::new(STDIN).write("keys/keys.toml", KEYS).plugin("select", "select")
}

pub fn consume(folder: &Folder, words: &[&str]) -> Command {
    let mut command = folder.trommel(&["consume"]);
    command.args(words);
    command
}

/// Starts a consumer and waits until it is attached.
pub fn attached(mut command: Command) -> Router {
    // A consumer without bounds ends with its standard input.
    command.stdin(Stdio::piped());
    let mut consumer = Router::spawn(command);
    consumer.wait_for("[trommel] ready key=");
    consumer
}

pub fn status(folder: &Folder) -> Value {
    let mut command = folder.trommel(&["status"]);
    let output = command.arg("--json").output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["routers"][0].take()
}

/// Asks until the router's status is as wanted.
pub fn status_until(folder: &Folder, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    until_ok(what, || {
        let status = status(folder);
        if is_so(&status) { Ok(status) } else { Err(status) }
    })
}

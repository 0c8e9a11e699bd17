//! A router of lines, watched through its admin listener.

use crate::router::{Ended, Folder, Router, get};

use std::{
    collections::HashMap,
    io::{PipeWriter, Write},
    net::SocketAddr,
};

use serde_json::Value;

const SETTINGS: &str = r#"
    [dedup]
    by = "id"

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

/// Of the orders, those from 50 on are let through. Nothing takes other types.
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

pub struct WatchedRouter {
    pub folder: Folder,
    pub admin: SocketAddr,
    router: Router,
    input: PipeWriter,
}

impl WatchedRouter {
    pub fn start() -> Self {
        Self::start_in(Folder::new(SETTINGS))
    }

    /// One that asks for the token `s3cret`.
    pub fn start_with_token() -> Self {
        let settings = SETTINGS.replace("[admin]", "[admin]\n    token_file = \"token\"");
        Self::start_in(Folder::new(&settings).write("token", "s3cret\n"))
    }

    fn start_in(folder: Folder) -> Self {
        let folder = folder.write("keys/keys.toml", KEYS).plugin("select", "select");
        let (mut router, input) = folder.spawn_with_stdin();
        let admin = router.admin();
        router.wait_for("running");
        Self { folder, admin, router, input }
    }

    pub fn send(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The events that ended last, as `/events` shows them.
    pub fn events(&self, query: &str) -> Vec<Value> {
        let (status, page) = get(self.admin, &format!("/events{query}"));
        assert_eq!(status, 200, "{page}");
        serde_json::from_str::<Value>(&page).unwrap()["events"].as_array().unwrap().clone()
    }

    /// The whole numbers of `/metrics`, by name and labels.
    pub fn counters(&self) -> HashMap<String, u64> {
        let page = get(self.admin, "/metrics").1;
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let split = lines.filter_map(|line| line.rsplit_once(' '));
        split.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
    }

    /// Closes its input, and waits for the end.
    pub fn end(mut self) -> (Folder, Ended) {
        drop(self.input);
        (self.folder, self.router.end())
    }
}

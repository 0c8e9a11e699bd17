//! What `trommel deliveries` and `trommel webhooks` change, a router that runs notices.

use crate::patience::blocking::until;
use crate::router;
use crate::stand_in;

use std::io::{PipeWriter, Write};

use router::{Folder, Router, trommel};
use stand_in::{Seen, StandIn, ok, status};

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    event_type = "/type"

    [[sink]]
    name = "hooks"
    type = "webhook"
"#;

const KEYS: &str = r#"
    [[route]]
    fallthrough = true
    sinks = ["hooks"]
"#;

struct Running {
    folder: Folder,
    router: Router,
    events: PipeWriter,
}

/// A router with webhooks of these names, each at a path of its own.
fn running(receiver: &StandIn, names: &[&str]) -> Running {
    let webhook = |name: &&str| {
        let url = format!("http://{}/{name}", receiver.address);
        format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nallow_private = true\nsecret_file = \"secret\"\n")
    };
    let webhooks: String = names.iter().map(webhook).collect();
    let folder = Folder::new(SETTINGS).write("keys/routes.toml", KEYS).write("keys/webhooks.toml", &webhooks);
    let folder = folder.write("secret", "hunter2");
    let (mut router, events) = folder.spawn_with_stdin();
    router.wait_for("running");
    Running { folder, router, events }
}

impl Running {
    fn event(&mut self, event_type: &str) {
        writeln!(self.events, "{{\"type\":\"{event_type}\"}}").unwrap();
    }

    fn told(&self, words: &str, arguments: &[&str]) -> String {
        let output = trommel().args(words.split(' ')).arg(self.folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until `deliveries list` with these arguments has so many lines.
    fn wait_for_listed(&self, arguments: &[&str], count: usize) {
        let arguments = [&["--json"], arguments].concat();
        until("so many are listed", || self.told("deliveries list", &arguments).lines().count() == count);
    }
}

fn types(seen: &[Seen]) -> Vec<String> {
    let event_type = |seen: &Seen| {
        let event: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
        format!("{} {}", seen.line.trim_start_matches("POST /"), event["type"].as_str().unwrap())
    };
    seen.iter().map(event_type).collect()
}

/// C22: under the same id, by which a receiver knows it again.
#[test]
fn what_failed_is_sent_again_when_asked() {
    let receiver = StandIn::new(|before, _| if before == 0 { status("400 Bad Request", "no") } else { ok("") });
    let mut running = running(&receiver, &["here"]);
    running.event("a");
    running.wait_for_listed(&["--failed"], 1);
    running.told("deliveries retry", &["--failed", "--webhook", "here"]);
    running.wait_for_listed(&["--state", "delivered"], 1);
    let seen = receiver.seen();
    assert_eq!(types(&seen), ["here a", "here a"]);
    assert_eq!(seen[0].header("webhook-id"), seen[1].header("webhook-id"));
    drop(running.events);
    assert!(running.router.end().status.success());
}

#[test]
fn a_webhook_that_is_disabled_gets_nothing_until_it_is_enabled() {
    let receiver = StandIn::new(|_, _| ok(""));
    let mut running = running(&receiver, &["here", "there"]);
    let wait_for = |what: &str| until(what, || types(&receiver.seen()).iter().any(|seen| seen == what));
    running.told("webhooks disable", &["here"]);
    running.event("a");
    wait_for("there a");
    running.told("webhooks enable", &["here"]);
    running.event("b");
    wait_for("here b");
    wait_for("there b");
    assert_eq!(receiver.seen().len(), 3, "{:?}", types(&receiver.seen()));
    drop(running.events);
    assert!(running.router.end().status.success());
}

#[test]
fn a_webhook_that_is_added_gets_what_comes() {
    let receiver = StandIn::new(|_, _| ok(""));
    let mut running = running(&receiver, &["here"]);
    let url = format!("http://{}/there", receiver.address);
    running.told("webhooks add", &["there", "--url", &url, "--events", "b", "--allow-private"]);
    running.router.wait_for("reloaded");
    running.event("a");
    running.event("b");
    running.wait_for_listed(&["--state", "delivered"], 3);
    let mut seen = types(&receiver.seen());
    seen.sort();
    assert_eq!(seen, ["here a", "here b", "there b"]);
    drop(running.events);
    assert!(running.router.end().status.success());
}

//! `trommel replay --webhook`: a new webhook gets what was before it, and no other gets anything
//! again.

use crate::nats::NatsServer;
use crate::patience::blocking::until;
use crate::printed::json_lines;
use crate::router::{Folder, trommel};
use crate::stand_in::{StandIn, ok};
use crate::webhook_folder;

use std::{collections::BTreeMap, os::unix::process::ExitStatusExt as _, process::Output};

use serde_json::Value;

const KEYS: &str = r#"
    [[key]]
    key = "orders"
    subject = "orders.>"

    [[route]]
    key = "orders"
    sinks = ["hooks", "file"]

    [[route]]
    match_regex = "^(test|order)"
    sinks = ["file"]

    [[route]]
    fallthrough = true
    sinks = ["hooks"]
"#;

fn settings(server: &NatsServer) -> String {
    format!(
        r#"
        [nats]
        url = "{}"

        [[stream]]
        name = "EVENTS"
        subjects = ["orders.>", "others.>"]

        [[source]]
        name = "events"
        type = "jetstream"
        stream = "EVENTS"
        durable = "trommel"
        event_type = "/type"

        [[sink]]
        name = "hooks"
        type = "webhook"

        [[sink]]
        name = "file"
        type = "file"
        path = "out.ndjson"
    "#,
        server.url()
    )
}

fn webhook(name: &str, receiver: &StandIn) -> String {
    let url = format!("http://{}/{name}", receiver.address);
    format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nallow_private = true\nsecret_file = \"secret\"\n")
}

/// `webhook-id`s by webhook and body.
fn got(receiver: &StandIn) -> BTreeMap<(String, String), Vec<String>> {
    let mut got = BTreeMap::<_, Vec<_>>::new();
    for seen in receiver.seen() {
        let name = seen.line.trim_start_matches("POST /").to_owned();
        got.entry((name, seen.body.clone())).or_default().push(seen.header("webhook-id").unwrap().to_owned());
    }
    got
}

fn replay(folder: &Folder, more: &[&str]) -> Output {
    folder.trommel(&["replay"]).args(["--from-time", "1h"]).args(more).output().unwrap()
}

fn deliveries(folder: &Folder) -> Vec<Value> {
    let output = trommel().args(["deliveries", "list"]).arg(folder.path()).arg("--json").output().unwrap();
    json_lines(output.stdout)
}

/// With the router running, which then sends what the replay stores, and without.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_webhook_gets_the_past_and_no_other_gets_it_again() {
    let server = NatsServer::start().await;
    let receiver = StandIn::new(|_, _| ok(""));
    let webhooks = webhook("old", &receiver);
    let folder = Folder::new(&settings(&server)).write("keys/keys.toml", KEYS).write("secret", webhook_folder::SECRET);
    let folder = folder.write("keys/webhooks.toml", &webhooks);
    let mut router = folder.start();
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = async_nats::jetstream::new(client);
    for (subject, body) in
        [("orders.1", r#"{"type":"order"}"#), ("others.1", r#"{"type":"other"}"#), ("others.2", r#"{"type":"test"}"#)]
    {
        jetstream.publish(subject, body.into()).await.unwrap().await.unwrap();
    }
    until("the old webhook has got both", || got(&receiver).len() == 2);

    folder.put(
        "keys/webhooks.toml",
        (webhooks + &webhook("new", &receiver) + &webhook("also-new", &receiver)).as_bytes(),
    );
    router.wait_for("reloaded");
    let ended = replay(&folder, &["--webhook", "new", "--key", "orders"]);
    assert!(ended.status.success(), "{ended:?}");
    until("the new webhook has got the order", || got(&receiver).len() == 3);
    router.stop();

    // Without a key all routes count; what came before does not come again.
    for _ in 0..2 {
        let ended = replay(&folder, &["--webhook", "new"]);
        assert!(ended.status.success(), "{ended:?}");
    }
    let got = got(&receiver);
    assert!(got.values().all(|ids| ids.len() == 1), "{got:?}");
    let names: Vec<_> = got.keys().map(|(name, body)| format!("{name} {body}")).collect();
    let both = [r#"{"type":"order"}"#, r#"{"type":"other"}"#];
    let expected: Vec<_> = ["new", "old"].iter().flat_map(|name| both.map(|body| format!("{name} {body}"))).collect();
    assert_eq!(names, expected);
    assert_eq!(deliveries(&folder).len(), 4);
    assert_eq!(folder.read("out.ndjson").lines().count(), 3, "the other sinks get nothing again");
}

#[test]
fn a_webhook_that_would_get_nothing_is_refused() {
    let folder = webhook_folder::folder();
    let refused = |arguments: &[&str]| {
        let output = folder.trommel(&["replay"]).args(["--stream", "S", "--from-seq", "1"]).args(arguments).output();
        let Output { status, stderr, .. } = output.unwrap();
        assert_eq!((status.code(), status.signal()), (Some(2), None));
        String::from_utf8(stderr).unwrap()
    };
    for (arguments, expected) in [
        (&["--webhook", "acmee"][..], "there is no webhook `acmee`\n  did you mean `acme`?"),
        (&["--webhook", "idle"], "webhook `idle` is not active"),
        (&["--webhook", "acme"], "no route feeds webhooks\n  a `[[route]]` with `sinks = [\"hooks\"]` does"),
        (&["--webhook", "acme", "--sink", "hooks"], "cannot be used with"),
        (&[], "--key <KEY>"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(expected), "{text}");
    }
}

//! Two whole routers with the shipped component `mail`: one of them asks the API for new mail, and
//! when it is killed the other goes on and asks no longer when it is the last to leave (L47 to L51,
//! L55, X9).

use crate::flow;
use crate::nats;
use crate::router;
use crate::stand_in;

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use async_nats::jetstream::Context;
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};
use stand_in::{Reply, Seen, StandIn, ok, status};

const KEYS: &str = r#"
[[key]]
key = "mail.received"
event_type = "mail.user_mailbox.event.message_received_v1"
filter = "mail"
api = ["GET /open-apis/mail/v1/user_mailboxes/**", "POST /open-apis/mail/v1/user_mailboxes/*/event/*"]
params = [
    { name = "mailbox", default = "me", subscription_key = true },
    { name = "level", default = "metadata" },
]

[[route]]
key = "mail.received"
sinks = ["out"]
"#;

const MAILBOX: &str = "/open-apis/mail/v1/user_mailboxes/ada@example.com";

/// Longer than a lease lasts, and the looks at it after that.
const PATIENCE: Duration = Duration::from_secs(90);

fn api(_: usize, seen: &Seen) -> Reply {
    match seen.line.as_str() {
        "GET /open-apis/mail/v1/user_mailboxes/me/profile" => {
            ok(r#"{"code":0,"data":{"primary_email_address":"ada@example.com"}}"#)
        }
        line if line.starts_with("POST ") => ok(r#"{"code":0,"msg":"success"}"#),
        line if line.contains("/messages/") => ok(
            r#"{"code":0,"data":{"message":{"subject":"hello","folder_id":"INBOX","body_text":"not for this level"}}}"#,
        ),
        _ => status("404 Not Found", "{}"),
    }
}

fn folder(server: &NatsServer, api: &StandIn) -> Folder {
    let settings = flow::settings(&server.url(), "envelope = \"lark\"", "");
    let api = format!("[api]\nbase_url = \"http://{}\"\nallow_private = true\n", api.address);
    let filter = "[[filter]]\nname = \"mail\"\ngrants = [\"api\"]\n";
    Folder::new(&format!("{settings}\n{api}\n{filter}")).write("keys/mail.toml", KEYS).plugin("mail", "mail")
}

async fn publish(context: &Context, numbers: Range<usize>) {
    for n in numbers {
        let mail = json!({
            "schema": "2.0",
            "header": { "event_id": format!("e{n}"), "event_type": "mail.user_mailbox.event.message_received_v1" },
            "event": { "mail_address": "ada@example.com", "message_id": format!("m{n}"), "n": n },
        });
        context.publish("in.mail", mail.to_string().into()).await.unwrap().await.unwrap();
    }
}

/// How often the API was asked for new mail, and how often no longer.
fn asked(api: &StandIn) -> (usize, usize) {
    let count = |action: &str| {
        let line = format!("POST {MAILBOX}/event/{action}");
        api.seen().iter().filter(|seen| seen.line == line).count()
    };
    (count("subscribe"), count("unsubscribe"))
}

/// Waits until so many routers hold the mailbox.
async fn until_held_by(context: &Context, count: usize) {
    let bucket = context.get_stream("KV_trommel_tenures").await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let entry = bucket.get_last_raw_message_by_subject("$KV.trommel_tenures.tenure.>").await.unwrap();
        let entry: Value = serde_json::from_slice(&entry.payload).unwrap();
        if entry["holders"].as_array().unwrap().len() == count {
            return;
        }
        assert!(Instant::now() < deadline, "{entry}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_killed_leaves_the_mailbox_to_the_other() {
    let (server, api) = (NatsServer::start().await, StandIn::new(api));
    let context = flow::connect(&server.url()).await;
    let folders = [folder(&server, &api), folder(&server, &api)];
    let first = folders[0].start();
    assert_eq!(asked(&api), (1, 0));
    let second = folders[1].start();
    until_held_by(&context, 2).await;
    publish(&context, 0..20).await;
    flow::outputs_until(&context, "the first mails", |outputs| outputs.len() >= 20).await;

    first.kill();
    publish(&context, 20..40).await;
    let outputs = flow::outputs_until(&context, "mail after the kill", |outputs| outputs.len() >= 40).await;
    flow::assert_each_once(&outputs, 40);
    assert_eq!(outputs[0].1["subject"], "hello");
    assert_eq!(outputs[0].1.get("body_text"), None);
    until_held_by(&context, 1).await;
    assert_eq!(asked(&api), (1, 0), "the second one still wants mail");

    assert!(second.stop().status.success());
    assert_eq!(asked(&api), (1, 1));
}

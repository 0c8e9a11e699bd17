//! A filter that keeps breaking goes back to its last good component; without one its events are
//! held, or become dead letters, as the user says. Events of other keys flow on.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;

use std::time::Duration;

use async_nats::jetstream;
use flow::{Load, assert_each_once, outputs_until, publish, settings};
use nats::NatsServer;
use router::{Folder, component_bytes};
use serde_json::Value;

/// `misbehave` breaks on every event of this route.
const TRAPS: &str = r#"
    [[key]]
    key = "traps"
    subject = "in.0"
    filter = "mischief"
    params = [{ name = "mode", type = "string" }]

    [[route]]
    key = "traps"
    params = { mode = "trap-process" }
    sinks = ["out"]
"#;

const PASSES: &str = r#"
    [[key]]
    key = "passes"
    subject = "in.1"

    [[route]]
    key = "passes"
    sinks = ["out"]
"#;

const GRANT: &str = "[[filter]]\nname = \"mischief\"\ngrants = [\"state\"]\n";

/// Where [`ends`] has dead letters.
const DEAD: &str = "dead";

/// What has become of all events once all are settled: outputs, and the payloads of dead letters.
async fn ends(context: &jetstream::Context) -> Vec<(String, Value)> {
    until("all is settled", async || flow::unsettled(context).await == 0).await;
    let mut ends = flow::outputs(context).await;
    let dead = flow::dead_letters(context).await;
    ends.extend(dead.into_iter().map(|mut letter| (DEAD.to_owned(), letter["payload"].take())));
    ends
}

fn on(subject: &str, outputs: &[(String, Value)]) -> usize {
    outputs.iter().filter(|(found, _)| found == subject).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_component_events_are_held_until_it_is_mended() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = settings(&server.url(), "ack_wait = \"2s\"", "message_id = false");
    let folder = Folder::new(&format!("{settings}\n{GRANT}"));
    let folder = folder.write("keys/traps.toml", TRAPS).write("keys/passes.toml", PASSES);
    let folder = folder.plugin("mischief", "misbehave");
    let mut router = folder.start();
    publish(&context, 0..100, 2).await;
    router.wait_for("no earlier component");
    let outputs = outputs_until(&context, "the other key's events", |outputs| on("out.in.1", outputs) == 50).await;
    assert_eq!(on("out.in.0", &outputs), 0);

    // `stamp` takes the same params and does not break.
    folder.put("plugins/mischief.wasm", &component_bytes("stamp-v1"));
    // Those that broke before the quarantine are dead letters; the rest came out, in order and once.
    let held = outputs_until(&context, "the held events", |outputs| on("out.in.0", outputs) + 4 >= 50).await;
    let numbers: Vec<u64> = held.iter().filter(|(s, _)| s == "out.in.0").map(|(_, p)| flow::number(p)).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_each_once(&ends(&context).await, 100);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_new_component_is_rolled_back() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&format!("{}\n{GRANT}", settings(&server.url(), "", "message_id = false")));
    let folder = folder.write("keys/traps.toml", TRAPS).plugin("mischief", "stamp-v1");
    let mut router = folder.start();
    let load = Load::start(context.clone(), 1, Duration::from_millis(5));
    outputs_until(&context, "the good component", |outputs| outputs.len() > 20).await;
    folder.put("plugins/mischief.wasm", &component_bytes("misbehave"));
    router.wait_for("going back to the last good component");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far).await;
    let published = load.stop().await;
    let ends = ends(&context).await;
    assert_each_once(&ends, published);
    let (dead, out): (Vec<_>, Vec<_>) = ends.into_iter().partition(|(subject, _)| subject == DEAD);
    assert!(dead.len() <= 10, "{} dead letters: the quarantine comes too late", dead.len());
    assert!(out.iter().all(|(_, payload)| payload["stamp"] == "v1"));
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_instead_of_holding_when_the_user_says_so() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = settings(&server.url(), "", "");
    let folder = Folder::new(&format!("{settings}\n{GRANT}on_quarantine = \"dead_letter\"\n"));
    let folder = folder.write("keys/traps.toml", TRAPS).plugin("mischief", "misbehave");
    let router = folder.start();
    publish(&context, 0..50, 1).await;
    let dead = flow::dead_letters_until(&context, 50).await;
    let [first, .., last] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((&last["reason"], &last["key"]), (&"quarantined".into(), &"traps".into()));
    let stored = context.get_stream("TROMMEL_DEAD").await.unwrap().get_raw_message(50).await.unwrap();
    assert_eq!(stored.subject.as_str(), "trommel.dead.quarantined");
    assert_eq!((&first["reason"], &first["filter"]), (&"trap".into(), &"mischief".into()));
    assert_eq!(first["filter_digest"].as_str().unwrap().len(), 64);
    assert_eq!((&first["stream"], &first["sequence"], &first["attempts"]), (&"IN".into(), &1.into(), &1.into()));
    assert!(router.stop().status.success());
}

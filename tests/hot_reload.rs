//! Components and keys change while events flow: nothing is lost, doubled or seen by two generations, and what is bad
//! leaves the good in force.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

#[path = "common/flow.rs"]
mod flow;
#[path = "common/nats.rs"]
mod nats;
#[path = "common/router.rs"]
mod router;

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use flow::{Load, assert_each_once, outputs_until, settings};
use nats::NatsServer;
use router::{Folder, component_bytes};
use serde_json::Value;

/// `message_id = false`: the stream must not hide a doubled output.
const NO_DEDUP: &str = "message_id = false";

const KEY: &str = r#"
    [[key]]
    key = "stamp"
    subject = "in.*"
    filter = "stamp"

    [[route]]
    key = "stamp"
    sinks = ["out"]
"#;

fn folder(url: &str) -> Folder {
    Folder::new(&settings(url, "", NO_DEDUP)).write("keys/stamp.toml", KEY).plugin("stamp", "stamp-v1")
}

fn stamped(outputs: &[(String, Value)], stamp: &str) -> usize {
    outputs.iter().filter(|(_, payload)| payload["stamp"] == stamp).count()
}

/// Adds a section that nothing reads, so that no two turns have the same content.
fn unlike_any_other(mut component: Vec<u8>, turn: u8) -> Vec<u8> {
    component.extend([0, 3, 1, b't', turn]);
    component
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_replaced_a_hundred_times_in_ten_seconds() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    for turn in 1..=100 {
        let version = if turn % 2 == 0 { "stamp-v2" } else { "stamp-v1" };
        folder.put("plugins/stamp.wasm", &unlike_any_other(component_bytes(version), turn));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    outputs_until(&context, "the last version in force", |outputs| {
        outputs.iter().rev().take(20).all(|(_, payload)| payload["stamp"] == "v2") && stamped(outputs, "v2") > 20
    })
    .await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
    assert!(stamped(&outputs, "v1") > 0);
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.log.iter().filter(|line| line.contains("reloaded")).count() >= 3, "{:?}", ended.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_with_a_mistake_is_refused_whole_and_taken_when_it_is_mended() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    folder.put("keys/stamp.toml", format!("{KEY}\n[[key]]\nkey = \"more\"\nsubjekt = \"in.*\"\n").as_bytes());
    let refused = router.wait_for("subjekt");
    assert!(refused.contains("not reloaded") && refused.contains("keys/stamp.toml:13:1"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on past the mistake", |outputs| outputs.len() > so_far + 50).await;

    let mended =
        format!("{KEY}\n[[key]]\nkey = \"more\"\nsubject = \"in.0\"\n[[route]]\nkey = \"more\"\nsinks = [\"out\"]\n");
    folder.put("keys/stamp.toml", mended.as_bytes());
    router.wait_for("reloaded");
    outputs_until(&context, "the new key's outputs", |outputs| {
        outputs.iter().any(|(subject, payload)| subject == "out.in.0" && payload.get("stamp").is_none())
    })
    .await;
    let published = load.stop().await;
    let is_stamped = |(_, payload): &&(String, Value)| payload.get("stamp").is_some();
    let outputs =
        outputs_until(&context, "all events", |outputs| outputs.iter().filter(is_stamped).count() >= published).await;
    let stamped: Vec<_> = outputs.iter().filter(is_stamped).cloned().collect();
    assert_each_once(&stamped, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_deleted_or_broken_while_in_use_stays_in_service() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    fs::remove_file(folder.file("plugins/stamp.wasm")).unwrap();
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("stamp"), "{refused}");
    // Written in two steps, as a slow copy does.
    let bytes = component_bytes("stamp-v2");
    fs::write(folder.file("plugins/stamp.wasm"), &bytes[..bytes.len() / 2]).unwrap();
    let refused = router.wait_for("it ends in the middle");
    assert!(refused.contains("not reloaded"), "{refused}");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    fs::write(folder.file("plugins/stamp.wasm"), &bytes).unwrap();
    router.wait_for("reloaded");
    outputs_until(&context, "the whole component in force", |outputs| stamped(outputs, "v2") > 20).await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_100_mb_is_refused_and_not_read() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server.url());
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    let large = [component_bytes("stamp-v2"), vec![0; 100 << 20]].concat();
    folder.put("plugins/stamp.wasm", &large);
    let refused = router.wait_for("not reloaded");
    let size = large.len();
    assert!(refused.contains("plugins/stamp.wasm") && refused.contains(&format!("{size} bytes")), "{refused}");
    let peak = router.peak_memory();
    assert!(peak < 100 << 20, "{peak} bytes were used: the file was read");
    let so_far = load.published();
    outputs_until(&context, "events flow on", |outputs| outputs.len() > so_far + 50).await;
    folder.put("plugins/stamp.wasm", &component_bytes("stamp-v2"));
    router.wait_for("reloaded");
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

/// Kubernetes mounts a ConfigMap as links into a folder behind a link that is swapped.
#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_link_is_a_reload() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&settings(&server.url(), "", NO_DEDUP)).write("keys/stamp.toml", KEY);
    for (version, component) in [("..one", "stamp-v1"), ("..two", "stamp-v2")] {
        fs::create_dir(folder.file("plugins").join(version)).unwrap();
        folder.put(&format!("plugins/{version}/stamp.wasm"), &component_bytes(component));
    }
    let plugins = folder.file("plugins");
    symlink("..one", plugins.join("..data")).unwrap();
    symlink(Path::new("..data").join("stamp.wasm"), plugins.join("stamp.wasm")).unwrap();
    let _router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    outputs_until(&context, "the first version", |outputs| stamped(outputs, "v1") > 20).await;
    symlink("..two", plugins.join("..new")).unwrap();
    fs::rename(plugins.join("..new"), plugins.join("..data")).unwrap();
    outputs_until(&context, "the second version", |outputs| stamped(outputs, "v2") > 20).await;
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
}

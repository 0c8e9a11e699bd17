//! The examples of the event families that trommel knows, run as their pages say against a real
//! server: presets, both envelopes, Avro of two versions beside JSON.

use crate::flow;
use crate::nats;
use crate::router;

use std::{fs, path::Path};

use async_nats::jetstream::stream::StorageType;
use nats::NatsServer;
use router::Folder;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

#[derive(Deserialize)]
struct Published {
    subject: String,
    message: Box<RawValue>,
}

/// A copy of an example that uses this server.
fn copy(example: &str, server: &NatsServer) -> Folder {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = root.join("examples").join(example);
    let settings = fs::read_to_string(example.join("trommel.toml")).unwrap();
    let plugins = root.join("plugins");
    let settings = settings.replace("../../plugins", plugins.to_str().unwrap());
    let folder = Folder::new(&settings.replace("nats://127.0.0.1:4222", &server.url()));
    folder.write("keys/routes.toml", &fs::read_to_string(example.join("keys/routes.toml")).unwrap())
}

/// Publishes the example's events and waits for as many outputs and dead letters as it promises;
/// returns these.
async fn prints_what_it_promises(example: &str, dead: usize) -> Vec<Value> {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = copy(example, &server);
    let mut router = folder.start();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
    for line in fs::read_to_string(example.join("events.ndjson")).unwrap().lines() {
        let Published { subject, message } = serde_json::from_str(line).unwrap();
        context.publish(subject, message.get().to_owned().into()).await.unwrap().await.unwrap();
    }
    let expected = fs::read_to_string(example.join("expected.ndjson")).unwrap();
    for _ in expected.lines() {
        router.wait_for_output("");
    }
    for _ in 0..dead {
        router.wait_for("event becomes a dead letter");
    }
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    let (mut found, mut expected) = (ended.stdout, expected.lines().map(str::to_owned).collect::<Vec<_>>());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let dead = folder.read("dead-letters.ndjson");
    dead.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// H01, H16, H20 to H25, H41, H46, H52
#[tokio::test(flavor = "multi_thread")]
async fn helix() {
    let dead = prints_what_it_promises("helix", 2).await;
    let mut reasons: Vec<_> = dead.iter().map(|record| (record["id"].as_str(), record["reason"].as_str())).collect();
    reasons.sort();
    assert_eq!(reasons, [(Some("run-10"), Some("avro_truncated")), (Some("run-9"), Some("unknown_schema"))]);
}

/// J01, J02, J05, J06, J08, J10
#[tokio::test(flavor = "multi_thread")]
async fn jb_mesh() {
    let dead = prints_what_it_promises("jb-mesh", 1).await;
    let reasons: Vec<_> = dead.iter().map(|record| (record["key"].as_str(), record["reason"].as_str())).collect();
    assert_eq!(reasons, [(Some("tool.crashed"), Some("schema_mismatch"))]);
}

/// H07 and X7: what a folder declares itself is not the preset's.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_may_declare_otherwise() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = copy("helix", &server);
    let own = "[[stream]]\nname = \"HELIX_NODES\"\nsubjects = [\"helix.nodes.>\"]\nmax_age = \"7d\"\n";
    folder.put("trommel.toml", format!("{}\n{own}", folder.read("trommel.toml")).as_bytes());
    assert!(folder.start().stop().status.success());
    let mut stream = context.get_stream("HELIX_NODES").await.unwrap();
    assert_eq!(stream.info().await.unwrap().config.max_age.as_secs(), 7 * 24 * 3600);
    let mut stream = context.get_stream("HELIX_ALERTS").await.unwrap();
    let config = &stream.info().await.unwrap().config;
    assert_eq!((&config.subjects[..], config.max_age.as_secs()), (&["helix.alerts.>".to_owned()][..], 24 * 3600));
    assert_eq!(context.get_stream("HELIX_AUDIT").await.unwrap().info().await.unwrap().config.num_replicas, 1);
}

/// H02, J10: as the server has them.
#[tokio::test(flavor = "multi_thread")]
async fn streams_of_presets_keep_what_they_promise() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let presets = "[[preset]]\nname = \"helix\"\naudit = true\n[[preset]]\nname = \"jb-mesh\"\n";
    let source = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let folder = Folder::new(&format!("[nats]\nurl = \"{}\"\n{presets}{source}", server.url()));
    let ensured = folder.trommel(&["streams", "ensure"]).output().unwrap();
    assert!(ensured.status.success(), "{ensured:?}");
    let streams = ["NODES", "SESSIONS", "SCHEDULER", "HEALTH", "ALERTS", "AUDIT"];
    let helix = streams.map(|name| (format!("HELIX_{name}"), format!("helix.{}.>", name.to_lowercase()), -1));
    for (name, subject, most) in helix.into_iter().chain([("MESH_EVENTS".to_owned(), "events.>".to_owned(), 10_000)]) {
        let mut stream = context.get_stream(&name).await.unwrap();
        let config = &stream.info().await.unwrap().config;
        assert_eq!((&config.subjects, config.max_messages), (&vec![subject], most), "{name}");
        assert_eq!((config.max_age.as_secs(), config.num_replicas), (24 * 3600, 1), "{name}");
        assert_eq!(config.storage, StorageType::File, "{name}");
    }
}

//! A router that joins a Helix cluster which runs already: it takes nothing from its streams, reads
//! each of its wires, and makes one event of one event, whether it came as JSON or as Avro.

use crate::flow;
use crate::nats;
use crate::router;

use std::process::Output;

use async_nats::jetstream::{Context, stream};
use base64::{Engine, engine::general_purpose::STANDARD};
use nats::NatsServer;
use router::{Folder, Router, component_bytes};
use serde_json::{Value, json};
use trommel::avro::{AvroSchemas, Framing, TimeForm};

/// A folder with the preset, a source for each of the streams, and standard output.
fn folder(server: &NatsServer, preset: &str, more: &str, streams: &[&str]) -> Folder {
    let url = server.url();
    let mut settings = format!("[nats]\nurl = \"{url}\"\n[[preset]]\nname = \"helix\"\n{preset}\n{more}\n");
    for stream in streams {
        settings += &format!(
            "[[source]]\nname = \"{stream}\"\ntype = \"jetstream\"\nstream = \"{stream}\"\ndurable = \"trommel\"\n\
             envelope = \"helix\"\n"
        );
    }
    Folder::new(&format!(
        "{settings}[[sink]]\nname = \"out\"\ntype = \"stdout\"\n[dead_letter]\nfile = \"dead.ndjson\"\n"
    ))
}

fn routes(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("[[route]]\nkey = \"{key}\"\nsinks = [\"out\"]\n")).collect()
}

/// Makes a stream as the programs of a cluster make it: for one subject, unlimited.
async fn live(context: &Context, name: &str, subject: &str) {
    let config = stream::Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
}

async fn config(context: &Context, name: &str) -> stream::Config {
    context.get_stream(name).await.unwrap().info().await.unwrap().config.clone()
}

/// Publishes an event as the programs of a cluster do, with this payload.
async fn publish(context: &Context, subject: &str, id: &str, payload: impl AsRef<[u8]>) {
    let message = json!({
        "id": id, "type": subject, "source": "helix", "payload": STANDARD.encode(payload),
        "timestamp": "2026-03-14T08:00:00Z",
    });
    context.publish(subject.to_owned(), message.to_string().into()).await.unwrap().await.unwrap();
}

fn node_event(run: &str, node: &str) -> String {
    format!(r#"{{"run_id":"{run}","node_id":"{node}","timestamp":"2026-03-14T08:00:00.000000001Z","action":"failed"}}"#)
}

/// A node event as Avro, V1 or V2, by the schemas of the cluster's programs: without logical types.
fn node_avro(version: u32, run: &str, node: &str) -> Vec<u8> {
    let action = if version == 2 { r#",{"name":"action","type":"string"}"# } else { "" };
    let schema = format!(
        r#"{{"type":"record","name":"NodeEvent","fields":[{{"name":"run_id","type":"string"}},
            {{"name":"node_id","type":"string"}},{{"name":"timestamp","type":"long"}}{action}]}}"#
    );
    let schemas = AvroSchemas::parse(&[("node", &schema)]).unwrap();
    let event =
        json!({ "run_id": run, "node_id": node, "timestamp": 1_773_475_200_000_000_001_i64, "action": "failed" });
    let encoder = schemas.encoder(&schemas.get("node").unwrap(), Framing::SingleObject).unwrap();
    encoder.encode(event.to_string().as_bytes()).unwrap()
}

fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].concat().escape_ascii().to_string().replace("\\n", "\n").replace("\\\"", "\"")
}

/// H12, H13: whatever the preset says, a stream of the cluster loses nothing and keeps what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_cluster_keeps_its_subjects() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    live(&context, "HELIX_NODES", "nodes.>").await;
    let before = config(&context, "HELIX_NODES").await;
    let folder = folder(&server, "", "", &["HELIX_NODES"]).write("keys/routes.toml", &routes(&["helix.node"]));
    let planned = folder.trommel(&["streams", "plan"]).output().unwrap();
    let planned = said(&planned);
    let plan = "HELIX_NODES: to update\n  subjects: [\"nodes.>\"] -> [\"nodes.>\",\"helix.nodes.>\"]\n  \
                keeps subjects that are not declared: [\"nodes.>\"]\nHELIX_SESSIONS: to create\n";
    assert!(planned.starts_with(plan), "{planned}");
    let mut router = Router::spawn(folder.command());
    router.wait_for("has subjects that are not declared, and keeps them");
    router.wait_for("running");
    let after = config(&context, "HELIX_NODES").await;
    assert_eq!(after.subjects, ["nodes.>", "helix.nodes.>"]);
    assert_eq!(after, stream::Config { subjects: after.subjects.clone(), ..before });
    publish(&context, "nodes.n1.failed", "run-1", node_event("run-1", "n1")).await;
    publish(&context, "helix.nodes.n2.failed", "run-2", node_event("run-2", "n2")).await;
    assert!(router.wait_for_output("").contains("run-2"));
    assert!(router.stop().status.success());
}

/// H12, H17: the preset's keys and streams are those of the cluster, which stays as it was.
#[tokio::test(flavor = "multi_thread")]
async fn each_wire_is_read_without_a_change() {
    for (wire, prefix, domains) in [
        (
            "helix-backend",
            "",
            &[
                "HELIX_NODES nodes.>",
                "HELIX_SESSIONS sessions.>",
                "HELIX_SCHEDULER scheduler.>",
                "HELIX_HEALTH health.>",
                "HELIX_ALERTS alerts.>",
            ][..],
        ),
        ("nats-backend", "eventbus.", &["EVENTBUS eventbus.>"]),
    ] {
        let server = NatsServer::start().await;
        let context = flow::connect(&server.url()).await;
        let mut before = Vec::new();
        for (name, subject) in domains.iter().map(|domain| domain.split_once(' ').unwrap()) {
            live(&context, name, subject).await;
            before.push(config(&context, name).await);
        }
        let names: Vec<_> = before.iter().map(|stream| stream.name.as_str()).collect();
        let keys = ["helix.node", "helix.session", "helix.health", "helix.alert"];
        let folder =
            folder(&server, &format!("wire = \"{wire}\""), "", &names).write("keys/routes.toml", &routes(&keys));
        let plan = folder.trommel(&["streams", "plan"]).output().unwrap();
        assert!(plan.status.success(), "{wire}: {}", said(&plan));
        let mut router = folder.start();
        for (stream, before) in names.iter().zip(&before) {
            assert_eq!(config(&context, stream).await, *before, "{wire}");
        }
        publish(&context, &format!("{prefix}nodes.n1.failed"), "a", node_avro(1, "a", "n1")).await;
        router.wait_for_output(r#""run_id":"a""#);
        let session = r#"{"run_id":"b","session_id":"s","action":"attach","timestamp":"2026-03-14T08:00:00Z"}"#;
        publish(&context, &format!("{prefix}sessions.s.attach"), "b", session).await;
        router.wait_for_output(session);
        publish(&context, &format!("{prefix}health.n1.probe"), "c", r#"{"entity_id":"n1","ok":true}"#).await;
        router.wait_for_output(r#"{"entity_id":"n1","ok":true}"#);
        publish(&context, &format!("{prefix}alerts.zone-a.fire"), "d", r#"{"entity_id":"zone-a"}"#).await;
        router.wait_for_output(r#"{"entity_id":"zone-a"}"#);
        assert!(router.stop().status.success());
    }
}

/// H07: production has replicas and ages of its own, a field at a time.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_folder_says_of_a_presets_stream_joins_the_rest() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let more = "[[stream]]\nname = \"HELIX_ALERTS\"\nmax_msgs = 500\n";
    let made = folder(&server, "replicas = 1", more, &["HELIX_NODES"]);
    let made = made.trommel(&["streams", "ensure"]).output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let alerts = config(&context, "HELIX_ALERTS").await;
    assert_eq!((alerts.max_messages, alerts.max_age.as_secs(), &*alerts.subjects[0]), (500, 86_400, "helix.alerts.>"));
    // What the folder says counts for streams that exist, too.
    let older = folder(&server, "max_age = \"7d\"", "", &["HELIX_NODES"]);
    assert!(older.trommel(&["streams", "ensure"]).output().unwrap().status.success());
    assert_eq!(config(&context, "HELIX_NODES").await.max_age.as_secs(), 7 * 86_400);
    let without = folder(&server, "streams = false", "", &["HELIX_NODES"]);
    let plan = without.trommel(&["streams", "plan"]).output().unwrap();
    assert!(said(&plan).contains("declares no streams"), "{}", said(&plan));
    // One server has no replicas: the run ends as `ensure` does.
    let replicated =
        folder(&server, "replicas = 3", "", &["HELIX_NODES"]).write("keys/r.toml", &routes(&["helix.node"]));
    let ran = replicated.run();
    assert_eq!(ran.status.code(), Some(2), "{}", said(&ran));
    assert_eq!(replicated.trommel(&["streams", "ensure"]).output().unwrap().status.code(), Some(2));
}

/// H25, H52: filters and sinks meet one form, and Avro sinks take either.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_the_same_on_both_wires() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let avro = "[[stream]]\nname = \"OUT\"\nsubjects = [\"out.>\"]\n[[sink]]\nname = \"avro\"\ntype = \"nats\"\n\
                subject = \"out.{subject}\"\nencode = \"avro\"\nwriter_schema = \"helix-node-v2\"\n";
    let route = "[[route]]\nkey = \"helix.node\"\nsinks = [\"out\", \"avro\"]\n";
    let mut router = folder(&server, "", avro, &["HELIX_NODES"]).write("keys/routes.toml", route).start();
    publish(&context, "helix.nodes.n1.failed", "a", node_event("a", "n1")).await;
    publish(&context, "helix.nodes.n1.failed", "b", node_avro(2, "b", "n1")).await;
    for run in ["a", "b"] {
        assert_eq!(router.wait_for_output(""), node_event(run, "n1"));
    }
    // Stopped, it has sent everything.
    assert!(router.stop().status.success());
    let schemas = AvroSchemas::parse(&[("node", include_str!("../../crates/folder/src/preset/helix/node-v2.avsc"))]);
    let decoder = schemas.unwrap().decoder(None, TimeForm::Rfc3339);
    let out = context.get_stream("OUT").await.unwrap();
    for (sequence, run) in [(1, "a"), (2, "b")] {
        let message = out.get_raw_message(sequence).await.unwrap();
        let event: Value = serde_json::from_slice(&decoder.decode(&message.payload).unwrap()).unwrap();
        assert_eq!(event, serde_json::from_str::<Value>(&node_event(run, "n1")).unwrap());
        assert_eq!(message.payload, node_avro(2, run, "n1"), "as the cluster's programs write it");
    }
}

/// H23: events of one node keep their order, with a slow filter and many lanes, however each came.
#[tokio::test(flavor = "multi_thread")]
async fn order_holds_where_json_and_avro_mix() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let key = "[[key]]\nkey = \"slow\"\nsubject = \"helix.nodes.>\"\ndecode = \"auto\"\nreader_schema = \"helix-node-v2\"\n\
               order_by = \"/node_id\"\nfilter = \"misbehave\"\nworkers = 8\nparams = [{ name = \"mode\" }, { name = \"n\" }]\n\
               [[route]]\nkey = \"slow\"\nparams = { mode = \"slow\", n = \"5\" }\nsinks = [\"out\"]\n";
    let folder = folder(
        &server,
        "",
        "[pipeline]\nlanes = 32\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n",
        &["HELIX_NODES"],
    )
    .write("keys/slow.toml", key);
    folder.put("plugins/misbehave.wasm", &component_bytes("misbehave"));
    let ensured = folder.trommel(&["streams", "ensure"]).output().unwrap();
    assert!(ensured.status.success(), "{}", said(&ensured));
    for number in 0..12 {
        for node in 0..5 {
            let (run, node) = (format!("{number:02}"), format!("n{node}"));
            let payload = match number % 4 {
                3 => node_avro(2, &run, &node),
                1 => node_avro(1, &run, &node),
                _ => node_event(&run, &node).into_bytes(),
            };
            publish(&context, &format!("helix.nodes.{node}.failed"), &format!("{node}-{run}"), payload).await;
        }
    }
    let mut router = folder.start();
    for _ in 0..60 {
        router.wait_for_output("");
    }
    let outputs = router.stop().stdout;
    for node in 0..5 {
        let node = format!("n{node}");
        let events = outputs.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let runs: Vec<_> =
            events.filter(|event| event["node_id"] == node).map(|event| event["run_id"].clone()).collect();
        assert_eq!(runs, (0..12).map(|number| json!(format!("{number:02}"))).collect::<Vec<_>>(), "{node}");
    }
}

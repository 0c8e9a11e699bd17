//! Health: `status`, `/health`, `/ready`, the metric and the log agree on what is wrong, since
//! when, and that it is over.

use crate::flow;
use crate::nats;
use crate::patience::until_ok;
use crate::router;

use std::net::SocketAddr;

use async_nats::jetstream::{self, stream};
use flow::{connect, publish};
use nats::NatsServer;
use router::{Folder, Router, component_bytes, get};
use serde_json::Value;
use tokio::net::TcpListener;

/// Connections that a router tries to make in vain.
const TRIES: usize = 30;

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

/// A router from stream `IN` to stream `OUT`, which it does not make.
fn folder(server: &NatsServer, admin: &str) -> Folder {
    let settings = format!(
        r#"
        [nats]
        url = "{}"

        [admin]
        listen = "127.0.0.1:0"
        {admin}

        [[source]]
        name = "in"
        type = "jetstream"
        stream = "IN"
        durable = "trommel"

        [[sink]]
        name = "out"
        type = "nats"
        subject = "out.{{subject}}"
        "#,
        server.url()
    );
    Folder::new(&settings).write("keys/all.toml", KEY)
}

async fn make(context: &jetstream::Context, name: &str, subject: &str) {
    let config = stream::Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
}

fn start(folder: &Folder) -> (Router, SocketAddr) {
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    router.wait_for("running");
    (router, admin)
}

/// The part as `/health` shows it, once it has this level; everything else that shows it must
/// agree.
async fn until_level(folder: &Folder, admin: SocketAddr, (kind, name): (&str, &str), level: &str) -> Value {
    let part = until_ok(&format!("{kind} {name} is {level}"), async || {
        let health: Value = serde_json::from_str(&get(admin, "/health").1).unwrap();
        let mut parts = health["parts"].as_array().unwrap().iter();
        let part = parts.find(|part| part["kind"] == kind && part["name"] == name).cloned();
        part.filter(|part| part["level"] == level).ok_or(health)
    })
    .await;
    let number = ["ok", "degraded", "down"].iter().position(|word| *word == level).unwrap();
    let metric = format!("trommel_health{{kind=\"{kind}\",name=\"{name}\"}} {number}\n");
    assert!(get(admin, "/metrics").1.contains(&metric), "{metric}");
    let output = folder.trommel(&["status"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    match part["why"].as_str() {
        Some(why) => assert!(text.contains(&format!("{level} for ")) && text.contains(why), "{text}"),
        None => assert!(!text.contains(&format!("{kind} {name}: d")), "{text}"),
    }
    part
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_reload_stays_visible_until_the_file_is_mended() {
    let server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    let folder = folder(&server, "");
    let (mut router, admin) = start(&folder);
    let part = ("configuration", "");
    until_level(&folder, admin, part, "ok").await;
    folder.put("keys/all.toml", KEY.replace("sinks =", "sink =").as_bytes());
    let refused = until_level(&folder, admin, part, "degraded").await;
    let why = refused["why"].as_str().unwrap();
    assert!(why.contains("keys/all.toml:6") && why.contains("`sinks` is missing"), "{why}");
    // Another file that is good changes nothing about it.
    folder.put("keys/other.toml", KEY.replace("\"all\"", "\"other\"").as_bytes());
    assert_eq!(until_level(&folder, admin, part, "degraded").await["since"], refused["since"]);
    folder.put("keys/all.toml", KEY.as_bytes());
    until_level(&folder, admin, part, "ok").await;
    router.wait_for("the folders' files are all in force again");
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_refuses_is_seen_until_it_takes_outputs() {
    let server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    let folder = folder(&server, "");
    let (mut router, admin) = start(&folder);
    publish(&context, 0..5, 1).await;
    let refused = until_level(&folder, admin, ("sink", "out"), "degraded").await;
    assert!(refused["why"].as_str().unwrap().contains("no stream keeps `out.in.0`"), "{refused}");
    make(&context, "OUT", "out.>").await;
    until_level(&folder, admin, ("sink", "out"), "ok").await;
    router.wait_for("takes outputs again");
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_whose_stream_is_deleted_is_down_until_there_is_one_again() {
    let server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    let folder = folder(&server, "");
    let (mut router, admin) = start(&folder);
    context.delete_stream("IN").await.unwrap();
    let gone = until_level(&folder, admin, ("source", "in"), "down").await;
    assert_eq!(gone["why"], "consumer `trommel` of stream `IN` is gone");
    assert_eq!((get(admin, "/health").0, get(admin, "/ready").0), (503, 503));
    assert!(get(admin, "/metrics").1.contains("trommel_source_connected{name=\"in\"} 0\n"));
    make(&context, "IN", "in.>").await;
    until_level(&folder, admin, ("source", "in"), "ok").await;
    router.wait_for("the source is well again");
    assert_eq!((get(admin, "/health").0, get(admin, "/ready").0), (200, 200));
    assert!(router.stop().status.success());
}

/// An outage of the server is three lines for each connection at most, and leaves a router in
/// service that is to stay there.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_server_is_said_once() {
    let mut server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    let folder = folder(&server, "ready = \"process\"");
    let (mut router, admin) = start(&folder);
    server.kill();
    let away = until_level(&folder, admin, ("source", "in"), "down").await;
    let address = server.address().to_string();
    assert!(away["why"].as_str().unwrap().contains(&address), "{away}");
    assert_eq!((get(admin, "/health").0, get(admin, "/ready").0), (503, 200));
    router.wait_for("connection to NATS lost");
    let port = TcpListener::bind(server.address()).await.unwrap();
    for _ in 0..TRIES {
        port.accept().await.unwrap();
    }
    drop(port);
    server.start_again().await;
    until_level(&folder, admin, ("source", "in"), "ok").await;
    let again = router.wait_for("connected to NATS again");
    assert!(again.contains(&address) && again.contains("after="), "{again}");
    let log = router.stop().log;
    let said = log.iter().filter(|line| line.contains("can't reconnect")).count();
    assert_eq!(said, 0, "{log:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_in_quarantine_is_down_and_one_that_is_refused_degraded() {
    let server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    make(&context, "OUT", "out.>").await;
    let params = "filter = \"mischief\"\nparams = [{ name = \"mode\", type = \"string\" }]\n\n[[route]]";
    let key = KEY.replace("[[route]]", params).replace("sinks", "params = { mode = \"trap-process\" }\nsinks");
    let folder = folder(&server, "\n[[filter]]\nname = \"mischief\"\ngrants = [\"state\"]\n");
    let folder = folder.write("keys/all.toml", &key).plugin("mischief", "misbehave");
    let (mut router, admin) = start(&folder);
    publish(&context, 0..100, 1).await;
    let part = ("filter", "mischief");
    let broken = until_level(&folder, admin, part, "down").await;
    assert!(broken["why"].as_str().unwrap().contains("its events wait"), "{broken}");
    folder.put("plugins/mischief.wasm", &component_bytes("stamp-v1"));
    until_level(&folder, admin, part, "ok").await;
    router.wait_for("the filter is sound again");
    assert!(get(admin, "/metrics").1.contains("trommel_filter_quarantined{name=\"mischief\"} 0\n"));
    folder.put("plugins/mischief.wasm", b"\0asm no component");
    let refused = until_level(&folder, admin, part, "degraded").await;
    assert!(refused["why"].as_str().unwrap().contains("stays in service"), "{refused}");
    folder.put("plugins/mischief.wasm", &component_bytes("stamp-v1"));
    until_level(&folder, admin, part, "ok").await;
    // The last good one is back by itself, and then in its file, too.
    folder.put("plugins/mischief.wasm", &component_bytes("misbehave"));
    router.wait_for("loaded a component");
    publish(&context, 100..200, 1).await;
    let rolled_back = until_level(&folder, admin, part, "degraded").await;
    assert!(rolled_back["why"].as_str().unwrap().contains("is in its place"), "{rolled_back}");
    folder.put("plugins/mischief.wasm", &component_bytes("stamp-v1"));
    until_level(&folder, admin, part, "ok").await;
    assert!(router.stop().status.success());
}

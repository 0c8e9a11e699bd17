//! What a start waits for, what it touches and when, and that it can be told to stop at any time.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use flow::{Load, assert_each_once, outputs_until, settings};
use nats::NatsServer;
use router::{Folder, Router};
use rustix::process::Signal;

const KEY: &str = "[[key]]\nkey = \"all\"\nsubject = \">\"\n[[route]]\nkey = \"all\"\nsinks = [\"out\"]\n";

fn relay(url: &str) -> Folder {
    Folder::new(&settings(url, "ack_wait = \"2s\"", "")).write("keys/all.toml", KEY)
}

async fn streams(context: &jetstream::Context) -> Vec<String> {
    use futures_util::TryStreamExt as _;
    context.stream_names().try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for() {
    let mut server = NatsServer::start().await;
    server.terminate();
    let folder = relay(&server.url());
    let mut router = Router::spawn(folder.command());
    let waiting = router.wait_for("waiting for the NATS server");
    assert!(waiting.contains(&server.url()), "{waiting}");
    server.start_again().await;
    router.wait_for("running");
    let context = flow::connect(&server.url()).await;
    flow::publish(&context, 0..10, 3).await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() == 10).await;
    assert_each_once(&outputs, 10);
    assert!(router.stop().status.success());
}

/// As an account that has no JetStream yet: nobody answers.
#[tokio::test(flavor = "multi_thread")]
async fn jetstream_is_waited_for() {
    let accounts = |jetstream: &str| {
        format!("accounts {{ A {{ {jetstream} users: [{{ user: all, password: x }}] }} }}\nno_auth_user: all")
    };
    let server = NatsServer::with_config(&accounts("")).await;
    let folder = relay(&server.url());
    let impatient = folder.trommel(&["run", "--connect-timeout", "300ms"]).output().unwrap();
    let said = String::from_utf8_lossy(&impatient.stderr);
    assert!(impatient.status.code() == Some(1) && said.contains("JetStream"), "{said}");
    let mut router = Router::spawn(folder.command());
    router.wait_for("waiting for the NATS server");
    server.reconfigure(&accounts("jetstream: enabled,"));
    router.wait_for("running");
    assert!(router.stop().status.success());
}

#[test]
fn a_start_that_waits_can_be_stopped() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = relay(&format!("nats://{}", silent.local_addr().unwrap()));
    for signal in [Signal::TERM, Signal::INT] {
        let mut router = Router::spawn(folder.command());
        // From here on it waits for a word of the server.
        drop(silent.accept().unwrap());
        let (connection, _) = silent.accept().unwrap();
        let told = Instant::now();
        router.signal(signal);
        let ended = router.end();
        drop(connection);
        assert!(ended.status.success() && told.elapsed() < Duration::from_secs(3), "{ended:?}");
    }
}

/// Streams, consumers and what filters do upstream: all or nothing of the folder.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_fault_leaves_the_server_as_it_is() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = relay(&server.url());
    folder.put("plugins/broken.wasm", b"no component");
    folder.put("keys/broken.toml", b"[[key]]\nkey = \"broken\"\nsubject = \"b\"\nfilter = \"broken\"\n");
    let output = folder.run();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(streams(&context).await, Vec::<String>::new());
    // And whoever has such a folder hears of it although the server is away.
    drop(server);
    assert_eq!(folder.run().status.code(), Some(2));
}

/// A stream in memory goes with its server.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_stream_that_is_gone_is_made_again() {
    let mut server = NatsServer::start().await;
    let settings = settings(&server.url(), "", "").replacen("\"IN\"\n", "\"IN\"\nstorage = \"memory\"\n", 1);
    let folder = Folder::new(&settings).write("keys/all.toml", KEY);
    let router = folder.start();
    server.kill();
    server.start_again().await;
    let context = flow::connect(&server.url()).await;
    // Its events are refused until it is there.
    let load = Load::start(context.clone(), 3, Duration::from_millis(10));
    let outputs = outputs_until(&context, "events flow again", |outputs| outputs.len() > 20).await;
    drop(outputs);
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| flow::counts(outputs).len() >= published).await;
    assert_each_once(&outputs, published);
    // One that somebody deletes is gone no longer.
    context.delete_stream("TROMMEL_DEAD").await.unwrap();
    until("it is made again", async || streams(&context).await.contains(&"TROMMEL_DEAD".to_owned())).await;
    assert!(router.stop().status.success());
}

/// The account has room for two streams, and then for three.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_does_not_need_the_dead_letters() {
    let limits = |streams: u32| {
        format!(
            "accounts {{ A {{ jetstream: {{ max_streams: {streams} }}, users: [{{ user: all, password: x }}] }} }}\n\
             no_auth_user: all"
        )
    };
    let server = NatsServer::with_config(&limits(2)).await;
    let context = flow::connect(&server.url()).await;
    let folder = relay(&server.url());
    let key =
        "[[key]]\nkey = \"json\"\nsubject = \">\"\ndecode = \"json\"\n[[route]]\nkey = \"json\"\nsinks = [\"out\"]\n";
    folder.put("keys/all.toml", key.as_bytes());
    let mut router = Router::spawn(folder.command());
    router.wait_for("no dead letters can be stored yet");
    router.wait_for("running");
    context.publish("in.0", "no JSON".into()).await.unwrap().await.unwrap();
    flow::publish(&context, 0..10, 3).await;
    let outputs = outputs_until(&context, "what is well", |outputs| outputs.len() == 10).await;
    assert_each_once(&outputs, 10);
    server.reconfigure(&limits(3));
    assert_eq!(flow::dead_letters_until(&context, 1).await.len(), 1);
    assert!(router.stop().status.success());
}

/// As where an account imports the API of another: nothing answers to the usual subjects.
#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_asked_by_its_prefix_alone() {
    let accounts = r#"
        accounts {
          HUB { jetstream: enabled, users: [{ user: all, password: x }], exports: [
            { service: "$JS.API.>", response_type: stream }, { service: "$JS.ACK.>" }, { service: "out.>" } ] }
          EDGE { users: [{ user: edge, password: x }], imports: [
            { service: { account: HUB, subject: "$JS.API.>" }, to: "JS.hub.>" }
            { service: { account: HUB, subject: "$JS.ACK.>" } }
            { service: { account: HUB, subject: "out.>" } } ] }
        }
        no_auth_user: all
    "#;
    let server = NatsServer::with_config(accounts).await;
    let url = server.url().replace("//", "//edge:x@");
    let settings = settings(&format!("{url}\"\napi_prefix = \"JS.hub\"\n#"), "", "");
    let folder = Folder::new(&settings).write("keys/all.toml", KEY);
    let router = folder.start();
    let context = flow::connect(&server.url()).await;
    flow::publish(&context, 0..10, 3).await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() == 10).await;
    assert_each_once(&outputs, 10);
    let history = folder.trommel(&["history"]).output().unwrap();
    assert!(history.status.success() && history.stdout.len() > 100, "{history:?}");
    assert!(router.stop().status.success());
}

/// With a domain, the server checks the subject behind the prefix, and names that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_behind_a_prefix_is_told_at_once() {
    let accounts = r#"
        accounts { A { jetstream: enabled, mappings: { "$JS.edge.API.>": "$JS.API.>" }, users: [
          { user: router, password: x, permissions: { publish: { deny: "$JS.API.STREAM.INFO.>" } } } ] } }
    "#;
    let server = NatsServer::with_config(accounts).await;
    let url = server.url().replace("//", "//router:x@");
    let settings = settings(&format!("{url}\"\ndomain = \"edge\"\n#"), "", "");
    let output = Folder::new(&settings).write("keys/all.toml", KEY).run();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

/// One that was made by somebody else confirms nothing, or takes nothing any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_stream_that_is_of_no_use_is_changed_or_refused() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let out = |no_ack, sealed| jetstream::stream::Config {
        name: "OUT".to_owned(),
        subjects: vec!["out.>".to_owned()],
        no_ack,
        sealed,
        ..Default::default()
    };
    let folder = relay(&server.url());
    context.create_stream(out(true, false)).await.unwrap();
    let router = folder.start();
    flow::publish(&context, 0..10, 3).await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() == 10).await;
    assert_each_once(&outputs, 10);
    assert!(router.stop().status.success());
    context.update_stream(out(false, true)).await.unwrap();
    let output = folder.run();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("`sealed` is true"), "{said}");
}

/// As when its server is away, or does not let it listen.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_hears_of_no_events_is_not_ready() {
    let mut server = NatsServer::start().await;
    let settings = format!("{}\n[admin]\nlisten = \"127.0.0.1:0\"\n", settings(&server.url(), "", ""));
    let folder = Folder::new(&settings).write("keys/all.toml", KEY);
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    router.wait_for("running");
    let becomes = async |status: u16, text: &str| {
        until(text, async || router::get(admin, "/ready") == (status, text.to_owned())).await
    };
    becomes(200, "ready\n").await;
    server.terminate();
    becomes(503, "source `in` is not connected\n").await;
    server.start_again().await;
    becomes(200, "ready\n").await;
    assert!(router.stop().status.success());
}

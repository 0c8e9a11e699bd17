//! Keys with a consumer of their own: what waits for one waits on the server, and the others never
//! meet it.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;

use std::{collections::BTreeMap, fs};

use async_nats::jetstream::{
    self,
    consumer::{Info, PullConsumer},
};
use flow::{assert_each_once, outputs, publish, settings};
use nats::NatsServer;
use router::{Folder, Router, get};

const SUBJECTS: usize = 7;

/// Takes everything into the stream `OUT`.
const REST: &str = r#"
    [[key]]
    key = "rest"
    subject = "in.*"

    [[route]]
    key = "rest"
    sinks = ["out"]
"#;

/// Takes one subject into a folder, which the test takes away.
fn held(subject: &str, more: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "a.held"
        subject = "{subject}"
        {more}

        [[route]]
        key = "a.held"
        sinks = ["folder"]
        "#
    )
}

const ISOLATED: &str = "isolation = \"key\"";

fn folder(server: &NatsServer, more: &str) -> Folder {
    let sink = "[[sink]]\nname = \"folder\"\ntype = \"folder\"\npath = \"out\"\n";
    let pipeline = "[pipeline]\nin_flight = 50\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    let settings = settings(&server.url(), "batch = 20", "message_id = false") + sink + pipeline;
    let folder = Folder::new(&settings).write("keys/rest.toml", REST).write("keys/held.toml", &held("in.0", more));
    fs::create_dir(folder.file("out")).unwrap();
    folder
}

async fn consumer(context: &jetstream::Context, name: &str) -> Option<Info> {
    let stream = context.get_stream("IN").await.ok()?;
    let mut consumer: PullConsumer = stream.get_consumer(name).await.ok()?;
    Some(consumer.info().await.unwrap().clone())
}

/// Whether a consumer has nothing left to do.
async fn is_through(context: &jetstream::Context, name: &str) -> bool {
    consumer(context, name).await.is_some_and(|info| info.num_ack_pending == 0 && info.num_pending == 0)
}

/// How often each number is in the folder, where what has the same id is one file.
fn written(folder: &Folder) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for file in fs::read_dir(folder.file("out")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        *counts.entry(flow::number(&serde_json::from_str(&text).unwrap())).or_default() += 1;
    }
    counts
}

fn of_subject(subject: usize, numbers: std::ops::Range<usize>) -> impl Iterator<Item = u64> {
    numbers.filter(move |number| number % SUBJECTS == subject).map(|number| number as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_isolated_key_waits_on_the_server() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, ISOLATED);
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    router.wait_for("running");
    fs::rename(folder.file("out"), folder.file("away")).unwrap();
    fs::write(folder.file("out"), "").unwrap();

    publish(&context, 0..1000, SUBJECTS).await;
    until("the other key has all", async || is_through(&context, "trommel").await).await;
    assert_each_once(&outputs(&context).await, 1000);
    let own = consumer(&context, "trommel=a=held").await.unwrap();
    let waiting = own.num_ack_pending as u64 + own.num_pending;
    assert_eq!((waiting, own.num_ack_pending), (of_subject(0, 0..1000).count() as u64, 50));
    until("the key's source waits", async || get(admin, "/metrics").1.contains("source_paused{name=\"in/a.held\"} 1"))
        .await;
    assert_eq!(get(admin, "/ready").0, 200, "the router does its work");

    fs::remove_file(folder.file("out")).unwrap();
    fs::rename(folder.file("away"), folder.file("out")).unwrap();
    until("it has caught up", async || is_through(&context, "trommel=a=held").await).await;
    assert!(written(&folder).into_keys().eq(of_subject(0, 0..1000)));
    assert!(router.stop().status.success());
}

/// Each event comes to the key from one of the two consumers, whichever way it goes over.
#[tokio::test(flavor = "multi_thread")]
async fn isolation_comes_and_goes_while_the_router_runs() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "");
    let mut router = folder.start();
    let mut published = 0;
    let mut publish_more = async || {
        publish(&context, published..published + 200, SUBJECTS).await;
        published += 200;
        until("all is done", async || {
            let own =
                consumer(&context, "trommel=a=held").await.is_none() || is_through(&context, "trommel=a=held").await;
            own && is_through(&context, "trommel").await
        })
        .await;
        published
    };
    publish_more().await;

    folder.put("keys/held.toml", held("in.0", ISOLATED).as_bytes());
    router.wait_for("reloaded");
    until("the key has its consumer", async || consumer(&context, "trommel=a=held").await.is_some()).await;
    let all = publish_more().await;
    assert!(written(&folder).into_keys().eq(of_subject(0, 0..all)));
    assert_eq!(
        consumer(&context, "trommel=a=held").await.unwrap().delivered.consumer_sequence,
        of_subject(0, 200..all).count() as u64
    );

    // The key takes other subjects, and so does its consumer.
    folder.put("keys/held.toml", held("in.1", ISOLATED).as_bytes());
    router.wait_for("reloaded");
    until("its consumer knows", async || {
        consumer(&context, "trommel=a=held").await.unwrap().config.filter_subject == "in.1"
    })
    .await;
    let more = publish_more().await;
    let expected: Vec<_> = of_subject(0, 0..all).chain(of_subject(1, all..more)).collect();
    let is_written = async || written(&folder).into_keys().eq(std::collections::BTreeSet::from_iter(expected.clone()));
    until("they are written", is_written).await;

    // What has a consumer keeps it, until it is deleted.
    folder.put("keys/held.toml", held("in.1", "").as_bytes());
    router.wait_for("reloaded");
    publish_more().await;
    assert!(router.stop().status.success());
    let mut router = Router::spawn(folder.command());
    router.wait_for("is not isolated any more");
    router.wait_for("running");
    publish_more().await;
    assert!(router.stop().status.success());
    context.get_stream("IN").await.unwrap().delete_consumer("trommel=a=held").await.unwrap();
    let router = folder.start();
    let end = publish_more().await;
    let expected: Vec<_> = of_subject(0, 0..all).chain(of_subject(1, all..end)).collect();
    let counts = written(&folder);
    assert!(counts.values().all(|count| *count == 1));
    assert!(counts.into_keys().eq(std::collections::BTreeSet::from_iter(expected)));
    assert!(router.stop().status.success());
}

/// Under the sequences of a stream that is made again lie other events, which come to the key once.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_made_again_comes_once_to_an_isolated_key() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "");
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    router.wait_for("running");
    let matched = || {
        let page = get(admin, "/metrics").1;
        let line =
            page.lines().find_map(|line| line.strip_prefix("trommel_key_events_matched_total{name=\"a.held\"} "));
        line.unwrap().parse::<usize>().unwrap()
    };
    publish(&context, 0..200, SUBJECTS).await;
    until("all is done", async || is_through(&context, "trommel").await).await;
    folder.put("keys/held.toml", held("in.0", ISOLATED).as_bytes());
    router.wait_for("reloaded");
    until("the key has its consumer", async || consumer(&context, "trommel=a=held").await.is_some()).await;
    let before = matched();
    context.delete_stream("IN").await.unwrap();
    // The router declares it, and makes it again.
    until("all are there again", async || {
        let is_there = context.get_stream("IN").await.is_ok();
        is_there
            && consumer(&context, "trommel").await.is_some()
            && consumer(&context, "trommel=a=held").await.is_some()
    })
    .await;
    publish(&context, 200..270, SUBJECTS).await;
    let expected = before + of_subject(0, 200..270).count();
    until("the key has them", async || is_through(&context, "trommel=a=held").await && matched() >= expected).await;
    until("the others have them", async || is_through(&context, "trommel").await).await;
    assert_eq!(matched(), expected);
    assert!(router.stop().status.success());
}

#[test]
fn a_key_that_can_not_be_isolated_is_refused_with_a_way_out() {
    let refused = |source: &str, key: &str| {
        let folder = Folder::new(&settings("nats://127.0.0.1:1", source, "")).write("keys/k.toml", key);
        trommel::folder::load(folder.path()).map(|_| ()).unwrap_err().to_string()
    };
    let by_type = "[[key]]\nkey = \"k\"\nevent_type = \"t\"\nisolation = \"key\"\n";
    let text = refused("", by_type);
    assert!(text.starts_with("keys/k.toml:4:13: ") && text.contains("give the key a `subject`"), "{text}");
    let by_subject = "[[key]]\nkey = \"k\"\nsubject = \"in.>\"\nisolation = \"key\"\n";
    let text = refused("envelope = \"flowcraft\"", by_subject);
    assert!(text.starts_with("keys/k.toml:1:1: key `k` can't be isolated: the events of source `in`"), "{text}");
}

//! Odd messages by the thousand: for each that a stream can hold there is an end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{self, PullConsumer},
    stream,
};
use fastrand::Rng;
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::sleep;

use crate::{given, load::send, nats::NatsServer, odd::Odd, router::Folder};

const MAX_PAYLOAD: usize = 64 << 10;
const MESSAGES: usize = 3_000;
/// How long nothing may get on.
const PATIENCE: Duration = Duration::from_secs(60);

/// For every message that a stream can hold there is an end, one.
#[tokio::test]
async fn every_message_has_an_end() {
    let seed = given("TORTURE_SEED").unwrap_or_else(|| fastrand::u64(..));
    let count = given("TORTURE_MESSAGES").unwrap_or(MESSAGES);
    eprintln!("TORTURE_SEED={seed} TORTURE_MESSAGES={count}");
    let server = NatsServer::with_config(&format!("max_payload: {MAX_PAYLOAD}")).await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    for (name, subject) in [("IN", "odd.>"), ("OUT", "out.>")] {
        let config = stream::Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..Default::default() };
        context.create_stream(config).await.unwrap();
    }
    let settings = format!(
        r#"
[nats]
url = "{}"
[[source]]
name = "odd"
type = "jetstream"
stream = "IN"
durable = "trommel"
id = "/id"
[[sink]]
name = "out"
type = "nats"
subject = "out.{{subject}}"
"#,
        server.url()
    );
    let keys = "[[key]]\nkey = \"all\"\nsubject = \">\"\n[[route]]\nkey = \"all\"\nsinks = [\"out\"]\n";
    let folder = Folder::new(&settings).write("keys/all.toml", keys);
    let router = folder.start();

    let mut random = Rng::with_seed(seed);
    send(server.address(), (0..count).map(|_| Odd::any(&mut random, MAX_PAYLOAD)));
    // A stream stores after the server has answered PING: what is stored last says that all others are.
    let stored = context.publish("odd.last", "{}".into()).await.unwrap().await.unwrap().sequence;
    assert!(stored > count as u64 * 9 / 10, "the stream took {stored} of {count}");

    let consumer: PullConsumer = context.get_consumer_from_stream("trommel", "IN").await.unwrap();
    let (mut least, mut moved) = (u64::MAX, Instant::now());
    loop {
        let info = consumer.get_info().await.unwrap();
        let left = info.num_pending + info.num_ack_pending as u64;
        if left == 0 {
            break;
        }
        if left < least {
            (least, moved) = (left, Instant::now());
        }
        assert!(moved.elapsed() < PATIENCE, "{} messages wait and {} are open", info.num_pending, info.num_ack_pending);
        sleep(Duration::from_millis(50)).await;
    }
    let ended = router.stop();

    let mut dead = letters(&context).await;
    let file = folder.path().join("dead-letters.ndjson");
    for line in std::fs::read_to_string(file).unwrap_or_default().lines() {
        *dead.entry(sequence(&serde_json::from_str(line).unwrap())).or_default() += 1;
    }
    let twice: Vec<_> = dead.iter().filter(|(_, letters)| **letters > 1).collect();
    assert!(twice.is_empty(), "dead more than once: {twice:?}");
    let out = messages(&context, "OUT").await;
    assert!(out > 0 && !dead.is_empty(), "{out} came out, {} died", dead.len());
    assert_eq!(out + dead.len() as u64, stored, "{out} came out, {} died: {ended:?}", dead.len());
}

async fn messages(context: &jetstream::Context, stream: &str) -> u64 {
    context.get_stream(stream).await.unwrap().cached_info().state.messages
}

fn sequence(letter: &Value) -> u64 {
    letter["sequence"].as_u64().unwrap()
}

/// How many letters there are for each message of the source's stream.
async fn letters(context: &jetstream::Context) -> BTreeMap<u64, usize> {
    let mut letters = BTreeMap::new();
    let stream = context.get_stream("TROMMEL_DEAD").await.unwrap();
    let count = stream.cached_info().state.messages;
    let config = consumer::pull::OrderedConfig::default();
    let mut messages =
        stream.create_consumer(config).await.unwrap().messages().await.unwrap().take(usize::try_from(count).unwrap());
    while let Some(message) = messages.try_next().await.unwrap() {
        *letters.entry(sequence(&serde_json::from_slice(&message.payload).unwrap())).or_default() += 1;
    }
    letters
}

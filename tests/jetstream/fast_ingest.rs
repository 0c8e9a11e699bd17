//! Outputs into a stream that allows fast ingest, whatever becomes of the server and the stream
//! while a batch is open.

use crate::nats::NatsServer;
use crate::patience::until;
use crate::sink_rig::{SinkRig, event, output, settings, stored_numbers};
use crate::source::{admin, nats};

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, jetstream};
use futures_util::StreamExt;
use serde_json::{Value, json};
use trommel::{
    config::{self, StreamConfig},
    event::Event,
    nats::{ConnectionLife, connect},
    sink::Output,
};

/// A stream that allows batches, and a subscriber that counts the messages in them.
struct FastStream {
    admin: jetstream::Context,
    client: Client,
    batched: Arc<AtomicUsize>,
}

impl FastStream {
    async fn create(server: &NatsServer, more: Value) -> Self {
        let client = async_nats::connect(server.url()).await.unwrap();
        let batched = Arc::<AtomicUsize>::default();
        let mut heard = client.subscribe("out.>").await.unwrap();
        let count = Arc::clone(&batched);
        tokio::spawn(async move {
            while let Some(message) = heard.next().await {
                let is_batched = message.reply.is_some_and(|reply| reply.ends_with(".$FI"));
                count.fetch_add(usize::from(is_batched), Ordering::Relaxed);
            }
        });
        let stream = Self { admin: admin(&server.url()).await, client, batched };
        stream.make(more).await;
        stream
    }

    async fn make(&self, more: Value) {
        let mut config = json!({ "name": "OUT", "subjects": ["out.>"], "num_replicas": 1, "allow_batched": true });
        let more = more.as_object().unwrap().clone();
        config.as_object_mut().unwrap().extend(more);
        self.api("STREAM.CREATE.OUT", config).await;
    }

    async fn api(&self, operation: &str, request: Value) -> Value {
        let payload = request.to_string().into();
        let answer = self.client.request(format!("$JS.API.{operation}"), payload).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer.get("error"), None, "{operation}");
        answer
    }

    async fn set(&self, field: &str, value: Value) {
        let mut config = self.api("STREAM.INFO.OUT", json!({})).await["config"].take();
        config[field] = value;
        self.api("STREAM.UPDATE.OUT", config).await;
    }

    fn batched(&self) -> usize {
        self.batched.load(Ordering::Relaxed)
    }

    /// Sends outputs from 1 until some go in batches, and returns how many those were.
    async fn warm_up(&self, rig: &mut SinkRig) -> u64 {
        let mut last = 0;
        until("outputs go in batches", async || {
            rig.send(last + 1..=last + 50).await;
            rig.expect_done(50).await;
            last += 50;
            self.batched() > 0
        })
        .await;
        last
    }
}

fn no_ids() -> config::NatsSink {
    config::NatsSink { message_id: false, ..settings() }
}

#[tokio::test]
async fn outputs_in_batches_are_stored_once_and_in_order() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &no_ids()).await;
    let warm = stream.warm_up(&mut rig).await;
    rig.send(warm + 1..=5_000).await;
    rig.expect_done(5_000 - usize::try_from(warm).unwrap()).await;
    assert!(stored_numbers(&stream.admin).await.into_iter().eq(1..=5_000));
    assert!(stream.batched() > 4_000, "{} of 5000 in batches", stream.batched());
    assert_eq!(rig.metrics.retried.get(), 0);
    rig.finish().await;
}

/// No flow ack comes for so few, so it is the end of the batch that confirms them.
#[tokio::test]
async fn the_last_outputs_are_confirmed_without_delay() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let warm = stream.warm_up(&mut rig).await;
    for round in 0..20 {
        let (before, first) = (tokio::time::Instant::now(), warm + round * 20);
        rig.send(first + 1..=first + 20).await;
        rig.expect_done(20).await;
        assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    }
    rig.finish().await;
}

#[tokio::test]
async fn an_output_too_large_in_mid_batch_leaves_its_neighbours_where_they_are() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({ "max_msg_size": 1_000 })).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &no_ids()).await;
    let warm = stream.warm_up(&mut rig).await;
    let (large, last) = (warm + 100, warm + 1_000);
    for number in warm + 1..=last {
        let payload = if number == large { "x".repeat(2_000).into() } else { number.to_string().into() };
        rig.send_event(Event { payload, ..event(number) }).await;
    }
    let dead = rig.expect_dead().await;
    assert_eq!((dead["reason"].as_str(), dead["sequence"].as_u64()), (Some("too_large"), Some(large)));
    until("all are settled", async || rig.settled.len() == 1_000).await;
    assert!(stored_numbers(&stream.admin).await.into_iter().eq((1..=last).filter(|number| *number != large)));
    assert!(rig.metrics.retried.get() > 0, "it was not in a batch");
    rig.finish().await;
}

#[tokio::test]
async fn a_server_that_stops_answering_in_mid_batch_loses_and_doubles_nothing() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let warm = stream.warm_up(&mut rig).await;
    server.freeze();
    rig.send(warm + 1..=warm + 200).await;
    until("they are repeated", async || rig.metrics.retried.get() > 0).await;
    server.thaw();
    rig.expect_done(200).await;
    assert!(stored_numbers(&stream.admin).await.into_iter().eq(1..=warm + 200));
    rig.finish().await;
}

#[tokio::test]
async fn a_server_killed_between_flow_acks_loses_and_doubles_nothing() {
    let mut server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let warm = stream.warm_up(&mut rig).await;
    let mut last = warm;
    for _ in 0..5 {
        rig.send(last + 1..=last + 450).await;
        server.kill();
        rig.send(last + 451..=last + 500).await;
        server.start_again().await;
        rig.expect_done(500).await;
        last += 500;
    }
    let after = admin(&server.url()).await;
    assert!(stored_numbers(&after).await.into_iter().eq(1..=last));
    assert!(rig.metrics.retried.get() > 0, "no kill hit a batch");
    rig.finish().await;
}

#[tokio::test]
async fn a_stream_that_is_full_in_mid_batch_is_waited_for() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({ "max_msgs": 400, "discard": "new" })).await;
    let rig = SinkRig::start(&nats(&server.url()), &no_ids()).await;
    // In no order, as such a stream keeps none: outputs that have one go one by one.
    let mut done = 0;
    for number in 1..=1_000 {
        let output = Output { order: None, ..output(event(number), rig.settle.clone()) };
        let mut sent = Box::pin(rig.queue.send(output));
        while tokio::time::timeout(Duration::from_millis(300), &mut sent).await.is_err() {
            stream.api("STREAM.PURGE.OUT", json!({})).await;
        }
    }
    until("all are settled", async || {
        done = rig.settled.len();
        if done < 1_000 {
            stream.api("STREAM.PURGE.OUT", json!({})).await;
        }
        done == 1_000
    })
    .await;
    assert!(stream.batched() > 0, "none went in a batch");
    assert_eq!(stream.api("STREAM.INFO.OUT", json!({})).await["state"]["last_seq"], json!(1_000));
    rig.finish().await;
}

#[tokio::test]
async fn a_stream_deleted_in_mid_batch_is_waited_for() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    // Room for all that is refused: what has none goes back to its source after a while.
    let settings = config::NatsSink { window: 512, ..settings() };
    let mut rig = SinkRig::start(&nats(&server.url()), &settings).await;
    let warm = stream.warm_up(&mut rig).await;
    rig.send(warm + 1..=warm + 100).await;
    stream.api("STREAM.DELETE.OUT", json!({})).await;
    rig.send(warm + 101..=warm + 300).await;
    until("they are refused", async || rig.metrics.retried.get() > 0).await;
    stream.make(json!({})).await;
    rig.expect_done(300).await;
    let numbers = stored_numbers(&stream.admin).await;
    let first = warm + 301 - numbers.len() as u64;
    assert!(numbers.len() >= 200 && numbers.iter().copied().eq(first..=warm + 300), "{numbers:?}");
    rig.finish().await;
}

#[tokio::test]
async fn outputs_for_a_stream_sealed_in_mid_batch_become_dead_letters() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let warm = stream.warm_up(&mut rig).await;
    stream.set("sealed", json!(true)).await;
    rig.send(warm + 1..=warm + 50).await;
    for _ in 0..50 {
        assert_eq!(rig.expect_dead().await["reason"].as_str(), Some("refused_by_stream"));
    }
    assert!(stored_numbers(&stream.admin).await.into_iter().eq(1..=warm));
    rig.finish().await;
}

#[tokio::test]
async fn a_stream_that_forbids_batches_while_one_is_open_is_published_to_without() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let warm = stream.warm_up(&mut rig).await;
    rig.send(warm + 1..=warm + 300).await;
    stream.set("allow_batched", json!(false)).await;
    rig.send(warm + 301..=warm + 600).await;
    rig.expect_done(600).await;
    assert!(stored_numbers(&stream.admin).await.into_iter().eq(1..=warm + 600));
    let batched = stream.batched();
    rig.send(warm + 601..=warm + 900).await;
    rig.expect_done(300).await;
    assert_eq!(stream.batched(), batched);
    rig.finish().await;
}

#[tokio::test]
async fn two_sinks_in_batches_share_a_stream() {
    let server = NatsServer::start().await;
    let stream = FastStream::create(&server, json!({})).await;
    let mut one = SinkRig::start(&nats(&server.url()), &no_ids()).await;
    let mut other = SinkRig::start(&nats(&server.url()), &no_ids()).await;
    let warm = stream.warm_up(&mut one).await;
    let (first, second) = (warm + 1..=warm + 3_000, 100_001..=103_000);
    let send_both = async || {
        tokio::join!(one.send(first.clone()), other.send(second.clone()));
    };
    send_both().await;
    one.expect_done(3_000).await;
    other.expect_done(3_000).await;
    let (theirs, ours): (Vec<_>, Vec<_>) = stored_numbers(&stream.admin).await.into_iter().partition(|n| *n > 100_000);
    assert!(ours.into_iter().eq(1..=warm + 3_000) && theirs.into_iter().eq(second));
    one.finish().await;
    other.finish().await;
}

#[tokio::test]
async fn a_declared_stream_allows_batches_from_the_start() {
    let server = NatsServer::start().await;
    let connection = connect(&nats(&server.url()), "streams", ConnectionLife::Reconnecting).await.unwrap();
    let declared = |name: &str, subject: &str| StreamConfig {
        name: name.to_owned(),
        subjects: vec![subject.parse().unwrap()],
        ..StreamConfig::default()
    };
    let allows = async |name: &str| {
        let info = connection.stream_info(name).await.unwrap().unwrap();
        info.config.get("allow_batched").cloned()
    };
    connection.ensure_stream(&declared("OURS", "ours.>")).await.unwrap();
    assert_eq!(allows("OURS").await, Some(json!(true)));
    // One that is there keeps what its owner has set.
    let client = async_nats::connect(server.url()).await.unwrap();
    let theirs = json!({ "name": "THEIRS", "subjects": ["theirs.>"], "num_replicas": 1 });
    client.request("$JS.API.STREAM.CREATE.THEIRS", theirs.to_string().into()).await.unwrap();
    connection.ensure_stream(&declared("THEIRS", "theirs.>")).await.unwrap();
    assert_eq!(allows("THEIRS").await, None);
}

//! Events published into one stream and what the router has put into another.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking and says why")]

use crate::patience::until_ok;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    self,
    consumer::{self, DeliverPolicy, PullConsumer},
};
use futures_util::{StreamExt, future::join_all};
use serde_json::Value;
use tokio::task::JoinHandle;

/// Settings of a router from stream `IN` to stream `OUT`. `sink` goes into the sink's table.
pub fn settings(url: &str, source: &str, sink: &str) -> String {
    format!(
        r#"
        [nats]
        url = "{url}"

        [[stream]]
        name = "IN"
        subjects = ["in.>"]

        [[stream]]
        name = "OUT"
        subjects = ["out.>"]

        [[source]]
        name = "in"
        type = "jetstream"
        stream = "IN"
        durable = "trommel"
        {source}

        [[sink]]
        name = "out"
        type = "nats"
        subject = "out.{{subject}}"
        {sink}
        "#
    )
}

pub async fn connect(url: &str) -> jetstream::Context {
    let client = async_nats::connect(url).await.unwrap();
    jetstream::context::ContextBuilder::new().timeout(Duration::from_secs(1)).build(client)
}

/// Publishes until it is told to stop. Event `n` has the payload `{"n":n}` and goes to `in.{n %
/// subjects}`.
pub struct Load {
    stop: Arc<AtomicBool>,
    published: Arc<AtomicUsize>,
    run: JoinHandle<usize>,
}

impl Load {
    pub fn start(context: jetstream::Context, subjects: usize, pause: Duration) -> Self {
        Self::start_at(context, 0, subjects, pause)
    }

    /// Begins with event `first`.
    pub fn start_at(context: jetstream::Context, first: usize, subjects: usize, pause: Duration) -> Self {
        let (stop, published) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&published));
        let run = tokio::spawn(async move {
            let mut next = first;
            while !stopped.load(Ordering::Relaxed) {
                publish(&context, next..next + 10, subjects).await;
                next += 10;
                count.store(next, Ordering::Relaxed);
                tokio::time::sleep(pause).await;
            }
            next
        });
        Self { stop, published, run }
    }

    pub fn published(&self) -> usize {
        self.published.load(Ordering::Relaxed)
    }

    /// How many were published in all: the number of the next one.
    pub async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.run.await.unwrap()
    }
}

/// Publishes events and waits until the stream has them. An event that is refused, as by a server
/// that is away, is published again under the same id.
pub async fn publish(context: &jetstream::Context, numbers: std::ops::Range<usize>, subjects: usize) {
    let mut left: Vec<usize> = numbers.collect();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !left.is_empty() {
        assert!(Instant::now() < deadline, "can't publish");
        let mut acks = Vec::new();
        for n in left {
            let message = jetstream::message::PublishMessage::build()
                .payload(format!(r#"{{"n":{n}}}"#).into())
                .message_id(format!("e{n}"));
            // One after another, so that the stream has them in the order of their numbers.
            acks.push((n, context.send_publish(format!("in.{}", n % subjects), message).await));
        }
        let refused = acks.into_iter().map(async |(n, ack)| {
            let is_stored = match ack {
                Ok(ack) => ack.await.is_ok(),
                Err(_) => false,
            };
            (!is_stored).then_some(n)
        });
        left = join_all(refused).await.into_iter().flatten().collect();
    }
}

/// What is in stream `OUT`, in its order: subject and payload.
pub async fn outputs(context: &jetstream::Context) -> Vec<(String, Value)> {
    stored(context, "OUT").await
}

async fn stored(context: &jetstream::Context, stream: &str) -> Vec<(String, Value)> {
    let Ok(mut stream) = context.get_stream(stream).await else { return Vec::new() };
    let count = stream.info().await.unwrap().state.messages;
    if count == 0 {
        return Vec::new();
    }
    let config = jetstream::consumer::pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.messages().await.unwrap().take(usize::try_from(count).unwrap());
    let read = messages.map(|message| {
        let message = message.unwrap();
        (message.subject.to_string(), serde_json::from_slice(&message.payload).unwrap())
    });
    read.collect().await
}

/// Waits until `OUT` holds what `is_enough` wants, and returns it.
pub async fn outputs_until(
    context: &jetstream::Context,
    what: &str,
    is_enough: impl Fn(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    until_ok(what, async || {
        let found = outputs(context).await;
        if is_enough(&found) { Ok(found) } else { Err(format!("{} outputs, the last {:?}", found.len(), found.last())) }
    })
    .await
}

/// What the server says of the router's consumer.
pub async fn consumer(context: &jetstream::Context) -> consumer::Info {
    let consumer: PullConsumer = context.get_consumer_from_stream("trommel", "IN").await.unwrap();
    consumer.cached_info().clone()
}

/// Events of `IN` that are still to come, or not acknowledged.
pub async fn unsettled(context: &jetstream::Context) -> u64 {
    let info = consumer(context).await;
    info.num_pending + info.num_ack_pending as u64
}

/// Waits until none is, and fails when nothing gets on: a slow machine takes its time for many.
pub async fn until_settled(context: &jetstream::Context) {
    let mut left = u64::MAX;
    while left > 0 {
        left = until_ok("some more is settled", async || {
            let now = unsettled(context).await;
            if now < left { Ok(now) } else { Err(now) }
        })
        .await;
    }
}

/// The dead letters, in their order.
pub async fn dead_letters(context: &jetstream::Context) -> Vec<Value> {
    stored(context, "TROMMEL_DEAD").await.into_iter().map(|(_, letter)| letter).collect()
}

/// Waits until there are so many dead letters, and returns them.
pub async fn dead_letters_until(context: &jetstream::Context, count: usize) -> Vec<Value> {
    until_ok("dead letters", async || {
        let letters = dead_letters(context).await;
        if letters.len() >= count { Ok(letters) } else { Err(format!("{} of {count}", letters.len())) }
    })
    .await
}

/// How often each number came out.
pub fn counts(outputs: &[(String, Value)]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for (_, payload) in outputs {
        *counts.entry(number(payload)).or_default() += 1;
    }
    counts
}

/// The number of the event behind an output: its own payload, or the event id that a stamp carries.
pub fn number(payload: &Value) -> u64 {
    match payload.get("n").and_then(Value::as_u64) {
        Some(number) => number,
        None => payload["id"].as_str().unwrap().trim_start_matches('e').parse().unwrap(),
    }
}

/// Fails unless every number below `published` came out exactly once.
pub fn assert_each_once(outputs: &[(String, Value)], published: usize) {
    let counts = counts(outputs);
    let lost: Vec<_> = (0..published as u64).filter(|n| !counts.contains_key(n)).take(10).collect();
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).take(10).collect();
    assert!(lost.is_empty() && doubled.is_empty(), "of {published}: lost {lost:?}, doubled {doubled:?}");
}

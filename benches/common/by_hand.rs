//! Relays as one would write them with async-nats: the floors of `relay`.

use std::collections::VecDeque;

use async_nats::{
    HeaderMap,
    jetstream::{
        self, Context,
        consumer::{
            AckPolicy, DeliverPolicy,
            pull::{Config, Stream},
        },
        context::ContextBuilder,
    },
};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Duration, sleep},
};

use crate::orders::WINDOW;

/// What the router has open at once.
const IN_FLIGHT: i64 = 4096;
const BATCH: usize = 500;

async fn pull(context: &Context) -> Stream {
    let settings = Config {
        durable_name: Some("RELAY".to_owned()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        max_ack_pending: IN_FLIGHT,
        ..Config::default()
    };
    let consumer = context.create_consumer_on_stream(settings, "IN").await.unwrap();
    consumer.stream().max_messages_per_batch(BATCH).messages().await.unwrap()
}

/// The relay that one would write with the client as it comes: one task pulls and publishes, one
/// awaits the publish acks in order and then acks.
pub async fn windowed(url: String, message_id: bool) {
    let client = async_nats::connect(url).await.unwrap();
    let context = ContextBuilder::new().max_ack_inflight(2 * WINDOW).build(client);
    let mut messages = pull(&context).await;
    let (under_way, mut published) =
        mpsc::channel::<(jetstream::context::PublishAckFuture, jetstream::Message)>(WINDOW);
    tokio::spawn(async move {
        while let Some((ack, message)) = published.recv().await {
            ack.await.unwrap();
            message.ack().await.unwrap();
        }
    });
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        let subject = format!("out.{}", message.subject);
        let payload = message.payload.clone();
        let ack = if message_id {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("IN:{}", message.info().unwrap().stream_sequence));
            context.publish_with_headers(subject, headers, payload).await
        } else {
            context.publish(subject, payload).await
        };
        if under_way.send((ack.unwrap(), message)).await.is_err() {
            return;
        }
    }
}

/// The same with fast ingest: one task, one batch until nothing comes for a while.
pub async fn fast(url: String) {
    let client = async_nats::connect(url).await.unwrap();
    let context = ContextBuilder::new().build(client.clone());
    let mut messages = pull(&context).await;
    let inbox = client.new_inbox();
    let batch = inbox.rsplit('.').next().unwrap();
    let mut acks = client.subscribe(format!("{inbox}.>")).await.unwrap();
    let (mut number, mut sent, mut acked, mut every, mut ended) = (0, 0, 0, 0, false);
    let mut open: VecDeque<jetstream::Message> = VecDeque::new();
    loop {
        let may_send = !ended && (sent == 0 || (every > 0 && sent < acked + 2 * every));
        tokio::select! {
            biased;
            ack = acks.next() => {
                let answer: Value = serde_json::from_slice(&ack.unwrap().payload).unwrap();
                assert!(answer.get("error").is_none() && answer["type"] != "gap", "{answer}");
                every = answer["msgs"].as_u64().unwrap_or(every);
                let through = answer["count"].as_u64().or(answer["seq"].as_u64()).unwrap();
                for _ in acked..through {
                    open.pop_front().unwrap().ack().await.unwrap();
                }
                acked = through;
                if answer["count"].is_u64() {
                    (number, sent, acked, every, ended) = (number + 1, 0, 0, 0, false);
                }
            }
            message = messages.next(), if may_send => {
                let message = message.unwrap().unwrap();
                sent += 1;
                let operation = u8::from(sent > 1);
                let reply = format!("{inbox}.{batch}-{number}.{BATCH}.fail.{sent}.{operation}.$FI");
                let (subject, payload) = (format!("out.{}", message.subject), message.payload.clone());
                client.publish_with_reply(subject, reply, payload).await.unwrap();
                open.push_back(message);
            }
            () = sleep(Duration::from_millis(20)), if may_send && sent > acked => {
                let reply = format!("{inbox}.{batch}-{number}.{BATCH}.fail.{}.3.$FI", sent + 1);
                client.publish_with_reply("out.end", reply, "".into()).await.unwrap();
                ended = true;
            }
        }
    }
}

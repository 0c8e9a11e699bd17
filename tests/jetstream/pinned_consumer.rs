//! `ack = "auto"`: a consumer that the server pins to one router at a time, where one ack settles
//! many messages. Others wait, and the one that follows begins at what is not settled.

use crate::flow;
use crate::nats as server;
use crate::patience::until;
use crate::proxy;
use crate::router;
use crate::source;

use std::time::Duration;

use async_nats::jetstream::{self, stream};
use flow::{Load, assert_each_once, outputs_until};
use futures_util::StreamExt;
use proxy::{Fault, Proxy};
use router::{Folder, Router};
use server::{NatsServer, publish_raw};
use source::{
    DURABLE, Running, STREAM, admin, consumer_info, create_stream, nats, number, publish, settings, stocked,
    until_consumer,
};
use tokio::time::{Instant, timeout};
use trommel::{
    config::{self, AckMode},
    fate::Fate,
};

/// The server's patience with a holder that is silent, with room for a busy machine.
const FOLLOWED: Duration = Duration::from_secs(16);

fn auto() -> config::JetStreamSource {
    // Longer than any test: nothing comes by redelivery.
    config::JetStreamSource { ack: AckMode::Auto, ack_wait: Duration::from_secs(300), ..settings() }
}

/// What everybody may see of the acks.
async fn acks(server: &NatsServer) -> async_nats::Subscriber {
    let client = async_nats::connect(server.url()).await.unwrap();
    let acks = client.subscribe(format!("$JS.ACK.{STREAM}.{DURABLE}.>")).await.unwrap();
    client.flush().await.unwrap();
    acks
}

async fn info_of_consumer(admin: &jetstream::Context) -> serde_json::Value {
    admin.request(format!("CONSUMER.INFO.{STREAM}.{DURABLE}"), &serde_json::json!({})).await.unwrap()
}

async fn config_of_consumer(admin: &jetstream::Context) -> serde_json::Value {
    info_of_consumer(admin).await["config"].take()
}

#[tokio::test]
async fn one_ack_settles_many_and_the_pin_stays_outside() {
    for (settings, policy, most) in [(auto(), "all", 500), (settings(), "explicit", 1_000)] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=990).await;
        let mut headers = async_nats::HeaderMap::new();
        headers.append("a", "1");
        for number in 991..=1_000 {
            let body = number.to_string().into();
            admin.publish_with_headers("events.x", headers.clone(), body).await.unwrap().await.unwrap();
        }
        let mut acks = acks(&server).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        for expected in 1..=1_000 {
            let ticket = running.next().await;
            let headers: Vec<_> = ticket.event().headers.iter().map(|(name, _)| &**name).collect();
            assert_eq!((number(&ticket), &headers[..]), (expected, if expected > 990 { &["a"][..] } else { &[] }));
            ticket.settle(Fate::Emitted);
        }
        running.settle_the_rest(&admin).await;
        let config = config_of_consumer(&admin).await;
        assert_eq!((&config["ack_policy"], config["priority_groups"].is_array()), (&policy.into(), policy == "all"));
        running.drain().await;
        let mut sent = 0;
        while let Ok(Some(_)) = timeout(Duration::from_millis(200), acks.next()).await {
            sent += 1;
        }
        assert!((1..=most).contains(&sent), "{sent} acks");
        assert!(policy == "all" || sent == 1_000, "{sent} acks");
    }
}

/// The client ends over it before it has seen the pin.
#[tokio::test]
async fn a_first_message_that_the_client_can_not_read_has_an_end() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    create_stream(&admin).await;
    publish_raw(&server, "events.poison", b"NATS/1.0\r\nBad: \xff\xfe\r\n\r\n", "body").await;
    publish(&admin, 2..=5).await;
    let settings = config::JetStreamSource { ack_wait: Duration::from_secs(1), ..auto() };
    let mut running = Running::start(&nats(&server.url()), settings).await;
    let refused = timeout(source::PATIENCE, running.pipeline.next_refused()).await.unwrap().unwrap();
    refused.ticket.dead("headers_not_utf8");
    running.take_all(2..=5).await;
    running.settle_the_rest(&admin).await;
    running.drain().await;
}

/// The server refuses one ack for many messages there.
#[tokio::test]
async fn a_work_queue_gets_an_ack_for_each_message() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    let retention = stream::RetentionPolicy::WorkQueue;
    let queue =
        stream::Config { name: STREAM.to_owned(), subjects: vec!["events.>".into()], retention, ..Default::default() };
    admin.create_stream(queue).await.unwrap();
    publish(&admin, 1..=5).await;
    let mut running = Running::start(&nats(&server.url()), auto()).await;
    assert_eq!(running.take_all(1..=5).await, [1, 2, 3, 4, 5]);
    running.settle_the_rest(&admin).await;
    assert_eq!(config_of_consumer(&admin).await["ack_policy"], "explicit");
    running.drain().await;
}

/// A router that ends in good order leaves nothing to wait for and nothing to repeat.
#[tokio::test]
async fn a_second_router_waits_and_follows_at_once() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=50).await;
    let mut first = Running::start(&nats(&server.url()), auto()).await;
    first.take_all(1..=50).await;
    let mut second = Running::start(&nats(&server.url()), auto()).await;
    publish(&admin, 51..=100).await;
    first.take_all(51..=100).await;
    // Longer than the pin lasts without the holder's requests.
    assert!(timeout(Duration::from_secs(7), second.pipeline.next()).await.is_err(), "it is pinned");
    publish(&admin, 101..=150).await;
    assert_eq!(first.take_all(101..=150).await.len(), 50);
    let end = Instant::now();
    first.drain().await;
    publish(&admin, 151..=200).await;
    assert!(second.take_all(151..=200).await.into_iter().eq(151..=200), "repeated");
    assert!(end.elapsed() < Duration::from_secs(4), "waited for the pin: {:?}", end.elapsed());
    second.settle_the_rest(&admin).await;
    second.drain().await;
}

/// What the one that was killed had open comes first, in the order of the stream, whether anything
/// new comes or not.
#[tokio::test]
async fn a_holder_that_is_killed_is_followed() {
    for has_more in [true, false] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=20).await;
        let mut killed = Running::start(&nats(&server.url()), auto()).await;
        let mut held = Vec::new();
        for expected in 1..=20 {
            let ticket = killed.next().await;
            assert_eq!(number(&ticket), expected);
            // A prefix of four is settled, and one behind it that no ack may reach.
            if expected < 5 || expected == 7 { ticket.settle(Fate::Emitted) } else { held.push(ticket) }
        }
        until_consumer("the prefix is acknowledged", &admin, |info| info.ack_floor.stream_sequence == 4).await;
        let mut next = Running::start(&nats(&server.url()), auto()).await;
        killed.task.abort();
        let _ = killed.task.await;
        drop(killed.connection);
        let last = if has_more { 30 } else { 20 };
        publish(&admin, 21..=last).await;
        let end = Instant::now();
        let seen = next.take_all(5..=last).await;
        assert!(seen.iter().copied().eq(5..=last), "{seen:?}");
        assert!(end.elapsed() < FOLLOWED, "took {:?}", end.elapsed());
        next.settle_the_rest(&admin).await;
        next.drain().await;
    }
}

/// One that was cut off settles what it had, and never what the one that follows has open.
#[tokio::test]
async fn a_holder_that_was_cut_off_settles_nothing_of_the_next_one() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=100).await;
    let proxy = Proxy::start(server.address()).await;
    let mut old = Running::start(&nats(&proxy.url()), auto()).await;
    let mut held = None;
    for _ in 1..=100 {
        let ticket = old.next().await;
        if number(&ticket) == 41 { held = Some(ticket) } else { ticket.settle(Fate::Emitted) }
    }
    until_consumer("what precedes the open one", &admin, |info| info.ack_floor.stream_sequence == 40).await;
    let mut new = Running::start(&nats(&server.url()), auto()).await;
    proxy.set(Fault::Stall);
    until("the pin has run out", async || {
        info_of_consumer(&admin).await["priority_groups"][0].get("pinned_client_id").is_none()
    })
    .await;
    publish(&admin, 101..=150).await;
    let mut open = Vec::new();
    for expected in 41..=150 {
        let ticket = new.next().await;
        assert_eq!(number(&ticket), expected);
        if [45, 120].contains(&expected) { open.push(ticket) } else { ticket.settle(Fate::Emitted) }
    }
    until_consumer("what precedes the open one", &admin, |info| info.ack_floor.stream_sequence == 44).await;

    // The old one is back: it settles the rest of its own, which reaches up to where it was cut off,
    // and gets no more.
    proxy.set(Fault::None);
    held.unwrap().settle(Fate::Emitted);
    let is_past = |info: &jetstream::consumer::Info| info.ack_floor.stream_sequence >= 100;
    until_consumer("it is done with its own", &admin, is_past).await;
    publish(&admin, 151..=160).await;
    assert!(timeout(Duration::from_secs(3), old.pipeline.next()).await.is_err(), "it is pinned to the other");
    new.take_all(151..=160).await;
    let floor = consumer_info(&admin).await.unwrap().ack_floor.stream_sequence;
    assert!((100..120).contains(&floor), "{floor}");
    open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    new.settle_the_rest(&admin).await;

    // It follows in turn, behind all that was settled meanwhile.
    new.drain().await;
    publish(&admin, 161..=170).await;
    assert!(old.take_all(161..=170).await.into_iter().eq(161..=170), "repeated");
    old.settle_the_rest(&admin).await;
    old.drain().await;
}

/// A holder that takes nothing for long, as its sinks do not, keeps the consumer and its order.
#[tokio::test]
async fn a_holder_without_room_keeps_the_consumer() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=30).await;
    let budget = trommel::pipeline::EventBudget { events: 5, bytes: 1 << 20 };
    let mut first = Running::with_budget(&nats(&server.url()), auto(), budget).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(first.next().await);
    }
    let mut second = Running::start(&nats(&server.url()), auto()).await;
    assert!(timeout(Duration::from_secs(8), second.pipeline.next()).await.is_err(), "it is pinned");
    open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    let seen = first.take_all(6..=30).await;
    assert!(seen.iter().copied().eq(6..=30), "{seen:?}");
    first.settle_the_rest(&admin).await;
    first.drain().await;
    second.drain().await;
}

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

/// Two routers on one consumer, killed in turn while the server restarts too: nothing is lost, and
/// ids take out repeats.
#[tokio::test(flavor = "multi_thread")]
async fn routers_and_servers_that_are_killed_cost_no_event() {
    let mut server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = || Folder::new(&flow::settings(&server.url(), "ack = \"auto\"", "")).write("keys/all.toml", KEY);
    let folders = [folder(), folder()];
    let start = |index: usize| {
        let mut router = Router::spawn(folders[index].command());
        router.wait_for("running");
        router
    };
    let mut routers = [Some(start(0)), Some(start(1))];
    let load = Load::start(context.clone(), 7, Duration::from_millis(5));
    for turn in 0..4 {
        let so_far = load.published();
        outputs_until(&context, "events flow", |outputs| outputs.len() > so_far).await;
        if turn == 1 {
            server.kill();
            server.start_again().await;
        } else {
            routers[turn % 2].take().unwrap().kill();
            let so_far = load.published();
            outputs_until(&context, "the other one follows", |outputs| outputs.len() > so_far).await;
            routers[turn % 2] = Some(start(turn % 2));
        }
    }
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| flow::counts(outputs).len() >= published).await;
    assert_each_once(&outputs, published);
    until("all is acknowledged", async || flow::unsettled(&context).await == 0).await;
    for router in routers.into_iter().flatten() {
        assert!(router.stop().status.success());
    }
}

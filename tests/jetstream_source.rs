//! Events from a durable consumer on a real server: what arrives, and when the server hears that it is done.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/nats.rs"]
mod server;
#[path = "common/source.rs"]
mod source;

use std::time::Duration;

use server::NatsServer;
use source::{
    DURABLE, Running, STREAM, admin, consumer_info, create_stream, nats, number, publish, settings, stocked, until,
};
use tokio::time::{Instant, timeout};
use trommel::{
    ack::Fate,
    config::{self, AckMode, Deliver},
    nats::{Life, connect},
    pipeline::Budget,
};

fn ack_all() -> config::JetStreamSource {
    config::JetStreamSource { ack: AckMode::All, ..settings() }
}

#[tokio::test]
async fn a_message_becomes_an_event() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    create_stream(&admin).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.append("Nats-Msg-Id", "order-7");
    headers.append("b", "2");
    headers.append("a", "1");
    let body = r#"{"amount":7}"#;
    admin.publish_with_headers("events.created", headers, body.into()).await.unwrap().await.unwrap();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();

    let mut running = Running::start(&nats(&server.url()), settings()).await;
    let ticket = running.next().await;
    let event = ticket.event();
    assert_eq!((&*event.id, &*event.event_type, &*event.subject), ("order-7", "events.created", "events.created"));
    assert_eq!((event.attempt, event.sequence, &event.payload[..]), (1, 1, body.as_bytes()));
    assert_eq!((&*event.origin.source, &*event.origin.stream), ("events", STREAM));
    assert!(u128::from(event.observed_at) >= before);
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(headers, [("Nats-Msg-Id", "order-7"), ("a", "1"), ("b", "2")]);
    assert_eq!(consumer_info(&admin).await.unwrap().num_ack_pending, 1);

    ticket.settle(Fate::Emitted);
    running.settle_the_rest(&admin).await;
    running.drain().await;
}

#[tokio::test]
async fn thousands_come_once_and_in_order() {
    for settings in [settings(), ack_all()] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=5_000).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        let seen = running.take_all(1..=5_000).await;
        assert!(seen.iter().copied().eq(1..=5_000), "out of order or repeated");
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn filter_subjects_choose() {
    let server = NatsServer::start().await;
    stocked(&server.url(), 1..=9).await;
    let subjects = ["events.3", "events.5", "events.8"].map(|subject| subject.parse().unwrap()).to_vec();
    for settings in [settings(), ack_all()] {
        // Another durable each, so that none inherits the other's position.
        let durable = format!("{:?}", settings.ack);
        let settings = config::JetStreamSource { subjects: subjects.clone(), durable, ..settings };
        let mut running = Running::start(&nats(&server.url()), settings).await;
        assert_eq!(running.take_all([3, 5, 8]).await, [3, 5, 8]);
        running.drain().await;
    }
    let one = config::JetStreamSource { subjects: vec!["events.4".parse().unwrap()], ..settings() };
    let mut running = Running::start(&nats(&server.url()), one).await;
    assert_eq!(running.take_all([4]).await, [4]);
    running.drain().await;
}

#[tokio::test]
async fn a_failed_event_comes_again_with_its_count() {
    for settings in [settings(), ack_all()] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=3).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        let mut attempts = Vec::new();
        let mut done = 0;
        while done < 3 {
            let ticket = running.next().await;
            if number(&ticket) == 2 {
                attempts.push(ticket.event().attempt);
            }
            if number(&ticket) == 2 && attempts.len() < 3 {
                drop(ticket);
            } else {
                ticket.settle(Fate::Emitted);
                done += 1;
            }
        }
        assert_eq!(attempts, [1, 2, 3]);
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// With one ack for a prefix, an event that failed must not be acknowledged by those behind it.
#[tokio::test]
async fn the_ack_floor_never_passes_an_open_event() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=100).await;
    let mut running = Running::start(&nats(&server.url()), ack_all()).await;
    let mut held = None;
    for _ in 1..=100 {
        let ticket = running.next().await;
        match number(&ticket) {
            41 => held = Some(ticket),
            _ => ticket.settle(Fate::Emitted),
        }
    }
    until("everything before the open event is acknowledged", async || {
        (consumer_info(&admin).await?.ack_floor.stream_sequence == 40).then_some(())
    })
    .await;
    drop(held);
    let again = running.next().await;
    assert_eq!((number(&again), again.event().attempt), (41, 2));
    assert_eq!(consumer_info(&admin).await.unwrap().ack_floor.stream_sequence, 40);
    again.dead("never");
    running.settle_the_rest(&admin).await;
    assert_eq!(consumer_info(&admin).await.unwrap().ack_floor.stream_sequence, 100);
    running.drain().await;
}

#[tokio::test]
async fn a_dead_event_is_terminated_with_its_reason() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    create_stream(&admin).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut advisories = client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>").await.unwrap();
    client.flush().await.unwrap();
    publish(&admin, 1..=1).await;
    let mut running = Running::start(&nats(&server.url()), settings()).await;
    running.next().await.dead("not_json");
    let advisory = timeout(source::PATIENCE, futures_util::StreamExt::next(&mut advisories)).await.unwrap().unwrap();
    let advisory: serde_json::Value = serde_json::from_slice(&advisory.payload).unwrap();
    assert_eq!((advisory["reason"].as_str(), advisory["stream_seq"].as_u64()), (Some("not_json"), Some(1)));
    running.settle_the_rest(&admin).await;
    running.drain().await;
}

/// A sink that is slower than `ack_wait` causes no redelivery, neither of what is open nor of what waits behind it.
#[tokio::test]
async fn slow_work_is_delivered_once() {
    let ack_wait = Duration::from_secs(1);
    for settings in [settings(), ack_all()] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=6).await;
        let settings = config::JetStreamSource { ack_wait, ..settings };
        // One byte of budget: after each event the intake is closed, and what was pulled with it has to wait outside.
        // The pull asks for more than there is, so the server could redeliver at any time.
        let budget = Budget { events: 10, bytes: 1 };
        let mut running = Running::with_budget(&nats(&server.url()), settings, budget).await;
        let ticket = running.next().await;
        let start = Instant::now();
        until("three times `ack_wait` has passed", async || (start.elapsed() > ack_wait * 3).then_some(())).await;
        ticket.settle(Fate::Emitted);
        for expected in 2..=6 {
            let ticket = running.next().await;
            assert_eq!((number(&ticket), ticket.event().attempt), (expected, 1));
            ticket.settle(Fate::Emitted);
        }
        assert_eq!(consumer_info(&admin).await.unwrap().delivered.consumer_sequence, 6, "redelivered");
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn never_more_is_open_than_the_budget() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=50).await;
    let budget = Budget { events: 7, bytes: 1 << 20 };
    let mut running = Running::with_budget(&nats(&server.url()), settings(), budget).await;
    let mut open = Vec::new();
    for _ in 0..7 {
        open.push(running.next().await);
    }
    assert!(timeout(Duration::from_millis(300), running.pipeline.next()).await.is_err());
    let info = consumer_info(&admin).await.unwrap();
    assert_eq!((info.num_ack_pending, info.config.max_ack_pending), (7, 7));
    open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    running.take_all(8..=50).await;
    running.drain().await;
}

/// What was pulled and not taken goes back; what is open is settled first.
#[tokio::test]
async fn a_drain_leaves_nothing_waiting_for_its_ack() {
    for settings in [settings(), ack_all()] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=80).await;
        let budget = Budget { events: 100, bytes: 200 };
        let mut running = Running::with_budget(&nats(&server.url()), settings.clone(), budget).await;
        let mut open = Vec::new();
        for _ in 0..5 {
            open.push(running.next().await);
        }
        running.stopper.drain();
        open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
        let mut taken = 5;
        while let Some(ticket) = timeout(source::PATIENCE, running.pipeline.next()).await.unwrap() {
            taken += 1;
            ticket.settle(Fate::Emitted);
        }
        timeout(source::PATIENCE, running.task).await.unwrap().unwrap().unwrap();
        assert!(taken < 80, "the drain took everything");
        until("the server has seen the last acks", async || {
            (consumer_info(&admin).await?.ack_floor.stream_sequence == taken).then_some(())
        })
        .await;

        // The next one gets the rest at once, not after `ack_wait`.
        let mut next = Running::start(&nats(&server.url()), settings).await;
        let start = Instant::now();
        next.take_all(taken + 1..=80).await;
        assert!(start.elapsed() < Duration::from_secs(10));
        next.settle_the_rest(&admin).await;
        next.drain().await;
    }
}

/// A process that was killed leaves deliveries behind. With one ack for a prefix they are read from the stream, before
/// anything that comes after them.
#[tokio::test]
async fn what_another_process_left_open_comes_first() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=40).await;
    let mut killed = Running::start(&nats(&server.url()), ack_all()).await;
    for _ in 1..=10 {
        killed.next().await.settle(Fate::Emitted);
    }
    let held = killed.next().await;
    until("ten are acknowledged", async || {
        (consumer_info(&admin).await?.ack_floor.stream_sequence == 10).then_some(())
    })
    .await;
    killed.task.abort();
    drop(held);
    publish(&admin, 41..=60).await;
    let mut running = Running::start(&nats(&server.url()), ack_all()).await;
    let start = Instant::now();
    assert!(running.take_all(11..=60).await.into_iter().eq(11..=60));
    assert!(start.elapsed() < Duration::from_secs(10), "waited for the redelivery");
    running.settle_the_rest(&admin).await;
    running.drain().await;
}

#[tokio::test]
async fn the_consumer_is_brought_in_line() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    create_stream(&admin).await;
    let connection = connect(&nats(&server.url()), "source", Life::Reconnecting).await.unwrap();
    let open = async |settings: config::JetStreamSource, in_flight| {
        let opened = source::open(connection.clone(), &settings, in_flight).await;
        opened.map(|_| ()).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    open(settings(), 100).await.unwrap();
    let changed = config::JetStreamSource {
        ack_wait: Duration::from_secs(7),
        subjects: vec!["events.a".parse().unwrap(), "events.b".parse().unwrap()],
        deliver: Deliver::New,
        ..settings()
    };
    open(changed, 50).await.unwrap();
    let config = consumer_info(&admin).await.unwrap().config;
    assert_eq!((config.ack_wait, config.max_ack_pending), (Duration::from_secs(7), 50));

    let refused = open(ack_all(), 100).await.unwrap_err();
    assert!(refused.contains(r#"`ack_policy` is "explicit", wanted "all""#), "{refused}");
    assert!(refused.contains("delete the consumer") && refused.contains(DURABLE), "{refused}");

    let nowhere = config::JetStreamSource { stream: "NOWHERE".to_owned(), ..settings() };
    let refused = open(nowhere, 100).await.unwrap_err();
    assert!(refused.starts_with("stream `NOWHERE` does not exist"), "{refused}");
}

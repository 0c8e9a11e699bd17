//! Events from a durable consumer on a real server: what arrives, and when that is settled.

use crate::nats as server;
use crate::patience::until;
use crate::source;

use std::time::Duration;

use async_nats::jetstream::stream;
use server::NatsServer;
use source::{
    DURABLE, Running, STREAM, admin, consumer_info, create_stream, every_ack, nats, number, publish, settings, stocked,
    until_consumer,
};
use tokio::time::{Instant, timeout};
use trommel::{
    config::{self, AckMode, DeliverPolicy},
    fate::Fate,
    nats::{ConnectionLife, connect},
    pipeline::EventBudget,
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
    for settings in every_ack() {
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
    for settings in every_ack() {
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
    for settings in every_ack() {
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
    until_consumer("everything before the open event is acknowledged", &admin, |info| {
        info.ack_floor.stream_sequence == 40
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

/// A sink that is slower than `ack_wait` causes no redelivery of what is open or waits behind it.
#[tokio::test]
async fn slow_work_is_delivered_once() {
    let ack_wait = Duration::from_secs(1);
    for settings in every_ack() {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=6).await;
        let settings = config::JetStreamSource { ack_wait, ..settings };
        // One byte of budget: after each event the intake is closed, and what was pulled with it has to
        // wait outside. The pull asks for more than there is: the server could redeliver at any time.
        let budget = EventBudget { events: 10, bytes: 1 };
        let mut running = Running::with_budget(&nats(&server.url()), settings, budget).await;
        let ticket = running.next().await;
        let start = Instant::now();
        until("three times `ack_wait` has passed", async || start.elapsed() > ack_wait * 3).await;
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
    let budget = EventBudget { events: 7, bytes: 1 << 20 };
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
    for settings in every_ack() {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=80).await;
        let budget = EventBudget { events: 100, bytes: 200 };
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
        until_consumer("the server has seen the last acks", &admin, |info| info.ack_floor.stream_sequence == taken)
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

/// A process that was killed leaves deliveries behind. They come before anything that follows them,
/// in their order; with an ack for each, those that were settled do not come again.
#[tokio::test]
async fn what_another_process_left_open_comes_first() {
    for settings in [settings(), ack_all()] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=40).await;
        // Killed three times: what was given back in one order is then partly delivered again.
        let mut open: Vec<u64> = (1..=40).collect();
        for _ in 0..3 {
            let mut killed = Running::start(&nats(&server.url()), settings.clone()).await;
            let mut held = Vec::new();
            for expected in open.clone() {
                let ticket = killed.next().await;
                assert_eq!(number(&ticket), expected, "{:?}", settings.ack);
                held.push(ticket);
                if held.len() == 20 {
                    break;
                }
            }
            for ticket in held.extract_if(.., |ticket| !number(ticket).is_multiple_of(3)) {
                open.retain(|open| *open != number(&ticket));
                ticket.settle(Fate::Emitted);
            }
            if settings.ack == AckMode::All {
                // Only a prefix is acknowledged, which ends before the first that is a multiple of three.
                open = (3..=40).collect();
            }
            let pending = open.len() as u64;
            until_consumer("the acks have arrived", &admin, |info| {
                info.num_pending + info.num_ack_pending as u64 == pending
            })
            .await;
            killed.task.abort();
            let _ = killed.task.await;
        }
        publish(&admin, 41..=60).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        let start = Instant::now();
        let expected: Vec<u64> = open.into_iter().chain(41..=60).collect();
        assert_eq!(running.take_all(expected.clone()).await, expected);
        assert!(start.elapsed() < Duration::from_secs(10), "waited for the redelivery");
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// Two readers of a consumer share its messages out, and none gets what the other has.
#[tokio::test]
async fn a_second_reader_gets_its_share_and_nothing_twice() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=100).await;
    let mut first = Running::start(&nats(&server.url()), settings()).await;
    let mut open = Vec::new();
    for _ in 1..=100 {
        open.push(first.next().await);
    }
    let mut second = Running::start(&nats(&server.url()), settings()).await;
    let mut counts = [0; 300];
    let mut settled = 0;
    for round in 0..8_u64 {
        publish(&admin, 101 + round * 25..126 + round * 25).await;
        for _ in 0..25 {
            let ticket = tokio::select! { ticket = first.next() => ticket, ticket = second.next() => ticket };
            counts[number(&ticket) as usize - 1] += 1;
            ticket.settle(Fate::Emitted);
            settled += 1;
        }
    }
    for ticket in open {
        counts[number(&ticket) as usize - 1] += 1;
        ticket.settle(Fate::Emitted);
        settled += 1;
    }
    first.settle_the_rest(&admin).await;
    assert_eq!((settled, counts), (300, [1; 300]));
    assert_eq!(consumer_info(&admin).await.unwrap().delivered.consumer_sequence, 300, "given back and delivered again");
    first.drain().await;
    second.drain().await;
}

/// What was pulled and waits to be taken is part of the budget of bytes, and what is larger than
/// that still comes.
#[tokio::test]
async fn no_more_is_pulled_than_the_bytes_allow() {
    for settings in every_ack() {
        let server = NatsServer::start().await;
        let admin = admin(&server.url()).await;
        create_stream(&admin).await;
        for number in 1..=40_u64 {
            let size = if number % 10 == 0 { 600_000 } else { 50_000 };
            let body = format!("{}{number}", "0".repeat(size));
            admin.publish("events.large", body.into()).await.unwrap().await.unwrap();
        }
        let budget = EventBudget { events: 100, bytes: 400_000 };
        let mut running = Running::with_budget(&nats(&server.url()), settings, budget).await;
        for round in 0..4 {
            let mut open = Vec::new();
            let mut bytes = 0;
            while bytes < 400_000 {
                let ticket = running.next().await;
                bytes += ticket.event().payload.len();
                open.push(ticket);
            }
            assert!(timeout(Duration::from_millis(200), running.pipeline.next()).await.is_err());
            let pending = consumer_info(&admin).await.unwrap().num_ack_pending;
            assert!(pending <= open.len() + 1, "{pending} were delivered, {} taken", open.len());
            let is_last = round == 3;
            open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
            if is_last {
                running.take_all([40]).await;
            }
        }
        running.settle_the_rest(&admin).await;
        assert_eq!(consumer_info(&admin).await.unwrap().delivered.consumer_sequence, 40, "delivered again");
        running.drain().await;
    }
}

/// Asks the server as somebody else would who makes or changes the consumer.
async fn put_consumer(admin: &async_nats::jetstream::Context, more: serde_json::Value) {
    let mut config = serde_json::json!({ "name": DURABLE, "durable_name": DURABLE, "ack_policy": "explicit" });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let request = serde_json::json!({ "stream_name": STREAM, "config": config });
    let answer: serde_json::Value =
        admin.request(format!("CONSUMER.CREATE.{STREAM}.{DURABLE}"), &request).await.unwrap();
    assert_eq!(answer.get("error"), None, "{answer}");
}

async fn config_of_consumer(admin: &async_nats::jetstream::Context) -> serde_json::Value {
    let answer: serde_json::Value =
        admin.request(format!("CONSUMER.INFO.{STREAM}.{DURABLE}"), &serde_json::json!({})).await.unwrap();
    answer["config"].clone()
}

/// Whoever made the consumer: what breaks a promise is refused by name and left as it was.
#[tokio::test]
async fn a_consumer_that_breaks_promises_is_refused_and_not_touched() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    let stream = create_stream(&admin).await;
    publish(&admin, 1..=3).await;
    let connection = connect(&nats(&server.url()), "source", ConnectionLife::Reconnecting).await.unwrap();
    for (more, named) in [
        (serde_json::json!({ "headers_only": true }), "`headers_only` is true"),
        (
            serde_json::json!({ "backoff": [1_000_000_000_u64, 5_000_000_000_u64], "max_deliver": 5 }),
            "`backoff` is [1000000000,5000000000]; `max_deliver` is 5",
        ),
        (
            serde_json::json!({ "priority_groups": ["g"], "priority_policy": "overflow" }),
            r#"`priority_groups` is ["g"]; `priority_policy` is "overflow""#,
        ),
    ] {
        put_consumer(&admin, more).await;
        let before = config_of_consumer(&admin).await;
        let refused = source::open(connection.clone(), &settings(), 100).await.map(|_| ()).unwrap_err();
        assert!(!refused.is_passing());
        let refused = refused.to_string();
        assert!(refused.contains(named) && refused.contains("another `durable`"), "{refused}");
        assert_eq!(config_of_consumer(&admin).await, before);
        stream.delete_consumer(DURABLE).await.unwrap();
    }
    // What does no harm stays as it is, and limits of a pull are kept to.
    let harmless = serde_json::json!({
        "description": "made by hand", "sample_freq": "50", "max_waiting": 3, "max_batch": 2, "max_bytes": 10_000,
        "max_expires": 1_000_000_000, "metadata": { "owner": "ops" }
    });
    put_consumer(&admin, harmless.clone()).await;
    let mut running = Running::start(&nats(&server.url()), settings()).await;
    running.take_all(1..=3).await;
    running.settle_the_rest(&admin).await;
    let config = config_of_consumer(&admin).await;
    for (field, value) in harmless.as_object().unwrap() {
        assert!(field == "metadata" || config[field] == *value, "{field} is {}", config[field]);
    }
    assert_eq!(config["metadata"]["owner"], "ops");

    // Changed behind our back: the run ends and says why.
    let mut changed = harmless;
    changed["priority_groups"] = serde_json::json!(["g"]);
    changed["priority_policy"] = "overflow".into();
    put_consumer(&admin, changed).await;
    let ended = timeout(source::PATIENCE, running.task).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(error.contains("`priority_groups` is"), "{error}");
}

#[tokio::test]
async fn the_consumer_is_brought_in_line() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    create_stream(&admin).await;
    let connection = connect(&nats(&server.url()), "source", ConnectionLife::Reconnecting).await.unwrap();
    let open = async |settings: config::JetStreamSource, in_flight| {
        let opened = source::open(connection.clone(), &settings, in_flight).await;
        opened.map(|_| ()).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    open(settings(), 100).await.unwrap();
    let changed = config::JetStreamSource {
        ack_wait: Duration::from_secs(7),
        subjects: vec!["events.a".parse().unwrap(), "events.b".parse().unwrap()],
        deliver: DeliverPolicy::New,
        ..settings()
    };
    open(changed, 50).await.unwrap();
    let config = consumer_info(&admin).await.unwrap().config;
    assert_eq!((config.ack_wait, config.max_ack_pending), (Duration::from_secs(7), 50));

    // With `auto`, a consumer that is there is used as it is.
    let auto = config::JetStreamSource { ack: AckMode::Auto, ..settings() };
    open(auto.clone(), 100).await.unwrap();
    let config = config_of_consumer(&admin).await;
    assert_eq!((&config["ack_policy"], config.get("priority_policy")), (&"explicit".into(), None));

    let refused = open(ack_all(), 100).await.unwrap_err();
    assert!(refused.contains(r#"`ack_policy` is "explicit", wanted "all""#), "{refused}");
    assert!(refused.contains("delete the consumer") && refused.contains(DURABLE), "{refused}");

    // One with an ack for many messages can be pinned, and is then none that anything else may read.
    let other = |ack| config::JetStreamSource { ack, durable: "other".to_owned(), ..settings() };
    for (ack, refusal) in [
        (AckMode::All, None),
        (AckMode::Auto, None),
        (AckMode::Auto, None),
        (AckMode::Explicit, Some("`priority_policy` is \"pinned_client\"")),
        (AckMode::All, Some("`priority_groups` is [\"trommel\"]")),
    ] {
        match (open(other(ack), 100).await, refusal) {
            (Ok(()), None) => {}
            (Err(error), Some(refusal)) if error.contains(refusal) => {}
            (opened, _) => panic!("{ack:?}: {opened:?}"),
        }
    }

    let nowhere = config::JetStreamSource { stream: "NOWHERE".to_owned(), ..settings() };
    let refused = open(nowhere, 100).await.unwrap_err();
    assert!(refused.starts_with("stream `NOWHERE` does not exist"), "{refused}");
}

/// What the stream allows its consumers bounds the budget, and allows more again once it is raised.
#[tokio::test]
async fn the_limit_of_a_stream_is_kept_to() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=200).await;
    let limited = |max_ack_pending| stream::Config {
        name: STREAM.to_owned(),
        subjects: vec!["events.>".to_owned()],
        consumer_limits: Some(stream::ConsumerLimits { inactive_threshold: Duration::ZERO, max_ack_pending }),
        ..Default::default()
    };
    for (limit, expected) in [(7, 7), (500, 200)] {
        admin.update_stream(limited(limit)).await.unwrap();
        let mut running = Running::start(&nats(&server.url()), settings()).await;
        assert_eq!(consumer_info(&admin).await.unwrap().config.max_ack_pending, expected);
        if limit == 7 {
            running.take_all(1..=200).await;
            running.settle_the_rest(&admin).await;
        }
        running.drain().await;
    }
}

//! What a source makes of a server that restarts, dies, freezes, forgets or forbids.

use crate::nats as server;
use crate::patience::{until, until_ok};
use crate::proxy;
use crate::source;

use std::time::Duration;

use proxy::{Fault, Proxy};
use server::{NatsServer, publish_raw};
use source::{
    DURABLE, Running, STREAM, admin, consumer_info, create_stream, nats, number, publish, settings, stocked,
    until_consumer,
};
use tokio::time::{Instant, timeout};
use trommel::{
    config::{self, AckMode, NatsAuth},
    fate::Fate,
    nats::{ConnectTrouble, ConnectionLife, connect},
};

/// How soon a source is back after the server is: reconnecting takes up to 2 s, noticing silence as
/// long.
const RECOVERY: Duration = Duration::from_secs(8);

fn every_way() -> [config::JetStreamSource; 3] {
    // Redeliveries within the test's patience.
    source::every_ack().map(|settings| config::JetStreamSource { ack_wait: Duration::from_secs(2), ..settings })
}

#[tokio::test]
async fn a_restart_loses_nothing() {
    for settings in every_way() {
        let mut server = NatsServer::start().await;
        stocked(&server.url(), 1..=300).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        let held = running.next().await;
        server.restart().await;
        let admin = admin(&server.url()).await;
        publish(&admin, 301..=400).await;
        held.settle(Fate::Emitted);
        running.take_all(2..=400).await;
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn a_crash_of_the_server_loses_nothing() {
    for settings in every_way() {
        let mut server = NatsServer::start().await;
        stocked(&server.url(), 1..=300).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        running.take_all(1..=150).await;
        server.kill();
        server.start_again().await;
        let admin = admin(&server.url()).await;
        publish(&admin, 301..=400).await;
        running.take_all(151..=400).await;
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn a_frozen_server_is_waited_for() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=10).await;
    let mut running = Running::start(&nats(&server.url()), settings()).await;
    running.take_all(1..=10).await;
    server.freeze();
    // Longer than it takes to notice the silence.
    let frozen = timeout(Duration::from_secs(5), running.pipeline.next()).await;
    assert!(frozen.is_err());
    server.thaw();
    publish(&admin, 11..=20).await;
    let thawed = Instant::now();
    running.take_all(11..=20).await;
    assert!(thawed.elapsed() < RECOVERY, "took {:?}", thawed.elapsed());
    running.settle_the_rest(&admin).await;
    running.drain().await;
}

#[tokio::test]
async fn a_deleted_consumer_is_created_again_where_it_stood() {
    for settings in every_way() {
        let server = NatsServer::start().await;
        let admin = admin(&server.url()).await;
        let stream = create_stream(&admin).await;
        publish(&admin, 1..=50).await;
        let mut running = Running::start(&nats(&server.url()), settings.clone()).await;
        running.take_all(1..=50).await;
        running.settle_the_rest(&admin).await;
        stream.delete_consumer(DURABLE).await.unwrap();
        let deleted = Instant::now();
        publish(&admin, 51..=60).await;
        let seen = running.take_all(51..=60).await;
        assert!(deleted.elapsed() < RECOVERY, "took {:?}", deleted.elapsed());
        assert_eq!(seen[0], 51);
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// Receipts of the old consumer would settle other messages of the new one.
#[tokio::test]
async fn a_stream_that_is_created_anew_is_read_from_its_beginning() {
    for settings in every_way() {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=30).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        let mut held = Vec::new();
        for _ in 1..=30 {
            held.push(running.next().await);
        }
        admin.delete_stream(STREAM).await.unwrap();
        create_stream(&admin).await;
        publish(&admin, 101..=105).await;
        let mut open = Vec::new();
        for expected in 101..=105 {
            let ticket = running.next().await;
            assert_eq!((number(&ticket), ticket.event().sequence), (expected, expected - 100));
            open.push(ticket);
        }
        held.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
        // An ack that went out for one of the old ones would be seen by the time this new one's is.
        open.pop().unwrap().settle(Fate::Emitted);
        publish(&admin, 106..=106).await;
        let last = running.next().await;
        assert_eq!(number(&last), 106);
        let info = consumer_info(&admin).await.unwrap();
        assert_eq!(info.ack_floor.stream_sequence, 0);
        assert!(info.num_ack_pending >= 5, "{info:?}");
        open.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
        last.settle(Fate::Emitted);
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// What is published after a backup came back has sequences that were seen before: it is not taken
/// for repeats.
#[tokio::test]
async fn a_stream_that_comes_back_from_a_backup_is_read_on() {
    for settings in every_way() {
        let mut server = NatsServer::start().await;
        let context = stocked(&server.url(), 1..=20).await;
        let mut running = Running::start(&nats(&server.url()), settings.clone()).await;
        running.take_all(1..=20).await;
        running.settle_the_rest(&context).await;
        server.terminate();
        let backup = server.back_up();
        server.start_again().await;
        let context = admin(&server.url()).await;
        publish(&context, 21..=50).await;
        running.take_all(21..=50).await;
        running.settle_the_rest(&context).await;
        server.terminate();
        server.restore(&backup);
        server.start_again().await;
        let context = admin(&server.url()).await;
        publish(&context, 121..=150).await;
        running.take_all(121..=150).await;
        running.settle_the_rest(&context).await;
        publish(&context, 151..=160).await;
        running.take_all(151..=160).await;
        running.settle_the_rest(&context).await;
        running.drain().await;
    }
}

/// What was on its way when a connection was cut is read from the stream, before anything that
/// follows it.
#[tokio::test]
async fn a_cut_does_not_change_the_order() {
    for ack in [AckMode::Explicit, AckMode::Auto, AckMode::All] {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=100).await;
        let proxy = Proxy::start(server.address()).await;
        // Longer than the test: nothing comes by redelivery.
        let settings = config::JetStreamSource { ack, ack_wait: Duration::from_secs(300), ..settings() };
        let mut running = Running::start(&nats(&proxy.url()), settings).await;
        let mut seen = Vec::new();
        for round in 1..=5_u64 {
            seen.extend(running.take_all(1..=round * 100).await);
            until_consumer("a pull waits", &admin, |info| info.num_waiting > 0).await;
            proxy.set(Fault::Stall);
            publish(&admin, round * 100 + 1..=round * 100 + 100).await;
            until_consumer("deliveries are on their way", &admin, |info| info.delivered.stream_sequence > round * 100)
                .await;
            proxy.cut();
            proxy.set(Fault::None);
        }
        seen.extend(running.take_all(1..=600).await);
        let mut first = std::collections::HashSet::new();
        seen.retain(|number| first.insert(*number));
        assert!(seen.is_sorted(), "{ack:?}: {seen:?}");
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// A pull that never reaches the server: the client believes it is waiting, the server has nobody
/// to deliver to.
#[tokio::test]
async fn a_lost_pull_is_noticed() {
    let server = NatsServer::start().await;
    let admin = stocked(&server.url(), 1..=100).await;
    let proxy = Proxy::start(server.address()).await;
    let mut running = Running::start(&nats(&proxy.url()), settings()).await;
    running.take_all(1..=40).await;
    proxy.set(Fault::SwallowUp);
    running.take_all(41..=100).await;
    publish(&admin, 101..=400).await;
    // The acks are lost too, so the server stops at the budget; nothing more can come.
    while let Ok(Some(ticket)) = timeout(Duration::from_secs(3), running.pipeline.next()).await {
        ticket.settle(Fate::Emitted);
    }
    proxy.set(Fault::None);
    let healed = Instant::now();
    publish(&admin, 401..=401).await;
    running.take_all([401]).await;
    // It has been asking again every 2.5 s.
    assert!(healed.elapsed() < Duration::from_secs(5), "took {:?}", healed.elapsed());
    running.drain().await;
}

#[tokio::test]
async fn a_cut_connection_is_made_again() {
    for settings in every_way() {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=500).await;
        let proxy = Proxy::start(server.address()).await;
        let mut running = Running::start(&nats(&proxy.url()), settings).await;
        for round in 0..5 {
            running.take_all(round * 100 + 1..=round * 100 + 50).await;
            proxy.cut();
            running.take_all(round * 100 + 51..=round * 100 + 100).await;
        }
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

const USERS: &str = r#"
authorization {
  users = [
    { user: admin, password: secret }
    { user: router, password: secret, permissions: { publish: { deny: "$JS.API.CONSUMER.MSG.NEXT.>" } } }
    { user: guest, password: secret, permissions: { publish: { deny: "$JS.API.>" } } }
  ]
}"#;
const USERS_WITHOUT_DENIAL: &str = r#"
authorization { users = [ { user: admin, password: secret }, { user: router, password: secret } ] }"#;

fn as_user(server: &NatsServer, user: &str, password: &str) -> config::NatsConfig {
    let auth = NatsAuth::Password { user: user.to_owned(), password: password.to_owned() };
    config::NatsConfig { auth, ..nats(&server.url()) }
}

async fn admin_with_password(server: &NatsServer) -> async_nats::jetstream::Context {
    let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), "secret".to_owned());
    async_nats::jetstream::new(options.connect(server.url()).await.unwrap())
}

#[tokio::test]
async fn a_denied_pull_is_named_and_tried_again() {
    let server = NatsServer::with_config(USERS).await;
    let admin = admin_with_password(&server).await;
    create_stream(&admin).await;
    publish(&admin, 1..=3).await;
    let mut running = Running::start(&as_user(&server, "router", "secret"), settings()).await;
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}");
    let denial = until_ok("the denial is noticed", async || {
        let denied = running.connection.denied_since(0, |denial| denial.publish && denial.subject == subject);
        denied.ok_or("nothing is denied")
    })
    .await;
    assert_eq!(denial.to_string(), format!("no permission to publish to `{subject}`"));
    assert!(timeout(Duration::from_secs(3), running.pipeline.next()).await.is_err());
    server.reconfigure(USERS_WITHOUT_DENIAL);
    running.take_all(1..=3).await;
    running.drain().await;
}

const USERS_WITHOUT_INBOX: &str = r#"
authorization {
  users = [
    { user: admin, password: secret }
    { user: router, password: secret, permissions: { subscribe: "nothing" } }
  ]
}"#;

/// The server forgets a subscription that it does not allow any more, and does not say when it
/// would allow it again.
#[tokio::test]
async fn a_permission_to_listen_that_is_taken_and_given_back_costs_nothing() {
    for settings in every_way() {
        let server = NatsServer::with_config(USERS_WITHOUT_DENIAL).await;
        let admin = admin_with_password(&server).await;
        create_stream(&admin).await;
        publish(&admin, 1..=3).await;
        let mut running = Running::start(&as_user(&server, "router", "secret"), settings).await;
        running.take_all(1..=3).await;
        server.reconfigure(USERS_WITHOUT_INBOX);
        until("it is noticed", async || !running.connection.is_connected()).await;
        publish(&admin, 4..=6).await;
        let asked = running.connection.api(&format!("STREAM.INFO.{STREAM}"), &serde_json::json!({})).await;
        let error = format!("{:#}", anyhow::Error::from(asked.unwrap_err()));
        assert!(error.contains("no permission to subscribe to `_INBOX."), "{error}");
        let epoch = running.connection.epoch();
        until("it asks again and again", async || running.connection.epoch() > epoch + 2).await;
        server.reconfigure(USERS_WITHOUT_DENIAL);
        running.take_all(4..=6).await;
        // What was denied once does not answer for ever.
        running.connection.api(&format!("STREAM.INFO.{STREAM}"), &serde_json::json!({})).await.unwrap();
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

#[tokio::test]
async fn a_denied_request_says_so_at_once() {
    let server = NatsServer::with_config(USERS).await;
    let connection =
        connect(&as_user(&server, "guest", "secret"), "source", ConnectionLife::Reconnecting).await.unwrap();
    let asked = Instant::now();
    let opened = source::open(connection, &settings(), 10).await;
    let error = format!("{:#}", anyhow::Error::from(opened.map(|_| ()).unwrap_err()));
    assert!(error.contains("no permission to publish to `$JS.API.STREAM.INFO.EVENTS`"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(4), "waited for the time-out");
}

#[tokio::test]
async fn why_there_is_no_connection_is_told_apart() {
    let server = NatsServer::with_config(USERS).await;
    let refused = |settings: config::NatsConfig| async move {
        let error = connect(&settings, "source", ConnectionLife::Reconnecting).await.map(|_| ()).unwrap_err();
        (error.trouble, format!("{:#}", anyhow::Error::from(error)))
    };
    let (trouble, text) = refused(as_user(&server, "router", "wrong-secret")).await;
    assert_eq!(trouble, ConnectTrouble::Auth);
    assert!(text.contains(&server.url()) && text.contains("authorization violation"), "{text}");
    assert!(!text.contains("wrong-secret"), "{text}");

    let (trouble, text) = refused(nats("nats://127.0.0.1:1")).await;
    assert_eq!(trouble, ConnectTrouble::Network);
    assert!(text.contains("refused"), "{text}");

    let tls = config::NatsConfig { tls_required: true, ..as_user(&server, "router", "secret") };
    let (trouble, text) = refused(tls).await;
    assert_eq!(trouble, ConnectTrouble::Tls, "{text}");

    let (trouble, text) = refused(nats("nats://ann:secret@")).await;
    assert_eq!(trouble, ConnectTrouble::Settings, "{text}");
    assert!(!text.contains("secret"), "{text}");
}

/// The client gives up its connection over such a message, every time that it is delivered.
#[tokio::test]
async fn a_message_that_the_client_can_not_read_becomes_a_dead_letter() {
    for settings in every_way() {
        let server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=5).await;
        publish_raw(&server, "events.poison", b"NATS/1.0\r\nGood: yes\r\nBad: \xff\xfe\r\n\r\n", "body").await;
        publish(&admin, 6..=10).await;
        let mut running = Running::start(&nats(&server.url()), settings).await;
        running.take_all(1..=10).await;
        let refused = timeout(source::PATIENCE, running.pipeline.next_refused()).await.unwrap().unwrap();
        let record: serde_json::Value = serde_json::from_slice(&refused.payload).unwrap();
        assert_eq!(
            (record["reason"].as_str(), record["sequence"].as_u64(), record["payload_text"].as_str()),
            (Some("headers_not_utf8"), Some(6), Some("body")),
            "{record}"
        );
        assert_eq!(record["headers"], serde_json::json!([["Good", "yes"], ["Bad", "\u{fffd}\u{fffd}"]]));
        refused.ticket.dead("headers_not_utf8");
        running.settle_the_rest(&admin).await;
        // It is behind us: later messages are not held up.
        publish(&admin, 11..=20).await;
        running.take_all(11..=20).await;
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// A server that comes back without what it had not written delivers the message again, and the
/// client gives up its connection over it before anything shows that it was settled.
#[tokio::test]
async fn a_forgotten_ack_of_a_message_that_the_client_can_not_read_is_made_again() {
    for settings in every_way() {
        let mut server = NatsServer::start().await;
        let admin = stocked(&server.url(), 1..=5).await;
        let settings = config::JetStreamSource { ack_wait: Duration::from_millis(500), ..settings };
        let mut running = Running::start(&nats(&server.url()), settings).await;
        running.take_all(1..=5).await;
        running.settle_the_rest(&admin).await;
        publish_raw(&server, "events.poison", b"NATS/1.0\r\nBad: \xff\xfe\r\n\r\n", "body").await;
        server.terminate();
        // Without the ack, which comes later.
        let backup = server.back_up();
        server.start_again().await;
        let refused = timeout(source::PATIENCE, running.pipeline.next_refused()).await.unwrap().unwrap();
        refused.ticket.dead("headers_not_utf8");
        running.settle_the_rest(&self::admin(&server.url()).await).await;
        server.terminate();
        server.restore(&backup);
        server.start_again().await;
        let admin = self::admin(&server.url()).await;
        running.settle_the_rest(&admin).await;
        assert!(timeout(Duration::ZERO, running.pipeline.next_refused()).await.is_err(), "dead once");
        publish(&admin, 7..=9).await;
        running.take_all(7..=9).await;
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// Header blocks of every kind, most of which the client gives its connection up over or panics on:
/// each message ends as an event or as a dead letter, once, and the source goes on.
#[tokio::test]
async fn whatever_a_header_block_holds_the_source_goes_on() {
    const MESSAGES: u64 = 60;
    let seed = fastrand::u64(..);
    for settings in every_way() {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = NatsServer::start().await;
        let admin = admin(&server.url()).await;
        create_stream(&admin).await;
        for number in 1..=MESSAGES {
            let block = match number {
                // What has ended a router: a lone CR in a value.
                5 => b"NATS/1.0\r\nNote: a\rb\r\n\r\n".to_vec(),
                6 => b"NATS/1.0 503\r\n\r\n".to_vec(),
                7 => b"NATS/1.0 100 Idle Heartbeat\r\n\r\n".to_vec(),
                _ => random_block(&mut random),
            };
            publish_raw(&server, &format!("events.{number}"), &block, &number.to_string()).await;
        }
        let mut running = Running::start(&nats(&server.url()), settings.clone()).await;
        let mut ended = std::collections::BTreeSet::new();
        let deadline = Instant::now() + source::PATIENCE * 2;
        while ended.len() < MESSAGES as usize {
            let missing = || (1..=MESSAGES).filter(|number| !ended.contains(number)).collect::<Vec<_>>();
            assert!(Instant::now() < deadline, "seed {seed}, {:?}: without an end: {:?}", settings.ack, missing());
            let moment = Duration::from_millis(5);
            let sequence = if let Ok(ticket) = timeout(moment, running.pipeline.next()).await {
                let ticket = ticket.unwrap();
                let sequence = ticket.event().sequence;
                assert_eq!(sequence, number(&ticket));
                ticket.settle(Fate::Emitted);
                sequence
            } else if let Ok(refused) = timeout(moment, running.pipeline.next_refused()).await {
                let refused = refused.unwrap();
                let record: serde_json::Value = serde_json::from_slice(&refused.payload).unwrap();
                refused.ticket.dead("bad_headers");
                record["sequence"].as_u64().unwrap()
            } else {
                continue;
            };
            ended.insert(sequence);
        }
        running.settle_the_rest(&admin).await;
        publish(&admin, [1000]).await;
        let last = running.next().await;
        assert_eq!(number(&last), 1000);
        last.settle(Fate::Emitted);
        running.settle_the_rest(&admin).await;
        running.drain().await;
    }
}

/// A block as a careless or hostile publisher may send it: half of it is well formed, any byte may
/// be anywhere.
fn random_block(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut block = b"NATS/1.0\r\n".to_vec();
    for _ in 0..random.usize(0..4) {
        if random.bool() {
            block.extend(b"Name: value\r\n");
            continue;
        }
        let pieces: [&[u8]; 9] = [b"Na", b":", b" ", b"\r", b"\n", b"\t", b"\r\n", b"\xc3", b"\xe2\x80\xa8"];
        for _ in 0..random.usize(1..8) {
            if random.bool() {
                block.extend(pieces[random.usize(..pieces.len())]);
            } else {
                block.push(random.u8(..));
            }
        }
        block.extend(b"\r\n");
    }
    block.extend(b"\r\n");
    block
}

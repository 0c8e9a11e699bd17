//! Outputs into JetStream and core NATS, whatever becomes of the server and the way to it.

use crate::nats as server;
use crate::patience::until;
use crate::proxy;
use crate::sink_rig::{PATIENCE, SinkRig, event, out, output, settings, stored, stored_numbers};
use crate::source::{admin, nats};

use std::{net::SocketAddr, time::Duration};

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt;
use proxy::{Fault, Proxy};
use server::NatsServer;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use trommel::{
    ack::Outcome,
    config::{self, NatsAuth, RetryPolicy},
    event::{Event, Headers},
    nats::{ConnectionLife, connect},
    sink::{Confirmation, Sink, SinkRefusal, nats::NatsPublisher},
};

#[tokio::test]
async fn outputs_are_stored_once_and_in_order() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    rig.send(1..=3_000).await;
    rig.expect_done(3_000).await;
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=3_000));
    // A repetition, as after a redelivery, is confirmed and not stored.
    rig.send(1..=50).await;
    rig.expect_done(50).await;
    assert_eq!(stored(&admin).await.len(), 3_000);
    assert_eq!((rig.metrics.written.get(), rig.metrics.retried.get()), (3_050, 0));
    rig.finish().await;
}

#[tokio::test]
async fn headers_go_along_except_those_meant_for_a_stream() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut heard = client.subscribe("out.>").await.unwrap();
    client.flush().await.unwrap();
    let headers = [
        ("traceparent", "00-aa-bb-01"),
        ("Nats-Msg-Id", "theirs"),
        ("nats-expected-stream", "IN"),
        ("Nats-TTL", "1s"),
        ("tenant", "acme"),
        ("tenant", "other"),
    ];
    let headers: Headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let all = |headers: async_nats::HeaderMap| {
        let mut all: Vec<_> = headers
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string())))
            .collect();
        all.sort();
        all
    };
    let mut received = Vec::new();
    for message_id in [true, false] {
        let mut rig = SinkRig::start(&nats(&server.url()), &config::NatsSink { message_id, ..settings() }).await;
        rig.send_event(Event { headers: headers.clone(), ..event(7) }).await;
        rig.expect_done(1).await;
        rig.finish().await;
        let message = timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
        received.push(all(message.headers.unwrap()));
    }
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let kept = [("tenant", "acme"), ("tenant", "other"), ("traceparent", "00-aa-bb-01")].map(pair);
    let id = format!("{}:key:route:0:out", event(7).uid);
    let hops = event(7).hops_of_outputs().map(|hops| pair(("Trommel-Hops", &hops.to_string())));
    let without_id: Vec<_> = hops.into_iter().chain(kept).collect();
    let with_id: Vec<_> = std::iter::once(pair(("Nats-Msg-Id", &id))).chain(without_id.clone()).collect();
    assert_eq!(received, [with_id, without_id]);
}

#[tokio::test]
async fn a_missing_stream_is_waited_for() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    rig.send(1..=100).await;
    sleep(Duration::from_secs(1)).await;
    assert!(rig.settled.try_recv().is_err());
    // 100 outputs, and a wait that grows to 200 ms: it does not hammer.
    assert!(rig.metrics.retried.get() < 100 * 20, "{} tries", rig.metrics.retried.get());
    admin.create_stream(out()).await.unwrap();
    rig.expect_done(100).await;
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=100));
    rig.finish().await;
}

#[tokio::test]
async fn a_full_stream_is_waited_for() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    let full = stream::Config { max_messages: 10, discard: stream::DiscardPolicy::New, ..out() };
    let stream = admin.create_stream(full).await.unwrap();
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    rig.send(1..=30).await;
    rig.expect_done(10).await;
    sleep(Duration::from_millis(500)).await;
    assert!(rig.settled.try_recv().is_err());
    stream.purge().await.unwrap();
    rig.expect_done(10).await;
    stream.purge().await.unwrap();
    rig.expect_done(10).await;
    rig.finish().await;
}

#[tokio::test]
async fn what_is_too_large_becomes_a_dead_letter() {
    let server = NatsServer::with_config("max_payload: 10000").await;
    let admin = admin(&server.url()).await;
    admin.create_stream(stream::Config { max_message_size: 5_000, ..out() }).await.unwrap();
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    for (number, size) in [(1, 7_000), (2, 20_000)] {
        rig.send_event(Event { payload: "x".repeat(size).into(), ..event(number) }).await;
        let record = rig.expect_dead().await;
        assert_eq!((record["reason"].as_str(), record["sequence"].as_u64()), (Some("too_large"), Some(number)));
    }
    rig.send(3..=3).await;
    rig.expect_outcomes(3, &[(1, Outcome::Dead("dead")), (2, Outcome::Dead("dead")), (3, Outcome::Done)]).await;
    rig.finish().await;
}

#[tokio::test]
async fn what_can_not_be_sent_becomes_a_dead_letter_and_holds_nothing_up() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    let headers =
        |name: &'static str, value: &'static str| -> Headers { [(name.into(), value.into())].into_iter().collect() };
    rig.send_event(Event { event_type: "a b".into(), ..event(1) }).await;
    rig.send_event(Event { headers: headers("na me", "x"), ..event(2) }).await;
    rig.send_event(Event { headers: headers("name", "x\r\nNats-Msg-Id: y"), ..event(3) }).await;
    // An id is the producer's, and no reason to refuse anything.
    rig.send_event(Event { id: "a\r\nb".into(), ..event(4) }).await;
    rig.send(5..=5).await;
    for reason in ["bad_subject", "bad_header", "bad_header"] {
        assert_eq!(rig.expect_dead().await["reason"].as_str(), Some(reason));
    }
    let dead = (1..=3).map(|number| (number, Outcome::Dead("dead")));
    rig.expect_outcomes(5, &dead.chain([(4, Outcome::Done), (5, Outcome::Done)]).collect::<Vec<_>>()).await;
    assert_eq!(stored_numbers(&admin).await, [4, 5]);
    rig.finish().await;
}

/// A sink without an outlet, to see its own words.
async fn refusal(sink: &mut NatsPublisher) -> String {
    let (settled, _) = mpsc::channel(1);
    sink.write(0, &output(event(1), settled)).await.unwrap();
    match timeout(PATIENCE, sink.confirm()).await.unwrap() {
        Confirmation::Refused(0, SinkRefusal::Apart(why) | SinkRefusal::Later(why)) => format!("{why:#}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_denied_subject_is_named_at_once() {
    let users = r#"authorization { users = [
        { user: a, password: b, permissions: { publish: { deny: "out.>" } } }
        { user: c, password: b, permissions: { subscribe: { deny: "_INBOX.>" } } }
    ] }"#;
    let server = NatsServer::with_config(users).await;
    let as_user = |user: &str| {
        let auth = NatsAuth::Password { user: user.to_owned(), password: "b".to_owned() };
        config::NatsConfig { auth, ..nats(&server.url()) }
    };
    let patient = config::NatsSink { ack_timeout: PATIENCE, ..settings() };
    let mut sink = NatsPublisher::new("out", &as_user("a"), &patient);
    assert_eq!(refusal(&mut sink).await, "no permission to publish to `out.created`");
    let quick = config::NatsSink { ack_timeout: Duration::from_millis(300), ..settings() };
    let mut sink = NatsPublisher::new("out", &as_user("c"), &quick);
    let why = refusal(&mut sink).await;
    assert!(why.starts_with("no permission to subscribe to `_INBOX."), "{why}");
}

/// The answers of the stream arrive nowhere then, and the server does not say when they would
/// again.
#[tokio::test]
async fn a_permission_to_listen_that_is_taken_and_given_back_costs_nothing() {
    let users = |permissions: &str| {
        format!(
            "authorization {{ users = [ {{ user: a, password: b{permissions} }}, {{ user: admin, password: b }} ] }}"
        )
    };
    let server = NatsServer::with_config(&users("")).await;
    let as_user = |user: &str| NatsAuth::Password { user: user.to_owned(), password: "b".to_owned() };
    let options = async_nats::ConnectOptions::with_user_and_password("admin".to_owned(), "b".to_owned());
    let admin = jetstream::new(options.connect(server.url()).await.unwrap());
    admin.create_stream(out()).await.unwrap();
    let quick = config::NatsSink { ack_timeout: Duration::from_millis(300), ..settings() };
    let mut rig = SinkRig::start(&config::NatsConfig { auth: as_user("a"), ..nats(&server.url()) }, &quick).await;
    rig.send(1..=10).await;
    rig.expect_done(10).await;
    server.reconfigure(&users(", permissions: { subscribe: \"nothing\" }"));
    let mut sent = 10;
    until("the loss is noticed", async || {
        // The server takes its time to reload.
        if sent < 100 {
            sent += 1;
            rig.send([sent]).await;
        }
        rig.metrics.retried.get() > 0
    })
    .await;
    server.reconfigure(&users(""));
    rig.expect_done(usize::try_from(sent).unwrap() - 10).await;
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=sent));
    rig.finish().await;
}

/// A server that names others, as those of a cluster do, and leaves after the first output.
async fn fleeting_server(names: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let info =
            serde_json::json!({ "server_id": "X", "max_payload": 1 << 20, "headers": true, "connect_urls": [names] });
        stream.write_all(format!("INFO {info}\r\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        while !line.starts_with("HPUB") {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
            if line.starts_with("PING") {
                stream.write_all(b"PONG\r\n").await.unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn another_server_that_the_last_one_named_is_connected_to() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let first = fleeting_server(server.address()).await;
    let mut rig = SinkRig::start(&nats(&format!("nats://{first}")), &settings()).await;
    rig.send(1..=10).await;
    rig.expect_done(10).await;
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=10));
    rig.finish().await;
}

/// The client would send what it had queued before what it lost. Nothing may be lost, doubled or
/// overtaken.
#[tokio::test]
async fn a_connection_cut_in_mid_window_loses_doubles_and_reorders_nothing() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let proxy = Proxy::start(server.address()).await;
    let mut rig = SinkRig::start(&nats(&proxy.url()), &settings()).await;
    for round in 0..10 {
        rig.send(round * 1_000 + 1..=round * 1_000 + 1_000).await;
        proxy.cut();
    }
    rig.expect_done(10_000).await;
    let numbers = stored_numbers(&admin).await;
    assert!(numbers.iter().copied().eq(1..=10_000), "stored {} with gaps, doubles or out of order", numbers.len());
    assert!(rig.metrics.retried.get() > 0, "no cut hit the window");
    rig.finish().await;
}

/// As above with a link that takes nothing more: then outputs wait at every stage inside the
/// client.
#[tokio::test]
async fn a_congested_connection_that_is_cut_reorders_nothing() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let proxy = Proxy::start(server.address()).await;
    let mut rig = SinkRig::start(&nats(&proxy.url()), &settings()).await;
    for round in 0..3 {
        proxy.set(Fault::Stall);
        for number in round * 256 + 1..=round * 256 + 256 {
            let payload = format!("{number:<65000}").into();
            rig.send_event(Event { payload, ..event(number) }).await;
        }
        sleep(Duration::from_millis(500)).await;
        proxy.cut();
        proxy.set(Fault::None);
        rig.expect_done(256).await;
    }
    assert!(rig.metrics.retried.get() > 0, "no cut hit the window");
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=768), "gaps, doubles or out of order");
    rig.finish().await;
}

#[tokio::test]
async fn a_server_that_is_away_is_waited_for() {
    let mut server = NatsServer::start().await;
    let before = admin(&server.url()).await;
    before.create_stream(out()).await.unwrap();
    let mut rig = SinkRig::start(&nats(&server.url()), &settings()).await;
    rig.send(1..=10).await;
    rig.expect_done(10).await;
    server.kill();
    rig.send(11..=200).await;
    sleep(Duration::from_secs(2)).await;
    assert!(rig.settled.try_recv().is_err());
    server.start_again().await;
    rig.expect_done(190).await;
    let after = admin(&server.url()).await;
    assert!(stored_numbers(&after).await.into_iter().eq(1..=200));
    rig.finish().await;
}

/// However long a sink waits after a refusal: nobody has refused anything.
#[tokio::test]
async fn a_server_that_is_back_is_found_within_seconds() {
    let mut server = NatsServer::start().await;
    admin(&server.url()).await.create_stream(out()).await.unwrap();
    server.terminate();
    let long = Duration::from_secs(3600);
    let retry = RetryPolicy { min: long, max: long, patience: long };
    let mut rig = SinkRig::with_retry(&nats(&server.url()), &settings(), retry);
    rig.send(1..=10).await;
    until("it has been tried again", async || rig.metrics.retried.get() > 0).await;
    server.start_again().await;
    rig.expect_done(10).await;
    rig.finish().await;
}

/// Acks that come too late: the outputs are repeated, and the stream drops the repeats.
#[tokio::test]
async fn late_acks_do_not_double() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    admin.create_stream(out()).await.unwrap();
    let proxy = Proxy::start(server.address()).await;
    let quick = config::NatsSink { ack_timeout: Duration::from_millis(200), ..settings() };
    let mut rig = SinkRig::start(&nats(&proxy.url()), &quick).await;
    rig.send([1]).await;
    rig.expect_done(1).await;
    proxy.set(Fault::Stall);
    rig.send(2..=100).await;
    until("they are repeated", async || rig.metrics.retried.get() >= 3).await;
    proxy.set(Fault::None);
    rig.expect_done(99).await;
    assert!(stored_numbers(&admin).await.into_iter().eq(1..=100));
    rig.finish().await;
}

#[tokio::test]
async fn core_subscribers_hear_outputs() {
    let server = NatsServer::start().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut heard = client.subscribe("out.>").await.unwrap();
    client.flush().await.unwrap();
    let core = config::NatsSink { jetstream: false, message_id: false, ..settings() };
    let mut rig = SinkRig::start(&nats(&server.url()), &core).await;
    rig.send(1..=1_000).await;
    rig.expect_done(1_000).await;
    for number in 1..=1_000_u64 {
        let message = timeout(PATIENCE, heard.next()).await.unwrap().unwrap();
        assert_eq!((message.payload, message.reply), (number.to_string().into(), None));
    }
    rig.finish().await;
}

#[tokio::test]
async fn a_declared_stream_is_created_and_changed() {
    let server = NatsServer::start().await;
    let admin = admin(&server.url()).await;
    let connection = connect(&nats(&server.url()), "streams", ConnectionLife::Reconnecting).await.unwrap();
    let declared = config::StreamConfig {
        name: "OUT".to_owned(),
        subjects: vec!["out.>".parse().unwrap()],
        storage: Some(config::Storage::File),
        replicas: Some(1),
        max_age: Some(config::StreamLimit::Most(Duration::from_secs(3600))),
        ..config::StreamConfig::default()
    };
    let ensure = async |stream: config::StreamConfig| {
        let changed = connection.ensure_stream(&stream).await;
        changed
            .map(|changed| format!("{:?}", changed.change))
            .map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    assert!(ensure(declared.clone()).await.unwrap().starts_with("Created"));
    assert_eq!(ensure(declared.clone()).await.unwrap(), "AsWanted");
    // What somebody else has set and we do not know stays.
    let mut config = admin.get_stream("OUT").await.unwrap().cached_info().config.clone();
    (config.max_messages_per_subject, config.description) = (5, Some("theirs".to_owned()));
    admin.update_stream(config).await.unwrap();
    let longer = config::StreamConfig {
        max_age: Some(config::StreamLimit::Most(Duration::from_secs(7200))),
        ..declared.clone()
    };
    assert!(ensure(longer).await.unwrap().starts_with("Updated"));
    let config = admin.get_stream("OUT").await.unwrap().cached_info().config.clone();
    assert_eq!(config.max_age, Duration::from_secs(7200));
    assert_eq!((config.max_messages_per_subject, config.description.as_deref()), (5, Some("theirs")));

    let memory = config::StreamConfig { storage: Some(config::Storage::Memory), ..declared };
    let refused = ensure(memory).await.unwrap_err();
    assert!(refused.contains(r#"`storage` is "file", wanted "memory""#), "{refused}");
    assert!(refused.contains("error code 10052"), "{refused}");
}

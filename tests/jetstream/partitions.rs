//! Routers that share the partitions of a stream out: order holds for each subject, whoever comes,
//! goes, sleeps or dies.

use crate::flow;
use crate::nats;
use crate::patience::until_ok;
use crate::router;
use crate::source;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use flow::{Load, counts, number, outputs, settings};
use nats::NatsServer;
use router::{Folder, Router, get};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::{sleep, timeout};
use trommel::{
    config::{EnvelopeFormat, SourceConfig, SourceKind, SourcePartitions},
    fate::Fate,
    fence::Fence,
    nats::{ConnectionLife, connect},
    pipeline::double::PipelineDouble,
    source::{Source, jetstream::JetStream},
    stop::stop,
};

const PARTITIONS: usize = 6;
const SUBJECTS: usize = 40;
const LEASE: Duration = Duration::from_secs(2);
/// Events that one router may have open.
const IN_FLIGHT: usize = 600;
const KEY: &str = "[[key]]\nname = \"all\"\nsubject = \"in.*\"\n[[route]]\nkey = \"all\"\nsinks = [\"out\"]\n";

fn folder(server: &NatsServer, sink: &str) -> Folder {
    let source = format!("partitions = {PARTITIONS}\nlease = \"{}s\"", LEASE.as_secs());
    let made = format!("partitions = {{ count = {PARTITIONS}, of = \"in.*\", tokens = [1] }}");
    let settings = settings(&server.url(), &source, sink).replace("[\"in.>\"]", &format!("[\"in.>\"]\n{made}"));
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\n";
    Folder::new(&format!("{settings}\n{admin}[pipeline]\nin_flight = {IN_FLIGHT}\n")).write("keys/all.toml", KEY)
}

/// Waits until every event has come out, and returns the outputs.
async fn all_out(context: &async_nats::jetstream::Context, published: usize) -> Vec<(String, Value)> {
    until_ok("all events are out", async || {
        let found = outputs(context).await;
        let count = counts(&found).len();
        if count == published { Ok(found) } else { Err(format!("{count} of {published}")) }
    })
    .await
}

/// Fails unless the first outputs of each subject are in the order of their events, and are under
/// the subject that was published.
fn assert_in_order(outputs: &[(String, Value)]) {
    let mut seen = BTreeSet::new();
    let mut last = BTreeMap::new();
    for (subject, payload) in outputs {
        let number = number(payload);
        assert_eq!(*subject, format!("out.in.{}", number as usize % SUBJECTS));
        if seen.insert(number) {
            let before = last.insert(subject, number);
            assert!(before < Some(number), "{subject}: {number} behind {before:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_router_has_all_partitions_and_keeps_order_and_subjects() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "message_id = false");
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    for _ in 0..PARTITIONS {
        router.wait_for("partition taken");
    }
    flow::publish(&context, 0..2_000, SUBJECTS).await;
    let found = all_out(&context, 2_000).await;
    assert_eq!(found.len(), 2_000, "nothing comes twice");
    assert_in_order(&found);
    assert_eq!(get(admin, "/ready"), (200, "ready\n".to_owned()));
    let ended = router.stop();
    assert!(ended.status.success(), "{:?}", ended.log);

    // What comes meanwhile is there for the next one, which need not wait for a lease.
    flow::publish(&context, 2_000..2_500, SUBJECTS).await;
    let router = folder.start();
    let found = all_out(&context, 2_500).await;
    assert_eq!(found.len(), 2_500, "nothing comes twice");
    assert_in_order(&found);
    assert!(router.stop().status.success());
}

/// Routers join, leave, die, and sleep for longer than their lease, under load: nothing is lost and
/// the order of each subject holds, in a stream that drops repeats and in one that does not.
#[tokio::test(flavor = "multi_thread")]
async fn routers_come_and_go_and_order_holds() {
    for sink in ["message_id = false", ""] {
        let server = NatsServer::start().await;
        let context = flow::connect(&server.url()).await;
        let folders: Vec<_> = (0..3).map(|_| folder(&server, sink)).collect();
        let mut first = Router::spawn(folders[0].command());
        let admin = first.admin();
        let load = Load::start(context.clone(), SUBJECTS, Duration::from_millis(10));
        for _ in 0..PARTITIONS {
            first.wait_for("partition taken");
        }
        // The second gets its half, released by the first.
        let mut second = folders[1].start();
        for _ in 0..PARTITIONS / 2 {
            first.wait_for("partition released");
            second.wait_for("partition taken");
        }
        // Dead: the first takes over.
        second.kill();
        for _ in 0..PARTITIONS / 2 {
            first.wait_for("partition taken");
        }
        let mut third = folders[2].start();
        for _ in 0..PARTITIONS / 2 {
            third.wait_for("partition taken");
        }
        // Asleep for three leases: the third has all, and what the first finds it has lost.
        first.signal(Signal::STOP);
        for _ in 0..PARTITIONS / 2 {
            third.wait_for("partition taken");
        }
        sleep(LEASE).await;
        first.signal(Signal::CONT);
        first.wait_for("its events are forgotten");
        first.wait_for("partition taken");
        until_ok("it is ready again", async || match get(admin, "/ready") {
            (200, _) => Ok(()),
            (_, why) => Err(why),
        })
        .await;
        // In good order.
        let ended = third.stop();
        assert!(ended.status.success(), "{:?}", ended.log);
        for _ in 0..PARTITIONS / 2 {
            first.wait_for("partition taken");
        }
        let published = load.stop().await;
        let found = all_out(&context, published).await;
        assert_in_order(&found);
        let repeated = found.len() - published;
        assert!(repeated <= if sink.is_empty() { 0 } else { IN_FLIGHT }, "{repeated} repeated");
        let ended = first.stop();
        assert!(ended.status.success(), "{:?}", ended.log);
    }
}

/// A partition moves only when its events are settled: while a sink takes nothing, a router that
/// joins waits, and then nothing comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_is_released_behind_its_open_events() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folders: Vec<_> = (0..2).map(|_| folder(&server, "message_id = false")).collect();
    let mut first = folders[0].start();
    for _ in 0..PARTITIONS {
        first.wait_for("partition taken");
    }
    let operate = |what: &str| {
        let done = folders[0].trommel(&[what]).arg("out").output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    operate("pause");
    flow::publish(&context, 0..400, SUBJECTS).await;
    let mut second = folders[1].start();
    first.wait_for("its open events come first");
    let bucket = context.get_stream("KV_trommel_fleet").await.unwrap();
    let owners = async || {
        let mut owners = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let key = format!("$KV.trommel_fleet.part.IN=trommel.{partition}");
            let entry = bucket.get_last_raw_message_by_subject(&key).await.unwrap();
            owners.insert(serde_json::from_slice::<Value>(&entry.payload).unwrap()["owner"].to_string());
        }
        owners
    };
    let before = owners().await;
    sleep(LEASE).await;
    assert_eq!((before.len(), owners().await), (1, before), "what is open is still the first one's");
    operate("resume");
    for _ in 0..PARTITIONS / 2 {
        second.wait_for("partition taken");
    }
    flow::publish(&context, 400..800, SUBJECTS).await;
    let found = all_out(&context, 800).await;
    assert_in_order(&found);
    assert_eq!(found.len(), 800, "nothing comes twice");
    assert!(first.stop().status.success() && second.stop().status.success());
}

/// Behind a fence that has lapsed nothing is acknowledged any more, and nothing more is pulled: the
/// source ends at once, and the events that it had may not leave.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_ends_with_its_fence_and_acknowledges_nothing_more() {
    let server = NatsServer::start().await;
    let admin = source::admin(&server.url()).await;
    let stream = async_nats::jetstream::stream::Config {
        name: "PARTS".to_owned(),
        subjects: vec!["part.>".to_owned()],
        ..Default::default()
    };
    let stream = admin.create_stream(stream).await.unwrap();
    for number in 0..5 {
        admin.publish(format!("part.0.events.{number}"), number.to_string().into()).await.unwrap().await.unwrap();
    }
    let partitions = Some(SourcePartitions { count: 1, lease: LEASE });
    let settings = trommel::config::JetStreamSource {
        stream: "PARTS".to_owned(),
        ack: trommel::config::AckMode::All,
        partitions,
        ..source::settings()
    };
    let envelope = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
    let config = SourceConfig {
        name: "events".to_owned(),
        expect_every: None,
        envelope,
        kind: SourceKind::JetStream(settings.clone()),
    };
    let connection = connect(&source::nats(&server.url()), "source", ConnectionLife::Reconnecting).await.unwrap();
    let fence = Arc::new(Fence::unlimited());
    let own = (0, Arc::clone(&fence));
    let opened = JetStream::open_partition(connection, &config, &settings, 100, own).await.unwrap();
    let (intake, mut pipeline) = PipelineDouble::new(source::BUDGET);
    let (_stopper, stop) = stop();
    let task = tokio::spawn(opened.run(intake, stop));
    let mut tickets = Vec::new();
    for number in 0..5 {
        let ticket = timeout(router::PATIENCE, pipeline.next()).await.unwrap().unwrap();
        assert_eq!(ticket.event().subject, format!("events.{number}"));
        tickets.push(ticket);
    }
    tickets.drain(..3).for_each(|ticket| ticket.settle(Fate::Emitted));
    let floor = async || {
        let info = stream.consumer_info(&format!("{}-0", settings.durable)).await.unwrap();
        (info.ack_floor.stream_sequence, info.num_ack_pending)
    };
    until_ok("three are acknowledged", async || match floor().await {
        (3, 2) => Ok(()),
        (floor, pending) => Err(format!("floor {floor}, {pending} pending")),
    })
    .await;

    fence.lapse();
    assert!(tickets.iter().all(|ticket| !ticket.may_leave()));
    tickets.into_iter().for_each(|ticket| ticket.settle(Fate::Emitted));
    timeout(router::PATIENCE, task).await.unwrap().unwrap().unwrap();
    assert_eq!(floor().await, (3, 2), "what was settled behind the fence is another router's");
}

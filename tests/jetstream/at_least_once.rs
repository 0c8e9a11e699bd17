//! The router is killed at random moments, twenty times, over 100,000 events: every event reaches
//! the sink, none is acknowledged before, and the order per subject holds for all but what was
//! under way at a kill.

use crate::flow;
use crate::nats;
use crate::router;

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
    time::Duration,
};

use async_nats::jetstream::{self};
use flow::{number, outputs, publish, settings};
use nats::NatsServer;
use router::{Folder, Router};

const EVENTS: usize = 100_000;
const KILLS: usize = 20;
const SUBJECTS: usize = 50;

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"
    filter = "select"
    params = [{ name = "where", type = "string" }]

    [[route]]
    key = "all"
    params = { where = "/n >= 0" }
    sinks = ["out"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_event_reaches_the_sink_whenever_the_router_is_killed() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    // `message_id = false`: the stream must not hide what the router repeats.
    let folder = Folder::new(&settings(&server.url(), "ack_wait = \"1s\"", "message_id = false"));
    let folder = folder.write("keys/all.toml", KEY).plugin("select", "select");
    // The first start makes the streams.
    folder.start().kill();
    publish_all(&context).await;

    let mut under_way: Vec<RangeInclusive<u64>> = Vec::new();
    for _ in 0..KILLS {
        let router = Router::spawn(folder.command());
        tokio::time::sleep(Duration::from_millis(fastrand::u64(150..900))).await;
        router.kill();
        let info = flow::consumer(&context).await;
        let (acked, delivered) = (info.ack_floor.stream_sequence, info.delivered.stream_sequence);
        under_way.push(acked + 1..=delivered);
        let arrived: BTreeSet<u64> = outputs(&context).await.iter().map(|(_, payload)| number(payload)).collect();
        let early = (0..acked).find(|n| !arrived.contains(n));
        assert_eq!(early, None, "acknowledged up to {acked}, but this event is not at the sink");
    }
    let router = folder.start();
    flow::until_settled(&context).await;
    let outputs = outputs(&context).await;
    assert_eq!(flow::counts(&outputs).len(), EVENTS, "every event is at the sink");
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    let info = flow::consumer(&context).await;
    assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "all is settled");
    assert!(under_way.iter().any(|range| *range.start() > 1 && *range.end() < EVENTS as u64), "no kill hit the middle");
    assert_order(&outputs, &under_way);
}

async fn publish_all(context: &jetstream::Context) {
    for start in (0..EVENTS).step_by(1000) {
        publish(context, start..start + 1000, SUBJECTS).await;
    }
}

/// First arrivals per subject come in the order of their numbers, unless a kill made them a
/// redelivery.
fn assert_order(outputs: &[(String, serde_json::Value)], under_way: &[RangeInclusive<u64>]) {
    let mut seen = BTreeSet::new();
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (subject, payload) in outputs {
        let n = number(payload);
        let sequence = n + 1;
        if !seen.insert(n) || under_way.iter().any(|range| range.contains(&sequence)) {
            continue;
        }
        let before = last.insert(subject, n);
        assert!(before < Some(n), "event {n} came after {before:?} on `{subject}`");
    }
    assert!(last.len() == SUBJECTS, "too little was not under way at a kill to say anything of the order");
}

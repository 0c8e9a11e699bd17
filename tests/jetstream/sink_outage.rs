//! A sink that is away for six seconds while events flow: the source is held up, and everything
//! arrives when the sink is back.

use crate::flow;
use crate::nats;
use crate::router;

use std::{collections::HashMap, time::Duration};

use async_nats::jetstream::stream;
use flow::{Load, assert_each_once, number, outputs, outputs_until, publish, settings};
use nats::NatsServer;
use router::Folder;

const SUBJECTS: usize = 7;
const BUDGET: usize = 200;
const BEFORE: usize = 500;

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_gone_for_six_seconds_costs_no_event() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = settings(&server.url(), "", "message_id = false");
    let folder = Folder::new(&format!("{settings}\n[pipeline]\nin_flight = {BUDGET}\n")).write("keys/all.toml", KEY);
    let router = folder.start();
    publish(&context, 0..BEFORE, SUBJECTS).await;
    let mut arrived = outputs_until(&context, "the first events", |outputs| outputs.len() >= BEFORE).await;

    context.delete_stream("OUT").await.unwrap();
    let load = Load::start_at(context.clone(), BEFORE, SUBJECTS, Duration::from_millis(5));
    // Shorter than the ten seconds after which the router makes declared streams again.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(load.published() > BEFORE + 2 * BUDGET, "too little load to hold anything up");
    let (acked, open) = {
        let info = flow::consumer(&context).await;
        (info.ack_floor.stream_sequence, info.num_ack_pending)
    };
    assert_eq!(acked, BEFORE as u64, "acknowledged before a sink had it");
    assert!((1..=BUDGET).contains(&open), "{open} events with the router");

    let out = stream::Config { name: "OUT".to_owned(), subjects: vec!["out.>".to_owned()], ..Default::default() };
    context.create_stream(out).await.unwrap();
    let published = load.stop().await;
    outputs_until(&context, "all events", |outputs| outputs.len() + BEFORE >= published).await;
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    arrived.extend(outputs(&context).await);
    assert_each_once(&arrived, published);
    let mut last: HashMap<&str, u64> = HashMap::new();
    for (subject, payload) in &arrived {
        let before = last.insert(subject, number(payload));
        assert!(before < Some(number(payload)), "{payload} came after {before:?} on `{subject}`");
    }
}

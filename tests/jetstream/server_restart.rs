//! The server goes away and comes back while events flow from stream to stream: nothing is lost,
//! and since outputs carry deterministic ids, nothing comes out twice.

use crate::flow;
use crate::nats;
use crate::router;

use std::time::Duration;

use flow::{Load, assert_each_once, outputs_until, settings};
use nats::NatsServer;
use router::Folder;

const KEY: &str = r#"
    [[key]]
    key = "stamp"
    subject = "in.*"
    filter = "stamp"

    [[route]]
    key = "stamp"
    sinks = ["out"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_or_is_killed_costs_no_event() {
    let mut server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = Folder::new(&settings(&server.url(), "ack_wait = \"2s\"", ""));
    let folder = folder.write("keys/stamp.toml", KEY).plugin("stamp", "stamp-v1");
    let router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::from_millis(2));
    for turn in 0..4 {
        let so_far = load.published();
        outputs_until(&context, "events flow", |outputs| outputs.len() > so_far).await;
        if turn % 2 == 0 {
            server.kill();
        } else {
            server.terminate();
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.start_again().await;
    }
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| flow::counts(outputs).len() >= published).await;
    assert_each_once(&outputs, published);
    let ended = router.stop();
    assert!(ended.status.success(), "{ended:?}");
    // A connection that ends on purpose is no trouble with signing.
    let misleading = |line: &&String| line.contains("nonce") || line.contains("max reconnects");
    assert_eq!(ended.log.iter().find(misleading), None);
}

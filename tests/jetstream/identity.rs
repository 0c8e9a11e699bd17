//! For whom an event happened, in whose name and in which trace (F05, F12) goes with it: through
//! every filter, into every stream, beside its dead letter and into the log.

use crate::flow;
use crate::nats as server;
use crate::router;

use std::collections::BTreeMap;

use async_nats::{HeaderMap, jetstream};
use futures_util::StreamExt;
use router::Folder;
use server::NatsServer;
use tokio::time::timeout;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A router from `in.>` to `out.SUBJECT`, whose keys keep, replace, multiply and refuse events.
async fn folder(server: &NatsServer) -> Folder {
    let keys: String = ["keep", "replace", "emit", "malformed"]
        .map(|mode| {
            format!(
                r#"
                [[key]]
                key = "{mode}"
                subject = "in.{mode}"
                filter = "misbehave"
                params = [{{ name = "mode", default = "{mode}" }}, {{ name = "n", default = "2" }}]

                [[route]]
                key = "{mode}"
                sinks = ["out"]
                "#
            )
        })
        .concat()
        .replace("default = \"keep\"", "default = \"ok\"");
    let settings = flow::settings(&server.url(), "", "");
    let settings = format!("{settings}\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n");
    Folder::new(&settings).write("keys/keys.toml", &keys).plugin("misbehave", "misbehave")
}

async fn publish(context: &jetstream::Context, subject: &'static str, headers: &[(&str, &str)]) {
    let mut map = HeaderMap::new();
    headers.iter().for_each(|(name, value)| map.append(*name, *value));
    context.publish_with_headers(subject, map, "{}".into()).await.unwrap().await.unwrap();
}

/// The headers of the next so many messages of a stream, but for what the sink adds.
async fn headers(context: &jetstream::Context, stream: &str, count: usize) -> Vec<BTreeMap<String, String>> {
    let stream = context.get_stream(stream).await.unwrap();
    let config = jetstream::consumer::pull::OrderedConfig::default();
    let messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let read = messages.take(count).map(|message| {
        let headers = message.unwrap().headers.clone().unwrap_or_default();
        let pairs = headers.iter().map(|(name, values)| (name.to_string(), values[0].as_str().to_owned()));
        pairs.filter(|(name, _)| name != "Nats-Msg-Id" && name != "Trommel-Hops").collect()
    });
    timeout(router::PATIENCE, read.collect()).await.unwrap_or_else(|_| panic!("too few messages"))
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const WHO: [(&str, &str); 8] = [
    ("tenant", "t-1"),
    ("actor_id", "a-1"),
    ("run_id", "r-1"),
    ("node_id", "n-1"),
    ("graph_id", "g-1"),
    ("instance_id", "i-1"),
    ("traceparent", PARENT),
    ("tracestate", "vendor=1"),
];

/// F05: whatever the filter makes of the event. What it says itself counts.
#[tokio::test]
async fn identity_reaches_every_output() {
    let server = NatsServer::start().await;
    let router = folder(&server).await;
    let running = router.start();
    let context = flow::connect(&server.url()).await;
    let sent = [&WHO[..], &[("index", "mine"), ("Other", "kept")]].concat();
    for subject in ["in.keep", "in.replace", "in.emit"] {
        publish(&context, subject, &sent).await;
    }
    let found = headers(&context, "OUT", 4).await;
    let as_sent = map(&sent);
    let emitted = |index: &str| map(&[&sent[..], &[("index", index)]].concat());
    for expected in [&as_sent, &emitted("0"), &emitted("1")] {
        assert!(found.contains(expected), "{expected:#?} is not in {found:#?}");
    }
    assert_eq!(found.iter().filter(|headers| **headers == as_sent).count(), 2, "{found:#?}");
    running.stop();
}

/// The rest of the headers stands in the dead letter itself.
#[tokio::test]
async fn identity_stands_beside_a_dead_letter_and_in_the_log() {
    let server = NatsServer::start().await;
    let router = folder(&server).await;
    let mut running = router.start();
    let context = flow::connect(&server.url()).await;
    publish(&context, "in.malformed", &[&WHO[..], &[("Other", "not kept")]].concat()).await;
    let line = running.wait_for("event becomes a dead letter");
    assert!(line.contains(r#"tenant="t-1" trace="4bf92f3577b34da6a3ce929d0e0e4736""#), "{line}");
    assert_eq!(headers(&context, "TROMMEL_DEAD", 1).await, [map(&WHO)]);
    running.stop();
}

/// F12, without an export of spans: what is valid goes on as it came, what is not goes nowhere, and
/// nothing is made up.
#[tokio::test]
async fn a_trace_goes_on_only_where_it_is_valid() {
    let server = NatsServer::start().await;
    let router = folder(&server).await;
    let mut command = router.command();
    command.env("TROMMEL_LOG", "debug,async_nats=off");
    let mut running = router::Router::spawn(command);
    running.wait_for("running");
    let context = flow::connect(&server.url()).await;
    let future = format!("cc{}-more", &PARENT[2..]);
    let tenant = ("tenant", "t-1");
    for headers in [
        &[tenant, ("Traceparent", &future), ("tracestate", "v=1")][..],
        &[tenant, ("traceparent", "00-malformed-01"), ("tracestate", "v=1")],
        &[tenant, ("tracestate", "v=1")],
        &[tenant],
    ] {
        publish(&context, "in.keep", headers).await;
    }
    running.wait_for("trace context is invalid");
    let mut found = headers(&context, "OUT", 4).await;
    // One subject, so they keep their order.
    assert_eq!(found.remove(0), map(&[tenant, ("Traceparent", &future), ("tracestate", "v=1")]));
    assert_eq!(found, [map(&[tenant]), map(&[tenant]), map(&[tenant])]);
    running.stop();
}

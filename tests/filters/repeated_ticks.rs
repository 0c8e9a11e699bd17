//! Ticks whose outputs had not arrived when the router ended: they are called again as they were,
//! so that what the streams have already is known to them, and nothing else is missing.

use crate::{
    flow,
    nats::NatsServer,
    patience::{until, until_ok},
    router::{Folder, Router},
};

use std::collections::BTreeMap;

use async_nats::jetstream::{Context, consumer::DeliverPolicy, consumer::pull::OrderedConfig, stream::Config};
use futures_util::StreamExt as _;
use serde_json::Value;

/// A key whose outputs go to the streams `OUT` and `HELD`; the router makes only the first.
fn folder(server: &NatsServer, component: &str, (param, value): (&str, &str)) -> Folder {
    let settings = flow::settings(&server.url(), "", "");
    let more = format!(
        r#"
        [[sink]]
        name = "held"
        type = "nats"
        subject = "held.{{subject}}"

        [pipeline]
        drain = "1s"

        [state]
        store = "nats"

        [[filter]]
        name = "{component}"
        grants = ["state"]
        "#
    );
    let key = format!(
        r#"
        [[key]]
        key = "all"
        subject = ">"
        filter = "{component}"
        params = [{{ name = "{param}" }}]

        [[route]]
        name = "only"
        key = "all"
        sinks = ["out", "held"]
        params = {{ {param} = "{value}" }}
        "#
    );
    Folder::new(&format!("{settings}{more}")).write("keys/all.toml", &key).plugin(component, component)
}

async fn hold(context: &Context) {
    let config = Config { name: "HELD".to_owned(), subjects: vec!["held.>".to_owned()], ..Config::default() };
    context.create_stream(config).await.unwrap();
}

/// The payloads in a stream, in its order.
async fn payloads(context: &Context, stream: &str) -> Vec<Value> {
    let Ok(stream) = context.get_stream(stream).await else { return Vec::new() };
    let count = stream.cached_info().state.messages;
    if count == 0 {
        return Vec::new();
    }
    let config = OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let messages = messages.take(usize::try_from(count).unwrap());
    messages.map(|message| serde_json::from_slice(&message.unwrap().payload).unwrap()).collect().await
}

async fn payloads_until(context: &Context, stream: &str, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    until_ok(stream, async || {
        let found = payloads(context, stream).await;
        if is_enough(&found) { Ok(found) } else { Err(format!("{found:?}")) }
    })
    .await
}

/// How often each value of a member came.
fn counts(payloads: &[Value], member: &str) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for payload in payloads {
        *counts.entry(payload[member].as_u64().unwrap()).or_default() += 1;
    }
    counts
}

/// A router whose last tick has arrived in `OUT` and not in `HELD`, which is away, and the
/// outputs in `OUT`.
async fn stuck(context: &Context, folder: &Folder) -> (Router, Vec<Value>) {
    hold(context).await;
    let router = folder.start();
    context.delete_stream("HELD").await.unwrap();
    flow::publish(context, 0..1, 1).await;
    until("the event is settled", async || flow::unsettled(context).await == 0).await;
    let mut told = payloads_until(context, "OUT", |told| !told.is_empty()).await;
    // Ticks that were under way already may be followed by one more.
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let more = payloads(context, "OUT").await;
        if more.len() == told.len() {
            return (router, told);
        }
        told = more;
    }
}

/// The window's end is told of under the time of its tick, after the state has gone on to the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_comes_out_once_though_the_router_dies_before_it_has_arrived() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "window", ("size", "1s"));
    let (router, told) = stuck(&context, &folder).await;
    assert_eq!((told.len(), &told[0]["count"]), (1, &Value::from(1)), "{told:?}");
    router.kill();
    hold(&context).await;
    let mut router = folder.start();
    let held = payloads_until(&context, "HELD", |held| !held.is_empty()).await;
    assert_eq!(held, told);
    router.wait_for("it is called again");
    // Time goes on.
    flow::publish(&context, 1..2, 1).await;
    let held = payloads_until(&context, "HELD", |held| held.len() >= 2).await;
    let out = payloads_until(&context, "OUT", |out| out.len() >= 2).await;
    assert_eq!(out, held);
    assert_eq!(counts(&out, "from").len(), 2, "{out:?}");
    assert!(router.stop().status.success());
}

/// So do outputs whose ids are the router's own, though the component counts its calls.
async fn a_tick_comes_out_once(end: impl FnOnce(Router)) {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "ticker", ("mode", "count"));
    let (router, told) = stuck(&context, &folder).await;
    end(router);
    hold(&context).await;
    let router = folder.start();
    let held = payloads_until(&context, "HELD", |held| held.len() >= 3).await;
    assert!(router.stop().status.success());
    assert_eq!(held[0]["now"], told.last().unwrap()["now"], "{held:?}");
    let out = payloads(&context, "OUT").await;
    assert!(counts(&out, "now").into_values().all(|count| count == 1), "{out:?}");
    let held: Vec<_> = payloads(&context, "HELD").await;
    assert_eq!(counts(&held, "now"), counts(&out[told.len() - 1..], "now"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_repeated_under_its_ids_after_a_crash() {
    a_tick_comes_out_once(Router::kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_is_repeated_under_its_ids_after_a_stop() {
    a_tick_comes_out_once(|router| drop(router.stop())).await;
}

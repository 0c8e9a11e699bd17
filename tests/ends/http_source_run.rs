//! A router that takes events over HTTP, with its sinks: what a success stands for when the router
//! is stopped or killed, when a sink is away, and when a stream is to keep the events.

use crate::flow;
use crate::http;
use crate::nats;
use crate::patience::until;
use crate::router;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::jetstream;
use flow::{assert_each_once, outputs_until};
use futures_util::future::join_all;
use http::{Client, JSON, LINES, post};
use nats::NatsServer;
use router::{Folder, Router, get};
use serde_json::Value;
use tokio::{task::JoinHandle, time::Instant};

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = ">"

    [[route]]
    key = "all"
    sinks = ["out"]
"#;

/// From HTTP to a file.
fn to_file(source: &str, more: &str) -> Folder {
    let settings = format!(
        r#"
        [[source]]
        name = "in"
        type = "http"
        {source}

        [[sink]]
        name = "out"
        type = "file"
        path = "out.ndjson"

        {more}
        "#
    );
    Folder::new(&settings).write("keys/all.toml", KEY)
}

const ANYWHERE: &str = "listen = \"127.0.0.1:0\"";

/// Where it listens for events. Call before anything else is read from its log.
fn address(router: &mut Router) -> SocketAddr {
    let line = router.wait_for("listening for events");
    line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap()
}

fn start(folder: &Folder) -> (Router, SocketAddr) {
    let mut router = Router::spawn(folder.command());
    let address = address(&mut router);
    router.wait_for("running");
    (router, address)
}

/// The numbers in `out.ndjson`, and how often each is there.
fn written(folder: &Folder) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for line in folder.read("out.ndjson").lines() {
        // A kill may cut the last line.
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        *counts.entry(value["n"].as_u64().unwrap()).or_default() += 1;
    }
    counts
}

/// Clients that send numbered events until they are told to stop. Each counts what it got a success
/// for.
struct Load {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<BTreeSet<u64>>>,
}

impl Load {
    fn start(address: SocketAddr, clients: u64) -> Self {
        let (stop, taken) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let client = |client: u64| {
            let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
            tokio::spawn(async move {
                let mut successes = BTreeSet::new();
                let numbers = (client * 1_000_000..).take_while(|_| !stop.load(Ordering::Relaxed));
                let Ok(stream) = tokio::net::TcpStream::connect(address).await else { return successes };
                let mut connection = Client::of(stream);
                for n in numbers {
                    let request = http::request("POST", "/events/a", &[JSON], &format!("{{\"n\":{n}}}"));
                    if connection.write(&request).await.is_err() {
                        break;
                    }
                    let Some(answer) = connection.answer().await else { break };
                    if answer.status < 300 {
                        successes.insert(n);
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
                successes
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, taken, clients }
    }

    async fn until(&self, taken: usize) {
        until("enough is taken", async || self.taken.load(Ordering::Relaxed) >= taken).await;
    }

    async fn finish(self) -> BTreeSet<u64> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.clients).await.into_iter().flat_map(Result::unwrap).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_under_load_keeps_the_word_that_was_given() {
    for answer in ["accepted", "settled"] {
        let folder = to_file(&format!("{ANYWHERE}\nanswer = \"{answer}\""), "");
        let (router, address) = start(&folder);
        let load = Load::start(address, 8);
        load.until(500).await;
        let ended = tokio::task::spawn_blocking(|| router.stop()).await.unwrap();
        assert!(ended.status.success(), "{ended:?}");
        let taken = load.finish().await;
        let written = written(&folder);
        let lost: Vec<_> = taken.iter().filter(|n| !written.contains_key(n)).collect();
        assert!(lost.is_empty(), "{answer}: of {}, lost {lost:?}", taken.len());
        assert!(written.values().all(|count| *count == 1), "{answer}: something came twice");
    }
}

/// The client sends again what it has no answer for, under the same id.
#[tokio::test(flavor = "multi_thread")]
async fn settled_events_outlive_a_kill() {
    let folder = to_file(&format!("{ANYWHERE}\nanswer = \"settled\""), "");
    let mut taken = BTreeSet::new();
    for _ in 0..3 {
        let (router, address) = start(&folder);
        let load = Load::start(address, 8);
        load.until(200).await;
        router.kill();
        taken.extend(load.finish().await);
        let written = written(&folder);
        let lost: Vec<_> = taken.iter().filter(|n| !written.contains_key(n)).collect();
        assert!(lost.is_empty(), "of {}, lost {lost:?}", taken.len());
    }
}

/// L60: an id that was seen is not worked on again, and the client is told that all is well.
#[tokio::test]
async fn what_is_sent_again_under_its_id_is_written_once() {
    let folder = to_file(
        &format!("{ANYWHERE}\nanswer = \"settled\"\ntenant = \"t1\""),
        "[dedup]\nby = \"id\"\n[admin]\nlisten = \"127.0.0.1:0\"",
    );
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    let address = address(&mut router);
    router.wait_for("running");
    for _ in 0..3 {
        assert_eq!(post(address, "/events", &[JSON, ("webhook-id", "msg_1")], "{\"n\":1}").await.status, 200);
    }
    assert_eq!(post(address, "/events", &[JSON, ("webhook-id", "msg_2")], "{\"n\":2}").await.status, 200);
    assert_eq!(post(address, "/events", &[JSON], "{").await.status, 400);
    let (_, page) = get(admin, "/metrics");
    for line in [
        "trommel_source_events_received_total{name=\"in\"} 4",
        "trommel_source_events_duplicate_total{name=\"in\"} 2",
        "trommel_source_requests_taken_total{name=\"in\"} 4",
        "trommel_source_requests_refused_total{name=\"in\",reason=\"not_json\"} 1",
    ] {
        assert!(page.contains(line), "no `{line}` in\n{page}");
    }
    assert!(router.stop().status.success());
    assert_eq!(written(&folder), BTreeMap::from([(1, 1), (2, 1)]));
}

/// A gigabyte is offered by twenty clients at once, and next to nothing of it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_cost_no_memory() {
    let folder = to_file(ANYWHERE, "");
    let (router, address) = start(&folder);
    assert_eq!(post(address, "/events", &[JSON], "{\"n\":1}").await.status, 202);
    let before = router.peak_memory();
    let offer = async |_| {
        let mut client = Client::connect(address).await;
        client.write(b"POST /events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
        let part = [b"10000\r\n", &[b'x'; 1 << 16][..], b"\r\n"].concat();
        let mut written = 0;
        while written < 50 << 20 && client.write(&part).await.is_ok() {
            written += part.len();
        }
        assert_eq!(client.answer().await.unwrap().status, 413);
    };
    join_all((0..20).map(offer)).await;
    let grown = router.peak_memory() - before;
    assert!(grown < 100 << 20, "{grown} bytes more");
}

/// From HTTP to a stream, `OUT`.
fn to_stream(server: &NatsServer, source: &str, more: &str) -> Folder {
    let settings = format!(
        r#"
        [nats]
        url = "{}"

        [[stream]]
        name = "OUT"
        subjects = ["out.>"]

        [[source]]
        name = "in"
        type = "http"
        {ANYWHERE}
        {source}

        [[sink]]
        name = "out"
        type = "nats"
        subject = "out.{{subject}}"
        # The stream must not hide what the router repeats.
        message_id = false

        {more}
        "#,
        server.url()
    );
    Folder::new(&settings).write("keys/all.toml", KEY)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_away_holds_clients_off_and_costs_no_event() {
    const BUDGET: usize = 50;
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = to_stream(&server, "", &format!("[pipeline]\nin_flight = {BUDGET}"));
    let (router, address) = start(&folder);
    assert_eq!(post(address, "/events/a", &[LINES], "{\"n\":0}\n{\"n\":1}\n").await.status, 202);
    outputs_until(&context, "the first", |outputs| outputs.len() == 2).await;

    server.freeze();
    let mut next = 2;
    let refused = loop {
        let answer = post(address, "/events/a", &[JSON], &format!("{{\"n\":{next}}}")).await;
        if answer.status != 202 {
            break answer;
        }
        next += 1;
        assert!(next <= BUDGET + 2, "more is taken than may be open");
    };
    assert_eq!((refused.status, refused.reason().as_str(), refused.retry_after()), (429, "no_room", Some(1)));
    assert_eq!(next, BUDGET + 2, "all of the budget was used");
    server.thaw();
    until("room again", async || post(address, "/events/a", &[JSON], &format!("{{\"n\":{next}}}")).await.status == 202)
        .await;
    let all = outputs_until(&context, "all", |outputs| outputs.len() > next).await;
    assert_each_once(&all, next + 1);
    assert!(router.stop().status.success());
}

/// Headers and payloads of what stream `IN` holds.
async fn stored(context: &jetstream::Context) -> Vec<(String, BTreeMap<String, String>, String)> {
    let mut stream = context.get_stream("IN").await.unwrap();
    let count = stream.info().await.unwrap().state.messages;
    let mut all = Vec::new();
    for sequence in 1..=count {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let headers = message.headers.iter().map(|(name, values)| (name.to_string(), values[0].to_string())).collect();
        all.push((message.subject.to_string(), headers, String::from_utf8(message.payload.to_vec()).unwrap()));
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_the_messages_as_they_came() {
    let mut server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let source =
        "stream_subject = \"in.{event_type}\"\nenvelope = \"cloudevents\"\ntenant = \"t1\"\nmax_body = \"2MiB\"";
    let stream = "[[stream]]\nname = \"IN\"\nsubjects = [\"in.>\"]";
    let folder = to_stream(&server, source, stream);
    let (router, address) = start(&folder);
    let binary = |id: &'static str, event_type: &'static str| {
        [("ce-specversion", "1.0"), ("ce-id", id), ("ce-source", "/s"), ("ce-type", event_type), JSON, ("Tenant", "t2")]
    };
    let answer = post(address, "/events", &binary("b1", "order.created"), "{\"n\":1}").await;
    assert_eq!((answer.status, answer.json()), (202, serde_json::json!({ "stored": 1 })));
    let batch = r#"[{"specversion":"1.0","id":"s1","source":"/s","type":"t","data":1},{"specversion":"1.0","id":"s2","source":"/s","type":"t"}]"#;
    let kind = ("Content-Type", "application/cloudevents-batch+json");
    // Nats-Rollup would have the stream forget the rest.
    assert_eq!(post(address, "/events", &[kind, ("Nats-Rollup", "all")], batch).await.status, 202);
    // The same once more: the stream knows what the ids stand for.
    assert_eq!(post(address, "/events", &[kind], batch).await.status, 202);

    let refused = post(address, "/events", &binary("b2", "no good"), "1").await;
    assert_eq!((refused.status, refused.reason().as_str()), (400, "bad_subject"));
    let large = format!("\"{}\"", "x".repeat(3 << 19));
    assert_eq!(post(address, "/events", &binary("b3", "t"), &large).await.reason(), "too_large");

    let stored = stored(&context).await;
    let found: Vec<_> =
        stored.iter().map(|(subject, headers, _)| (subject.as_str(), headers["tenant"].as_str())).collect();
    assert_eq!(found, [("in.order.created", "t1"), ("in.t", "t1"), ("in.t", "t1")]);
    let ids: BTreeSet<_> = stored.iter().map(|(_, headers, _)| headers["Nats-Msg-Id"].as_str()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert_eq!((stored[0].2.as_str(), stored[0].1["ce-type"].as_str()), ("{\"n\":1}", "order.created"));
    assert_eq!(stored[1].1["content-type"], "application/cloudevents+json");
    assert!(stored[1].2.starts_with("{\"specversion\""), "{stored:?}");

    // No success while the server is away, and success again when it is back.
    server.kill();
    // The first may find out.
    assert_eq!(post(address, "/events", &binary("b4", "t"), "4").await.status, 503);
    let began = Instant::now();
    let answer = post(address, "/events", &binary("b4", "t"), "4").await;
    assert!(began.elapsed() < Duration::from_secs(4), "nobody waits for a server that is known to be away");
    assert_eq!((answer.status, answer.reason().as_str(), answer.retry_after()), (503, "stream", Some(5)));
    server.start_again().await;
    until("the stream takes it", async || post(address, "/events", &binary("b4", "t"), "4").await.status == 202).await;
    let context = flow::connect(&server.url()).await;
    let again = self::stored(&context).await;
    let ids: BTreeSet<_> = again.iter().map(|(_, headers, _)| headers["Nats-Msg-Id"].as_str()).collect();
    assert_eq!((again.len(), ids.len()), (4, 4), "each once: {again:?}");
    assert!(router.stop().status.success());
}

#[tokio::test]
async fn what_clients_are_known_by_is_checked_before_anything_runs() {
    let folder = to_file(&format!("{ANYWHERE}\nsecret_file = \"secret\""), "").write("secret", "whsec_?\n");
    for command in ["check", "run"] {
        let output = folder.trommel(&[command]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains("trommel.toml:2:9: source `in` can't know its clients: could not use the secret in"),
            "{said}"
        );
        assert!(said.contains("what follows `whsec_` is not base64") && !said.contains('?'), "{said}");
    }
}

#[tokio::test]
async fn an_address_in_use_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let output = to_file(&format!("listen = \"{address}\""), "").run();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains(&format!("could not open source `in`: could not listen on `{address}`: Address already in use")),
        "{said}"
    );
}

/// In a stream the body is stored as it is: one that names another tenant is not let in.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gets_no_other_tenants_bodies() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let source = "stream_subject = \"in.{event_type}\"\nenvelope = \"ctrlplane\"\ntenant = \"t1\"";
    let folder = to_stream(&server, source, "[[stream]]\nname = \"IN\"\nsubjects = [\"in.>\"]");
    let (router, address) = start(&folder);
    let body = |id: &str, tenant: &str| format!(r#"{{"id":"{id}","type":"deploy.failed","tenant_id":"{tenant}"}}"#);
    let refused = post(address, "/events", &[JSON], &body("e1", "t2")).await;
    assert_eq!((refused.status, refused.reason().as_str()), (403, "other_tenant"));
    assert_eq!(post(address, "/events", &[JSON], &body("e2", "t1")).await.status, 202);
    let stored = stored(&context).await;
    let found: Vec<_> = stored.iter().map(|(_, headers, body)| (headers["tenant"].as_str(), body.as_str())).collect();
    assert_eq!(found, [("t1", body("e2", "t1").as_str())]);
    assert!(router.stop().status.success());
}

/// A router that only serves consumers does not listen, so nothing could come.
#[test]
fn a_listener_alone_is_nothing_for_consumers() {
    let output = to_file(ANYWHERE, "").command().args(["--idle-exit", "1s"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("start it without `--idle-exit`") && !said.contains("listening"), "{said}");
}

/// What a quarantine holds takes no more than its key's share of the room: the door stays open to
/// other keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_held_shuts_the_door_to_itself_alone() {
    let keys = r#"
        [[key]]
        key = "held"
        subject = "held.>"
        filter = "mischief"
        params = [{ name = "mode", type = "string" }]

        [[route]]
        key = "held"
        params = { mode = "broken" }
        sinks = ["out"]

        [[key]]
        key = "good"
        subject = "good.>"

        [[route]]
        key = "good"
        sinks = ["out"]
    "#;
    let grant = "[[filter]]\nname = \"mischief\"\ngrants = [\"state\"]";
    let folder = to_file(ANYWHERE, &format!("[pipeline]\nin_flight = 40\n{grant}"));
    let folder = folder.write("keys/all.toml", keys).plugin("mischief", "misbehave");
    let (router, address) = start(&folder);
    let mut taken = 0;
    for n in 0..100 {
        let good = post(address, &format!("/events/good.{}", n % 7), &[JSON], &format!(r#"{{"n":{n}}}"#)).await;
        assert_eq!(good.status, 202, "{good:?}");
        until("it comes out", async || written(&folder).contains_key(&n)).await;
        let held = post(address, &format!("/events/held.{}", n % 7), &[JSON], r#"{"n":1000}"#).await;
        match held.status {
            202 => taken += 1,
            status => assert_eq!((status, &*held.reason()), (429, "no_room"), "{held:?}"),
        }
    }
    assert!((15..=25).contains(&taken), "{taken} of 40 places are held");
    folder.put("plugins/mischief.wasm", &router::component_bytes("stamp-v1"));
    until("what was held comes out", async || folder.read("out.ndjson").lines().count() == 100 + taken).await;
    assert!(router.stop().status.success());
}

//! Schemas from a registry that speaks Confluent's protocol: events of unknown ids wait for it, and
//! nothing is lost while it is away.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;
use crate::stand_in;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_nats::jetstream::Context;
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};
use stand_in::{Reply, Seen, StandIn, ok, status};
use trommel::avro::{AvroSchema, AvroSchemas, Framing};

const ORDER: &str = r#"{"type":"record","name":"shop.Order","fields":[
    {"name":"n","type":"long"},{"name":"money","type":"shop.Money"}]}"#;
const MONEY: &str = r#"{"type":"enum","name":"shop.Money","symbols":["EUR","USD"]}"#;

/// A later version of the order, which can't be read from an earlier one.
const EMPTY: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"vip","type":"boolean"}]}"#;

const KEYS: &str = r#"
    [[key]]
    key = "orders"
    subject = "in.*"
    decode = "auto"

    [[route]]
    key = "orders"
    sinks = ["out"]
"#;

const OTHER_KEY: &str = r#"
    [[key]]
    key = "others"
    subject = "in.other.*"

    [[route]]
    key = "others"
    sinks = ["out"]
"#;

/// Registry with the schema 7, version 3 of `orders/value`, which refers to `money`; 8 is of
/// Protobuf.
struct Registry {
    stand_in: StandIn,
    is_away: Arc<AtomicBool>,
}

impl Registry {
    fn new(is_away: bool) -> Self {
        let is_away = Arc::new(AtomicBool::new(is_away));
        let away = Arc::clone(&is_away);
        let script = move |_, seen: &Seen| if away.load(Ordering::Acquire) { Reply::Cut } else { answer(seen) };
        Self { stand_in: StandIn::new(script), is_away }
    }

    fn is_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Release);
    }

    fn asked(&self, path: &str) -> usize {
        self.stand_in.seen().iter().filter(|seen| seen.line == format!("GET {path}")).count()
    }

    fn settings(&self) -> String {
        format!("[avro.registry]\nurl = \"http://{}/ccompat\"\n", self.stand_in.address)
    }
}

fn answer(seen: &Seen) -> Reply {
    let references = json!([{ "name": "shop.Money", "subject": "money", "version": 1 }]);
    let order = json!({ "schema": ORDER, "references": references });
    let version = |id: u32, version: u32, schema: Value| {
        let mut answer = json!({ "subject": "orders/value", "id": id, "version": version });
        answer.as_object_mut().unwrap().extend(schema.as_object().unwrap().clone());
        ok(&answer.to_string())
    };
    match seen.line.strip_prefix("GET /ccompat").unwrap_or_default() {
        "/schemas/ids/7" => ok(&order.to_string()),
        "/schemas/ids/8" => ok(&json!({ "schema": "message A {}", "schemaType": "PROTOBUF" }).to_string()),
        "/subjects" => ok(r#"["orders/value","money"]"#),
        "/subjects/orders%2Fvalue/versions" => ok("[3]"),
        "/subjects/money/versions" => ok("[1]"),
        "/subjects/orders%2Fvalue/versions/latest" | "/subjects/orders%2Fvalue/versions/3" => version(7, 3, order),
        "/subjects/money/versions/1" => version(6, 1, json!({ "schema": MONEY, "schemaType": "AVRO" })),
        _ => status("404 Not Found", r#"{"error_code":40403,"message":"Schema not found"}"#),
    }
}

fn folder(server: &NatsServer, registry: &str, sink: &str) -> Folder {
    Folder::new(&format!("{}\n{registry}", flow::settings(&server.url(), "", sink))).write("keys/orders.toml", KEYS)
}

/// A message of a schema with this id.
fn order(id: u32, n: usize) -> Vec<u8> {
    let schema = AvroSchema::registered(id, ORDER, &[MONEY.to_owned()]).unwrap();
    let encoder = AvroSchemas::default().encoder(&schema, Framing::Confluent).unwrap();
    encoder.encode(json!({ "n": n, "money": "USD" }).to_string().as_bytes()).unwrap()
}

async fn publish(context: &Context, payload: impl Into<bytes::Bytes>) {
    context.publish("in.a", payload.into()).await.unwrap().await.unwrap();
}

async fn outputs(context: &Context, count: usize) -> Vec<Value> {
    let outputs = flow::outputs_until(context, "all orders", |outputs| outputs.len() >= count).await;
    outputs.into_iter().map(|(_, payload)| payload).collect()
}

fn orders(numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|n| json!({ "n": n, "money": "USD" })).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_events_of_an_unknown_id_are_one_request() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = Registry::new(false);
    let home = folder(&server, &registry.settings(), "");
    let router = home.start();
    for n in 0..100 {
        publish(&context, order(7, n)).await;
    }
    assert_eq!(outputs(&context, 100).await, orders(0..100));
    assert_eq!(registry.asked("/ccompat/schemas/ids/7"), 1);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_in_order_while_the_registry_is_away() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = Registry::new(true);
    let folder = folder(&server, &registry.settings(), "");
    let mut router = folder.start();
    for n in 0..20 {
        publish(&context, order(7, n)).await;
    }
    router.wait_for("the schema registry can't be asked");
    // A stop gives them back, and the next run has them.
    assert!(router.stop().status.success());
    let mut router = folder.start();
    router.wait_for("the schema registry can't be asked");
    publish(&context, json!({ "n": 20, "money": "USD" }).to_string()).await;
    assert!(flow::outputs(&context).await.is_empty(), "the last one must stay behind the others");
    registry.is_away(false);
    assert_eq!(outputs(&context, 21).await, orders(0..21));
    assert!(router.stop().status.success());

    // Offline, from the cache.
    registry.is_away(true);
    let before = registry.asked("/ccompat/schemas/ids/7");
    let router = folder.start();
    publish(&context, order(7, 21)).await;
    assert_eq!(outputs(&context, 22).await, orders(0..22));
    assert_eq!(registry.asked("/ccompat/schemas/ids/7"), before);
    assert!(router.stop().status.success());
}

/// The order is in the payload, which can't be read before the schema is known.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_in_the_payload_is_kept() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = Registry::new(true);
    let keys = KEYS.replace("decode =", "order_by = \"/n\"\ndecode =") + OTHER_KEY;
    let home = folder(&server, &registry.settings(), "").write("keys/orders.toml", &keys);
    let mut router = home.start();
    let json = |n: usize, place: usize| json!({ "n": n, "place": place }).to_string();
    publish(&context, json(1, 0)).await;
    flow::outputs_until(&context, "the first", |outputs| outputs.len() == 1).await;
    for n in [1, 2, 1] {
        publish(&context, order(7, n)).await;
    }
    router.wait_for("the schema registry can't be asked");
    publish(&context, json(1, 4)).await;
    publish(&context, order(9, 3)).await;
    publish(&context, json(2, 6)).await;
    publish(&context, json(1, 7)).await;
    publish(&context, json(5, 8)).await;
    // Another key goes on, and so shows that what could overtake has had the time.
    context.publish("in.other.key", json(0, 0).into()).await.unwrap().await.unwrap();
    flow::outputs_until(&context, "that of another key", |outputs| outputs.len() == 2).await;
    registry.is_away(false);
    let outputs = outputs(&context, 9).await;
    let of = |n: usize| {
        let of_order: Vec<_> = outputs.iter().filter(|output| output["n"] == n).collect();
        of_order.into_iter().map(|output| output["place"].as_u64().unwrap_or(0)).collect::<Vec<_>>()
    };
    assert_eq!((of(1), of(2), of(5)), (vec![0, 0, 0, 4, 7], vec![0, 6], vec![8]));
    assert_eq!(flow::dead_letters_until(&context, 1).await.len(), 1);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_registry_refuses_is_a_dead_letter_that_says_why() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = Registry::new(false);
    let home = folder(&server, &registry.settings(), "");
    let router = home.start();
    let with_id = |id: u8| [&[0, 0, 0, 0, id][..], b"body"].concat();
    publish(&context, with_id(9)).await;
    publish(&context, with_id(9)).await;
    publish(&context, with_id(8)).await;
    publish(&context, order(7, 0)).await;
    publish(&context, [&order(7, 1)[..], b"more"].concat()).await;
    let letters = flow::dead_letters_until(&context, 4).await;
    let mut letters: Vec<_> =
        letters.iter().map(|letter| (letter["reason"].as_str().unwrap(), letter["detail"].as_str().unwrap())).collect();
    letters.sort_unstable();
    let absent = ("unknown_schema", "the schema registry says: Schema not found (40403)");
    let of_protobuf = "the registry's schema of id 8 can't be used: it is of type PROTOBUF, not of Avro";
    assert_eq!(letters[0].0, "avro_trailing_bytes");
    assert_eq!(letters[1..], [("unknown_schema", of_protobuf), absent, absent]);
    assert_eq!(outputs(&context, 1).await, orders(0..1));
    assert_eq!(registry.asked("/ccompat/schemas/ids/9"), 1);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_found_is_no_answer_of_a_registry() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let web = StandIn::new(|_, _| status("404 Not Found", "<html>Not found</html>"));
    let registry = Registry::new(false);
    let url = |stand_in: &StandIn| format!("\"http://{}/ccompat\"", stand_in.address);
    let wrong = format!("[avro.registry]\nurl = {}\n", url(&web));
    let folder = folder(&server, &wrong, "");
    let mut router = folder.start();
    publish(&context, order(7, 0)).await;
    let warned = router.wait_for("the schema registry can't be asked");
    assert!(warned.contains("no answer of a schema registry"), "{warned}");
    assert!(router.stop().status.success());
    // The second address is asked when the first is of no use.
    let both = format!("[avro.registry]\nurl = [{}, {}]\n", url(&web), url(&registry.stand_in));
    folder.put("trommel.toml", format!("{}\n{both}", flow::settings(&server.url(), "", "")).as_bytes());
    let router = folder.start();
    assert_eq!(outputs(&context, 1).await, orders(0..1));
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_registry_is_told_who_asks() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = StandIn::new(|_, seen| match seen.header("authorization") {
        // ada:secret
        Some("Basic YWRhOnNlY3JldA==") => answer(seen),
        _ => status("401 Unauthorized", r#"{"error_code":40101,"message":"who?"}"#),
    });
    let settings = |password: &str| {
        let url = format!("http://{}/ccompat", registry.address);
        format!("[avro.registry]\nurl = \"{url}\"\nuser = \"ada\"\npassword_file = \"{password}\"\n")
    };
    let folder = folder(&server, &settings("password"), "").write("password", "wrong");
    let mut router = folder.start();
    publish(&context, order(7, 0)).await;
    let warned = router.wait_for("the schema registry can't be asked");
    assert!(warned.contains("401") && !warned.contains("wrong"), "{warned}");
    // It is read again: the event has waited for it.
    folder.put("password", b"secret\n");
    assert_eq!(outputs(&context, 1).await, orders(0..1));
    assert!(router.stop().status.success());
}

const WRITER: &str = "encode = \"confluent\"\nwriter_subject = \"orders/value\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_writes_by_a_subject() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let registry = Registry::new(true);
    let folder = folder(&server, &registry.settings(), WRITER);
    let refused = folder.run();
    let message = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{message}");
    for part in [
        "the schema of the latest version of subject `orders/value` is not known",
        "`trommel schemas fetch` asks",
        "the schema registry can't be asked for the latest version of subject",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    registry.is_away(false);
    let router = folder.start();
    publish(&context, json!({ "n": 0, "money": "USD" }).to_string()).await;
    publish(&context, json!({ "n": 1 }).to_string()).await;
    assert_eq!(flow::dead_letters_until(&context, 1).await[0]["reason"], "avro_unencodable");
    assert!(router.stop().status.success());
    // Offline, from the cache.
    registry.is_away(true);
    let router = folder.start();
    publish(&context, json!({ "n": 2, "money": "USD" }).to_string()).await;
    let mut stream = context.get_stream("OUT").await.unwrap();
    until("both orders", async || stream.info().await.unwrap().state.messages == 2).await;
    for (sequence, n) in [(1, 0), (2, 2)] {
        assert_eq!(stream.get_raw_message(sequence).await.unwrap().payload, order(7, n));
    }
    assert!(registry.stand_in.seen().iter().all(|seen| seen.line.starts_with("GET ")), "it only reads");
    assert!(router.stop().status.success());
}

#[test]
fn fetch_fills_the_cache_for_use_without_the_registry() {
    let registry = Registry::new(false);
    let settings = "[[source]]\nname = \"in\"\ntype = \"lines\"\n";
    let folder = Folder::new(&format!("{settings}{}", registry.settings())).write("schemas/empty.avsc", EMPTY);
    let schemas = |words: &[&str]| {
        let output = router::trommel().arg("schemas").args(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let dir = folder.path().to_str().unwrap();
    let (code, fetched, _) = schemas(&["fetch", dir]);
    let rows: Vec<Vec<_>> = fetched.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[1..3], [vec!["orders/value", "3", "7", "shop.Order"], vec!["money", "1", "6", "shop.Money"]]);
    assert_eq!((code, fetched.contains("`schema-cache`")), (Some(0), true), "{fetched}");
    let (code, _, error) = schemas(&["fetch", dir, "nothing"]);
    assert!(code == Some(2) && error.contains("40403"), "{error}");
    registry.is_away(true);
    let (code, _, error) = schemas(&["fetch", dir]);
    assert!(code == Some(4) && error.contains("can't be asked"), "{error}");

    let (_, listed, _) = schemas(&["list", dir]);
    assert!(listed.contains("registry:7") && listed.contains("shop.Money"), "{listed}");
    let (_, shown, _) = schemas(&["show", dir, "registry:7"]);
    assert!(shown.contains("shop.Money"), "{shown}");
    let reader = "[[key]]\nkey = \"orders\"\nsubject = \"orders\"\ndecode = \"avro\"\nreader_schema = \"empty\"\n";
    folder.put("keys/orders.toml", reader.as_bytes());
    folder.put("schema-cache/9.avsc", b"{");
    let checked = router::trommel().arg("check").arg(dir).output().unwrap();
    let warnings = String::from_utf8(checked.stderr).unwrap();
    assert!(checked.status.success(), "{warnings}");
    for warning in ["can read nothing of what `registry:7` writes", "schema-cache/9.avsc", "delete the file"] {
        assert!(warnings.contains(warning), "{warning}: {warnings}");
    }
}

//! Avro on the wire, JSON for filters, through a whole router: what comes in as Avro, what goes out
//! as Avro, what can't be read, and schemas that are dropped in while it runs.

use crate::flow;
use crate::nats;
use crate::router;

use async_nats::jetstream::Context;
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};
use trommel::avro::{AvroSchemas, Framing};

const ORDER: &str = r#"{
    "type": "record", "name": "shop.Order", "fields": [
        { "name": "n", "type": "long" },
        { "name": "who", "type": "string" }
    ]
}"#;

/// A later version: a field more, another less.
const ORDER_V2: &str = r#"{
    "type": "record", "name": "shop.Order", "fields": [
        { "name": "n", "type": "long" },
        { "name": "currency", "type": { "type": "enum", "name": "Currency", "symbols": ["EUR", "USD"] }, "default": "EUR" },
        { "name": "note", "type": ["null", "string"], "default": null }
    ]
}"#;

const KEY: &str = r#"
    [[key]]
    key = "orders"
    subject = "in.*"
    decode = "auto"
    reader_schema = "order-v2"
    filter = "select"
    params = [{ name = "where" }]

    [[route]]
    key = "orders"
    params = { where = "/n >= 2" }
    sinks = ["out"]
"#;

fn folder(server: &NatsServer, more: &str, sink: &str) -> Folder {
    let folder = Folder::new(&format!("{}\n{more}", flow::settings(&server.url(), "", sink)));
    let folder = folder.write("keys/orders.toml", KEY).plugin("select", "select");
    folder.write("schemas/order.avsc", ORDER).write("schemas/order-v2.avsc", ORDER_V2)
}

/// A message of a schema, with the ids that the tests give.
fn avro(schemas: &[(&str, &str)], name: &str, framing: Framing, value: &Value) -> Vec<u8> {
    let schemas = AvroSchemas::parse(schemas).unwrap().with_ids(&[(7, name.to_owned())].into()).unwrap();
    let encoder = schemas.encoder(&schemas.get(name).unwrap(), framing).unwrap();
    encoder.encode(value.to_string().as_bytes()).unwrap()
}

fn order(value: &Value) -> Vec<u8> {
    avro(&[("order", ORDER)], "order", Framing::SingleObject, value)
}

async fn publish(context: &Context, payload: impl Into<bytes::Bytes>) {
    context.publish("in.a", payload.into()).await.unwrap().await.unwrap();
}

/// Reason and detail of every dead letter.
async fn dead_letters(context: &Context, count: usize) -> Vec<(String, String)> {
    let text = |letter: &Value, name: &str| letter[name].as_str().unwrap().to_owned();
    let letters = flow::dead_letters_until(context, count).await;
    letters.iter().map(|letter| (text(letter, "reason"), text(letter, "detail"))).collect()
}

/// H25, H41, H49
#[tokio::test(flavor = "multi_thread")]
async fn filters_see_json_whatever_the_wire() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let router = folder(&server, "", "").start();
    publish(&context, order(&json!({ "n": 1, "who": "ada" }))).await;
    publish(&context, order(&json!({ "n": 2, "who": "bob" }))).await;
    publish(&context, r#"{"n":3}"#).await;
    let v2 = [("order", ORDER), ("order-v2", ORDER_V2)];
    let written = json!({ "n": 4, "currency": "USD", "note": "gift" });
    publish(&context, avro(&v2, "order-v2", Framing::SingleObject, &written)).await;
    let outputs = flow::outputs_until(&context, "three orders", |outputs| outputs.len() == 3).await;
    let outputs: Vec<_> = outputs.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(outputs, [json!({ "n": 2, "currency": "EUR", "note": null }), json!({ "n": 3 }), written]);
    assert!(router.stop().status.success());
}

/// H29, H45, H46 and X4: each fault has a reason of its own, and is a dead letter.
#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_is_a_dead_letter() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let router = folder(&server, "", "").start();
    let whole = order(&json!({ "n": 2, "who": "bob" }));
    publish(&context, whole[..10].to_vec()).await;
    publish(&context, [&whole[..], b"more"].concat()).await;
    publish(&context, whole[..6].to_vec()).await;
    publish(&context, [&[0xc3, 0x01][..], &[7; 8], b"body"].concat()).await;
    publish(&context, [&[0][..], &[0, 0, 0, 9], b"body"].concat()).await;
    publish(&context, [&whole[..10], &[4, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat()).await;
    publish(&context, "neither").await;
    let mut reasons: Vec<_> = dead_letters(&context, 7).await.into_iter().map(|(reason, _)| reason).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "avro_bad_length",
            "avro_too_short",
            "avro_trailing_bytes",
            "avro_truncated",
            "not_json",
            "unknown_schema",
            "unknown_schema"
        ]
    );
    assert!(flow::outputs(&context).await.is_empty());
    assert!(router.stop().status.success());
}

/// H44: outputs that do not fit are dead letters, and with them nothing goes out.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_can_write_avro() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let ids = "[avro]\nids = { \"7\" = \"order-v2\" }\n";
    let router = folder(&server, ids, "encode = \"confluent\"\nwriter_schema = \"order-v2\"").start();
    publish(&context, order(&json!({ "n": 2, "who": "bob" }))).await;
    publish(&context, r#"{"n":3,"currency":"CHF"}"#).await;
    let dead = dead_letters(&context, 1).await;
    assert_eq!(dead[0].0, "avro_unencodable");
    assert!(dead[0].1.contains("/currency") && dead[0].1.contains("order-v2"), "{}", dead[0].1);
    let mut stream = context.get_stream("OUT").await.unwrap();
    assert_eq!(stream.info().await.unwrap().state.messages, 1);
    let stored = stream.get_raw_message(stream.cached_info().state.first_sequence).await.unwrap();
    // Id 7, 2 as a zigzag, symbol 0, branch 0.
    assert_eq!(&stored.payload[..], [0, 0, 0, 0, 7, 4, 0, 0]);
    assert!(router.stop().status.success());
}

/// H47, H48: a schema that is dropped in is known at once, one that is broken changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_reloaded_while_the_router_runs() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = folder(&server, "", "");
    let mut router = folder.start();
    let v3 = ORDER.replace("\"long\"", "\"int\"");
    let message = || avro(&[("v3", &v3)], "v3", Framing::SingleObject, &json!({ "n": 9, "who": "cy" }));
    publish(&context, message()).await;
    assert_eq!(dead_letters(&context, 1).await[0].0, "unknown_schema");
    folder.put("schemas/broken.avsc", b"{\"type\":\"record\"}");
    let refused = router.wait_for("not reloaded");
    assert!(refused.contains("schemas/broken.avsc"), "{refused}");
    std::fs::remove_file(folder.file("schemas/broken.avsc")).unwrap();
    folder.put("schemas/order-v3.avsc", v3.as_bytes());
    router.wait_for("reloaded generation");
    publish(&context, message()).await;
    let outputs = flow::outputs_until(&context, "the third version", |outputs| outputs.len() == 1).await;
    assert_eq!(outputs[0].1, json!({ "n": 9, "currency": "EUR", "note": null }));
    assert!(router.stop().status.success());
}

/// H26: one message, read by each key as it says.
#[tokio::test(flavor = "multi_thread")]
async fn each_key_chooses_how_its_events_are_read() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let key = |name: &str, decode: &str| {
        let key = format!("[[key]]\nkey = \"{name}\"\nsubject = \"in.*\"\ndecode = \"{decode}\"\n");
        format!("{key}[[route]]\nkey = \"{name}\"\nsinks = [\"out\"]\n")
    };
    let folder = folder(&server, "", "");
    let router = folder.write("keys/others.toml", &(key("avro", "avro") + &key("json", "json"))).start();
    publish(&context, order(&json!({ "n": 2, "who": "bob" }))).await;
    publish(&context, r#"{"n":3}"#).await;
    let letters = flow::dead_letters_until(&context, 2).await;
    let mut refused: Vec<_> =
        letters.iter().map(|letter| (letter["key"].as_str(), letter["reason"].as_str())).collect();
    refused.sort_unstable();
    assert_eq!(refused, [(Some("avro"), Some("not_avro")), (Some("json"), Some("not_json"))]);
    let outputs = flow::outputs_until(&context, "two keys a message", |outputs| outputs.len() == 4).await;
    let mut payloads: Vec<_> = outputs.iter().map(|(_, payload)| payload.to_string()).collect();
    payloads.sort_unstable();
    let resolved = r#"{"n":2,"currency":"EUR","note":null}"#;
    let resolved: Value = serde_json::from_str(resolved).unwrap();
    let mut expected = [r#"{"n":2,"who":"bob"}"#, r#"{"n":3}"#, r#"{"n":3}"#, &resolved.to_string()];
    expected.sort_unstable();
    assert_eq!(payloads, expected);
    assert!(router.stop().status.success());
}

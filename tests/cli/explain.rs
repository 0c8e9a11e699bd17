//! What `trommel explain` says of an event, given or seen by a router that runs.

use crate::patience::blocking::until;
use crate::printed::printed;
use crate::router;

use std::{io::Write, process::Command, thread};

use insta::assert_snapshot;
use router::{Folder, TO_STDOUT};
use serde_json::{Value, json};

const KEYS: &str = r#"
    [[key]]
    key = "orders.large"
    subject = "orders.*.created"
    filter = "select"

    [[key.params]]
    name = "where"

    [[key.params]]
    name = "keep"

    [[route]]
    name = "large"
    key = "orders.large"
    params = { where = "/amount >= 500; /currency == EUR || /vip", keep = "/amount" }
    sinks = ["out"]

    [[key]]
    key = "orders.typed"
    event_type = "order.created"
    decode = "json"

    [[key]]
    key = "payments"
    subject = "payments.>"
"#;

fn folder() -> Folder {
    Folder::new(TO_STDOUT).write("keys/keys.toml", KEYS).plugin("select", "select")
}

/// What is printed, without what differs from run to run, and the exit code.
fn said(command: &mut Command, folder: &Folder) -> String {
    let times = regex::Regex::new(r" +\d+(\.\d+)? µs").unwrap();
    times.replace_all(&printed(command, folder.path()), " TIME").into_owned()
}

fn explain(event: &str, options: &[&str]) -> String {
    let folder = folder().write("event.json", event);
    said(folder.trommel(&["explain"]).arg(folder.file("event.json")).args(options), &folder)
}

#[test]
fn an_event_is_explained_key_by_key() {
    let event =
        r#"{"subject":"orders.eu.created","event_type":"order.created","payload":{"amount":700,"currency":"EUR"}}"#;
    assert_snapshot!(explain(event, &[]), @r#"
    event `event-1`: type `order.created`, subject `orders.eu.created`, 31 B
    key `orders.large` (keys/keys.toml:2:5) takes it: subject `orders.*.created` fits
      route `large`
        conditions TIME
        process TIME
        replaced
        to `out`, standard output
          {"amount":700}
    key `orders.typed` (keys/keys.toml:19:5) takes it: event type is `order.created`
      it has no route, so its outputs go nowhere
    key `payments` (keys/keys.toml:24:5) does not take it: subject `payments.>` does not fit `orders.eu.created`
    --- stderr
    --- exit code 0
    "#);
}

#[test]
fn what_did_not_hold_is_named() {
    let event = r#"{"subject":"orders.eu.created","payload":{"amount":7,"currency":"EUR"}}"#;
    assert_snapshot!(explain(event, &["--key", "orders.large"]), @r#"
    event `event-1`: type `orders.eu.created`, subject `orders.eu.created`, 29 B
    key `orders.large` (keys/keys.toml:2:5) takes it: subject `orders.*.created` fits
      route `large`
        conditions TIME
        dropped: no list of conditions holds: /amount >= "500" | /vip exists
    --- stderr
    --- exit code 0
    "#);
}

#[test]
fn malformed_events_and_unknown_keys_are_rejected() {
    assert_snapshot!(explain(r#"{"subjekt":"a"}"#, &[]), @r#"
    --- stderr
    error: `DIR/event.json` is not a valid event: unknown field `subjekt`, expected one of `id`, `event_type`, `subject`, `source_time`, `observed_at`, `attempt`, `headers`, `payload`, `payload_text`, `payload_base64` at line 1 column 10
      an event is a JSON object such as {"event_type":"order.created","payload":{"amount":5}}
    --- exit code 2
    "#);
    assert_snapshot!(explain("{}", &["--key", "orders.larg"]), @r"
    --- stderr
    error: there is no key `orders.larg`
      did you mean `orders.large`?
      `trommel keys list DIR` shows all
    --- exit code 2
    ");
}

/// Those without a time leave at once, and so do those whose time is past.
#[test]
fn an_output_with_a_time_says_when_it_leaves() {
    // A given event was seen when 2026 began.
    let now = jiff::Timestamp::now().as_second();
    let [later, earlier] = [now + 3_600, now - 3_600].map(|time| time - 1_767_225_600);
    let key = format!(
        r#"
        [[key]]
        key = "all"
        subject = ">"
        filter = "ticker"
        params = [{{ name = "mode" }}, {{ name = "argument" }}]

        [[route]]
        key = "all"
        params = {{ mode = "later", argument = "1 -\n2 {later}000\n3 {earlier}000" }}
        sinks = ["out"]
        "#
    );
    let settings = format!("{TO_STDOUT}\n[[filter]]\nname = \"ticker\"\ngrants = [\"state\"]\n");
    let folder = Folder::new(&settings).write("keys/keys.toml", &key).plugin("ticker", "ticker");
    let folder = folder.write("event.json", r#"{"subject":"a","payload":1}"#);
    let explain = |options: &[&str]| {
        let output = folder.trommel(&["explain"]).arg(folder.file("event.json")).args(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let outputs = &serde_json::from_str::<Value>(&explain(&["--json"])).unwrap()["keys"][0]["routes"][0]["outputs"];
    let time = |at: usize| outputs[at]["not_before"].as_str().map(|time| time.parse::<jiff::Timestamp>().unwrap());
    let seconds = [0, 1, 2].map(|at| time(at).map(jiff::Timestamp::as_second));
    assert_eq!(seconds, [None, Some(now + 3_600), Some(now - 3_600)], "{outputs}");
    let text = explain(&[]);
    let lines: Vec<_> = text.lines().filter(|line| line.contains("to `out`")).collect();
    assert!(lines[0].ends_with("standard output") && lines[1].contains("standard output, at 2"), "{text}");
    assert!(lines[2].contains("standard output, at once: 2") && lines[2].ends_with("Z is past"), "{text}");
}

/// What the router and its sinks do, and `explain` once announced otherwise.
#[test]
fn samples_and_encodings_count() {
    let settings = r#"
        [[source]]
        name = "in"
        type = "lines"
        id = "/id"
        [[sink]]
        name = "out"
        type = "stdout"
        [[sink]]
        name = "avro"
        type = "folder"
        path = "avro"
        encode = "avro"
        writer_schema = "order"
    "#;
    let keys = r#"
        [[key]]
        key = "sampled"
        subject = ">"
        validate = "sample"
        [key.schema.custom]
        inline = { type = "object", properties = { amount = { type = "integer" } } }
        [[route]]
        key = "sampled"
        sinks = ["out"]
        [[key]]
        key = "encoded"
        subject = ">"
        [[route]]
        key = "encoded"
        sinks = ["avro"]
    "#;
    let order = r#"{"type":"record","name":"order","fields":[{"name":"amount","type":"long"}]}"#;
    let event = r#"{"id":"e1","payload":{"amount":"text"}} {"id":"e2","payload":{"amount":5}}"#;
    let folder = Folder::new(settings).write("keys/keys.toml", keys).write("schemas/order.avsc", order);
    let folder = folder.write("event.json", event);
    let explained = said(folder.trommel(&["explain"]).arg(folder.file("event.json")), &folder);
    let explained = regex::Regex::new("[0-9a-f]{16}").unwrap().replace_all(&explained, "DIGEST").into_owned();
    assert_snapshot!(explained, @r#"
    event `e1`: type `event`, subject `event`, 17 B
    key `sampled` (keys/keys.toml:2:9) takes it: subject `>` fits
      route `sampled-7bb98a94`
        kept
        to `out`, standard output
          {"amount":"text"}
    key `encoded` (keys/keys.toml:11:9) takes it: subject `>` fits
      route `encoded-4ba2073a`
        {"dead_letter":"avro_unencodable"}: output 0: does not fit the schema `order` at `/amount`: expected long
    event `e2`: type `event`, subject `event`, 12 B
    key `sampled` (keys/keys.toml:2:9) takes it: subject `>` fits
      route `sampled-7bb98a94`
        kept
        to `out`, standard output
          {"amount":5}
    key `encoded` (keys/keys.toml:11:9) takes it: subject `>` fits
      route `encoded-4ba2073a`
        kept
        to `avro`, file `DIR/avro/event_e2_0-DIGEST.bin`
          base64: wwEWy9FR/EEWYAo=
    --- stderr
    --- exit code 0
    "#);
}

/// The router does with all of them what it always does.
#[test]
fn events_of_a_running_router_are_explained() {
    let folder = folder();
    let none = said(folder.trommel(&["explain"]).arg("--live"), &folder);
    assert_snapshot!(none, @r"
    --- stderr
    error: no router runs from `DIR`
      start it: `trommel run DIR`
    --- exit code 2
    ");

    let (mut router, mut input) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut explain = folder.trommel(&["explain"]);
    let explain = thread::spawn(move || explain.args(["--live", "--limit", "2", "--json"]).output().unwrap());
    let mut sent = 0;
    until("events are explained", || {
        sent += 1;
        writeln!(input, r#"{{"subject":"orders.eu.created","amount":{sent},"vip":true}}"#).unwrap();
        explain.is_finished()
    });
    drop(input);
    let ended = router.end();
    assert_eq!((ended.status.success(), ended.stdout.len()), (true, sent), "{ended:?}");

    let explained = explain.join().unwrap();
    assert!(explained.status.success(), "{explained:?}");
    let explained: Vec<Value> =
        explained.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(explained.len(), 2, "{explained:?}");
    for Event { amount, said } in explained.iter().map(Event::of) {
        assert_eq!(said["event"]["subject"], "orders.eu.created");
        let large = &said["keys"][0];
        assert_eq!((&large["key"], &large["takes"]), (&json!("orders.large"), &json!(true)));
        assert_eq!(large["routes"][0]["outcome"], json!({ "replaced": { "amount": amount } }));
        assert_eq!(said["keys"][1]["takes"], false);
    }
}

/// What is said of an event, and which one it was.
struct Event<'a> {
    amount: u64,
    said: &'a Value,
}

impl<'a> Event<'a> {
    fn of(said: &'a Value) -> Self {
        let payload: Value = serde_json::from_str(said["event"]["payload_text"].as_str().unwrap()).unwrap();
        Self { amount: payload["amount"].as_u64().unwrap(), said }
    }
}

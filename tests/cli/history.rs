//! `history`, `tail`, `emit` and `replay` as their users meet them: what a stream holds is read in
//! order, to its end, and nothing that others see is changed.

use crate::flow;
use crate::nats;
use crate::printed::{json_lines, refusal, text};
use crate::proxy;
use crate::router;

use std::{
    collections::BTreeSet,
    io::Write,
    process::Output,
    time::{Duration, Instant},
};

use async_nats::jetstream::Context;
use flow::publish;
use insta::assert_snapshot;
use nats::NatsServer;
use proxy::{Fault, Proxy};
use router::{Folder, Router};
use rustix::process::Signal;
use serde_json::{Value, json};

const KEYS: &str = r#"
    [[key]]
    key = "large"
    subject = "in.*"
    filter = "select"
    params = [{ name = "where", default = "/n >= 0" }]

    [[route]]
    key = "large"
    sinks = ["out"]
"#;

/// A router between streams `IN` and `OUT`, which has made both.
fn folder(server: &NatsServer) -> Folder {
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).write("keys/large.toml", KEYS);
    let folder = folder.plugin("select", "select");
    assert!(folder.start().stop().status.success());
    folder
}

/// A command on the folder, to its end.
fn said(folder: &Folder, command: &str, words: &[&str]) -> Output {
    folder.trommel(&[command]).args(words).output().unwrap()
}

/// What a command prints that succeeds, a JSON value a line.
fn lines(folder: &Folder, command: &str, words: &[&str]) -> Vec<Value> {
    let output = said(folder, command, words);
    assert!(output.status.success(), "{output:?}");
    json_lines(&output.stdout)
}

/// The numbers of the events that `history --json` shows.
fn history(folder: &Folder, words: &[&str]) -> Vec<u64> {
    let rows = lines(folder, "history", &[&["--json"], words].concat());
    rows.iter().map(|row| row["payload"]["n"].as_u64().unwrap()).collect()
}

/// Everything that the server says of the durable consumer.
async fn position(context: &Context) -> String {
    let info = flow::consumer(context).await;
    format!("{:?} {:?}", info.delivered, info.ack_floor)
}

/// J14, J16 and X6
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_come_by_default_and_the_oldest_first() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..120, 3).await;
    let began = Instant::now();
    assert_eq!(history(&folder, &[]), (70..120).collect::<Vec<_>>());
    assert_eq!(history(&folder, &["--limit", "3"]), [117, 118, 119]);
    assert_eq!(history(&folder, &["--limit", "3", "--order", "oldest"]), [0, 1, 2]);
    assert_eq!(history(&folder, &["--limit", "2", "--subject", "in.1"]), [115, 118]);
    assert_eq!(history(&folder, &["--limit", "0"]).len(), 120);
    assert_eq!(history(&folder, &["--subject", "in.7"]), [0; 0]);
    // The end is told by the sequence, not by silence.
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// What reads a stream leaves nothing behind: its consumers are those of the routers.
#[tokio::test(flavor = "multi_thread")]
async fn history_leaves_no_consumer() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..20, 3).await;
    for words in [&[][..], &["--limit", "3"], &["--limit", "3", "--order", "oldest"], &["--subject", "in.7"]] {
        history(&folder, words);
        let mut stream = context.get_stream("IN").await.unwrap();
        assert_eq!(stream.info().await.unwrap().state.consumer_count, 1, "{words:?}");
    }
}

/// J15
#[tokio::test(flavor = "multi_thread")]
async fn a_stretch_is_bounded_by_the_time_of_storage() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..5, 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    publish(&context, 5..9, 1).await;
    let rows = lines(&folder, "history", &["--json"]);
    let time = |n: usize| rows[n]["time"].as_str().unwrap();
    assert_eq!(history(&folder, &["--since", time(5)]), [5, 6, 7, 8]);
    assert_eq!(history(&folder, &["--until", time(5)]), [0, 1, 2, 3, 4]);
    assert_eq!(history(&folder, &["--until", time(5), "--limit", "2"]), [3, 4]);
    assert_eq!(history(&folder, &["--since", time(2), "--until", time(7)]), [2, 3, 4, 5, 6]);
    assert_eq!(history(&folder, &["--since", "1h", "--limit", "1"]), [8]);
    assert_eq!(history(&folder, &["--until", "1h"]), [0; 0]);
}

/// What was deleted does not count, and does not hold up the end.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_is_passed_over() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..20, 1).await;
    let stream = context.get_stream("IN").await.unwrap();
    for sequence in [1, 18, 19, 20] {
        stream.delete_message(sequence).await.unwrap();
    }
    assert_eq!(history(&folder, &["--limit", "3"]), [14, 15, 16]);
    assert_eq!(history(&folder, &["--limit", "1", "--order", "oldest"]), [1]);
    stream.purge().await.unwrap();
    let output = said(&folder, "history", &[]);
    assert_eq!(text(&output.stdout), "stream `IN` holds no such messages\n");
}

/// J17
#[tokio::test(flavor = "multi_thread")]
async fn people_get_columns() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..1, 1).await;
    let shown = text(&said(&folder, "history", &[]).stdout);
    let (time, rest) = shown.split_at(19);
    assert!(time.starts_with("20") && time.as_bytes()[13] == b':', "{shown}");
    assert_eq!(rest, "  in.0                      {\"n\":0}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_can_look_at_the_history() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..30, 2).await;
    let before = position(&context).await;
    let words = ["--key", "large", "-p", "where=/n >= 25", "--limit", "10"];
    let mut found = lines(&folder, "history", &words);
    found.sort_by_key(|event| event["n"].as_u64());
    assert_eq!(found, (25..30).map(|n| json!({ "n": n })).collect::<Vec<_>>());
    assert_eq!(position(&context).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_means_nothing_is_refused() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let refused = |command: &str, words: &[&str]| refusal(folder.trommel(&[command]).args(words), folder.path());
    assert_snapshot!(refused("history", &["--stream", "NONE"]), @"2: error: there is no stream `NONE`");
    assert_snapshot!(refused("history", &["--key", "larg"]), @r"
    2: error: there is no key `larg`
      did you mean `large`?
      `trommel keys list DIR` shows all
    ");
    assert_snapshot!(refused("replay", &["--key", "large", "--from-seq", "1", "--sink", "ou"]), @r"
    2: error: there is no sink `ou`
      did you mean `out`?
    ");
    assert_snapshot!(refused("replay", &["--key", "large", "--from-seq", "1", "--component", "none.wasm"]), @"2: error: `none.wasm` is not a component: expected a `.wasm` file");
    assert_snapshot!(refused("replay", &["--key", "large", "--from-seq", "1", "-p", "were=x", "--json"]), @r#"2: {"ok":false,"error":{"type":"validation","subtype":"params","param":"were","message":"key `large` has no param `were`","hint":"did you mean `where`?"}}"#);
    assert!(refused("replay", &["--key", "large"]).contains("<--from-seq <SEQUENCE>|--from-time <TIME>>"));
    assert_snapshot!(refused("emit", &["elsewhere", "n=1"]), @r"
    2: error: no stream takes `elsewhere`
      `trommel streams ensure` makes those that are declared; `--subject` names another subject; `--core` sends without a stream
    ");
    assert_snapshot!(refused("emit", &["in.*", "n=1"]), @r"
    2: error: `in.*` can't be a subject: `*` and `>` belong in patterns, not in subjects
      give another one with `--subject`
    ");
    assert_snapshot!(refused("emit", &["in.a b", "n=1"]), @r"
    2: error: `in.a b` can't be a subject: the server takes no spaces in subjects
      give another one with `--subject`
    ");
    for bad in ["", "in..1", ".in", "in.", "in.\tb", "in.>", &"x".repeat(1025)] {
        assert!(refused("emit", &[bad, "n=1"]).contains("can't be a subject: "), "{bad}");
    }
    assert_snapshot!(refused("emit", &["in.1", "n"]), @r"
    2: error: `n` is not `NAME=VALUE`
      write it as NAME=VALUE
    ");
}

/// Neither the durable consumer nor its acknowledgements move.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_leaves_the_durable_consumer_alone() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..40, 4).await;
    let before = position(&context).await;
    let numbers = |words: &[&str]| {
        let found = lines(&folder, "replay", &[&["--key", "large"], words].concat());
        let mut numbers: Vec<_> = found.iter().map(|event| event["n"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!(numbers(&["--from-seq", "11", "--to", "15"]), [10, 11, 12, 13, 14]);
    assert_eq!(numbers(&["--from-seq", "1"]), (0..40).collect::<Vec<_>>());
    assert_eq!(numbers(&["--from-time", "1h", "-p", "where=/n == 7"]), [7]);
    assert_eq!(numbers(&["--from-seq", "1", "--to", "1h"]), [0; 0]);
    assert_eq!(position(&context).await, before);

    let began = Instant::now();
    assert_eq!(numbers(&["--from-seq", "1", "--to", "30", "--rate", "20"]).len(), 30);
    assert!(began.elapsed() > Duration::from_millis(1400), "{:?}", began.elapsed());
}

/// What was on its way when the connection broke is read again, and nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_leaves_no_gap() {
    let server = NatsServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let folder = folder(&server);
    folder.put("trommel.toml", flow::settings(&proxy.url(), "", "").as_bytes());
    let context = flow::connect(&server.url()).await;
    for first in (0..9000).step_by(1000) {
        publish(&context, first..first + 1000, 4).await;
    }
    let mut command = folder.trommel(&["replay"]);
    command.args(["--key", "large", "--from-seq", "1", "--rate", "6000"]);
    let mut replay = Router::spawn(command);
    // More is on its way than one chunk, and does not arrive.
    replay.wait_for_output("{\"n\":1000}");
    proxy.set(Fault::Delay(Duration::from_millis(50)));
    replay.wait_for_output("{\"n\":4500}");
    proxy.cut();
    proxy.set(Fault::None);
    let ended = replay.end();
    assert!(ended.status.success(), "{ended:?}");
    let mut numbers: Vec<u64> = ended.stdout.iter().map(|line| line[5..line.len() - 1].parse().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..9000).collect::<Vec<_>>());
}

/// The client ends for good over a lone CR in a header, and lets go of the connection over what is
/// no text: whatever somebody has published, all that is there is read, once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_client_can_not_read_are_read_all_the_same() {
    const ODD: [&[u8]; 3] =
        [b"NATS/1.0\r\nNote: a\rb\r\n\r\n", b"NATS/1.0\r\nNote: \xff\r\n\r\n", b"NATS/1.0\r\nno colon\r\n\r\n"];
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    let tail = {
        let mut command = folder.trommel(&["tail"]);
        command.arg("--json");
        let mut tail = Router::spawn(command);
        tail.wait_for("[trommel] watching stream IN");
        tail
    };
    let mut published = 0_u64;
    for round in 0..3 {
        let first = round * 20;
        publish(&context, first..first + 20, 4).await;
        published += 20;
        for headers in ODD.iter().cycle().take(round + 1) {
            nats::publish_raw(&server, "in.9", headers, &format!("{{\"n\":{}}}", 1000 + published)).await;
            published += 1;
        }
    }
    publish(&context, 60..65, 4).await;
    published += 5;
    let rows = lines(&folder, "history", &["--json", "--limit", "0"]);
    let sequences: Vec<_> = rows.iter().map(|row| row["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=published).collect::<Vec<_>>());
    assert_eq!(lines(&folder, "history", &["--json", "--limit", "0", "--subject", "in.9"]).len(), 6);
    assert_eq!(history(&folder, &["--limit", "2"]), [63, 64]);
    let mut tail = tail;
    for sequence in 1..=published {
        let row: Value = serde_json::from_str(&tail.wait_for_output("payload")).unwrap();
        assert_eq!(row["sequence"], sequence);
    }
    tail.signal(Signal::INT);
    assert!(tail.end().status.success());
}

/// Also what the router that runs has written already: the stream must not take it for a repeat.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_can_go_to_a_sink() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    let router = folder.start();
    publish(&context, 0..10, 1).await;
    flow::outputs_until(&context, "the router's own", |outputs| outputs.len() == 10).await;
    assert!(lines(&folder, "replay", &["--key", "large", "--from-seq", "1", "--to", "5", "--sink", "out"]).is_empty());
    assert_eq!(flow::outputs(&context).await.len(), 15);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_can_try_another_component() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..2, 1).await;
    let component = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/stamp-v1.wasm");
    let words = ["--key", "large", "--from-seq", "1", "--component", component];
    let stamped = lines(&folder, "replay", &words);
    assert_eq!(stamped.iter().map(|event| &event["stamp"]).collect::<Vec<_>>(), ["v1", "v1"]);
}

/// Nobody is there to mend it: a filter that keeps breaking is given up, and the replay comes to
/// its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_through_a_filter_that_breaks_comes_to_its_end() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let keys = KEYS
        .replace("\"select\"", "\"misbehave\"")
        .replace("where\", default = \"/n >= 0", "mode\", default = \"trap-process");
    let settings = format!("{}\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n", folder.read("trommel.toml"));
    let folder =
        folder.plugin("misbehave", "misbehave").write("keys/large.toml", &keys).write("trommel.toml", &settings);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..20, 1).await;
    let output = said(&folder, "replay", &["--key", "large", "--from-seq", "1"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success() && output.stdout.is_empty(), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("20 dead-lettered"), "{stderr}");
}

/// J18
#[tokio::test(flavor = "multi_thread")]
async fn tail_shows_what_comes_and_ends_when_told() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..3, 1).await;
    let mut command = folder.trommel(&["tail"]);
    command.args(["--json", "--subject", "in.1"]);
    let mut tail = Router::spawn(command);
    tail.wait_for("[trommel] watching stream IN (in.1)");
    publish(&context, 4..10, 2).await;
    for n in [5, 7, 9] {
        let line = tail.wait_for_output("payload");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["payload"]["n"], n);
    }
    tail.signal(Signal::INT);
    assert!(tail.end().status.success());
}

/// J03, J19
#[tokio::test(flavor = "multi_thread")]
async fn emit_publishes_what_the_source_can_open() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let emitted = lines(&folder, "emit", &["in.1", "n=7", "who=Ada", "nothing=", "--json"]);
    assert_eq!(emitted, [json!({ "subject": "in.1", "stream": "IN", "sequence": 1 })]);
    let [row] = &lines(&folder, "history", &["--json"])[..] else { unreachable!("one event") };
    assert_eq!(row["payload"], json!({ "n": 7, "who": "Ada", "nothing": "" }));
    for envelope in ["cloudevents", "helix", "lark", "jb-mesh", "ctrlplane", "flowcraft"] {
        let settings = flow::settings(&server.url(), &format!("envelope = \"{envelope}\""), "");
        folder.put("trommel.toml", settings.as_bytes());
        let words = ["order.created", "n=7", "--subject", "in.2"];
        assert!(said(&folder, "emit", &words).status.success(), "{envelope}");
        let rows = lines(&folder, "history", &["--json", "--limit", "1"]);
        assert_eq!(rows[0]["event_type"], "order.created", "{envelope}: {}", rows[0]);
    }
}

/// The stream follows from the subject, an id is what the family's readers take, and headers,
/// counts and standard input make tests of keys short.
#[tokio::test(flavor = "multi_thread")]
async fn emit_finds_the_source_by_the_subject() {
    let server = NatsServer::start().await;
    let more = r#"
        [[stream]]
        name = "PLANE"
        subjects = ["plane.>"]

        [[source]]
        name = "plane"
        type = "jetstream"
        stream = "PLANE"
        durable = "trommel"
        envelope = "ctrlplane"
    "#;
    let folder = Folder::new(&format!("{}{more}", flow::settings(&server.url(), "envelope = \"helix\"", "")));
    assert!(folder.trommel(&["streams", "ensure"]).output().unwrap().status.success());

    let instance = "inst_01h455vb4pex5vsknk084sn02r";
    let words = ["plane.x", "n=7", "--instance", instance, "--actor", "ada", "--header", "Nats-Msg-Id=m-1", "--json"];
    assert_eq!(lines(&folder, "emit", &words)[0]["stream"], "PLANE");
    let [row] = &lines(&folder, "history", &["--stream", "PLANE", "--json"])[..] else { unreachable!("one event") };
    let event = &row["payload"];
    assert!(event["id"].as_str().unwrap().starts_with("evt_"), "{event}");
    assert_eq!((&event["instance_id"], &event["actor_id"]), (&json!(instance), &json!("ada")));
    assert_eq!(lines(&folder, "emit", &words)[0]["sequence"], 1, "the stream has the message's own id");
    assert_eq!(said(&folder, "emit", &["plane.x", "--instance", "x"]).status.code(), Some(2));

    // A helix event has the members that its readers want, and a type without the stream's prefix.
    let words = ["in.nodes.n1.join", "--count", "3", "--json"];
    assert_eq!(lines(&folder, "emit", &words).len(), 3);
    let rows = lines(&folder, "history", &["--stream", "IN", "--json"]);
    let ids: BTreeSet<_> = rows.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!((rows.len(), ids.len(), &rows[0]["event_type"]), (3, 3, &json!("nodes.n1.join")));
    let payload = &rows[0]["payload"];
    assert_eq!(
        (&payload["node_id"], &payload["action"], &payload["run_id"]),
        (&json!("n1"), &json!("join"), &rows[0]["id"])
    );
    assert!(payload["timestamp"].is_string(), "{payload}");

    let mut command = folder.trommel(&["emit"]);
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"{\"n\":1}\n\n{\"n\":2}\n[]\n").unwrap();
    drop(writer);
    let output = command.args(["plane.y", "-"]).stdin(reader).output().unwrap();
    assert_eq!((output.status.code(), text(&output.stdout).lines().count()), (Some(2), 2));
    assert!(text(&output.stderr).contains("line 4 of standard input is no JSON object"), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("after 2 events"), "{}", text(&output.stderr));

    let output = said(&folder, "emit", &["elsewhere.x"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("none of the router's sources reads `elsewhere.x`"), "{stderr}");
    assert!(said(&folder, "emit", &["elsewhere.x", "--source", "plane", "--core"]).status.success());
}

/// A folder whose events come otherwise says how.
#[test]
fn emit_says_how_other_sources_get_events() {
    let folder = Folder::new(router::TO_STDOUT);
    let output = said(&folder, "emit", &["a.b", "n=1"]);
    assert_eq!(output.status.code(), Some(2));
    assert_snapshot!(text(&output.stderr), @r"
    error: no source of this router reads a stream or core NATS
      `in` reads lines: write them to the standard input of `trommel run`
    ");
}

//! `trommel verify`: every event of a stretch is accounted for, and what is not is named.

use crate::flow;
use crate::nats;
use crate::router;

use std::{
    fs,
    process::{Command, Output},
    time::{Duration, Instant},
};

use async_nats::jetstream::{Context, consumer::PullConsumer};
use flow::publish;
use nats::NatsServer;
use router::{Folder, PATIENCE};
use serde_json::{Value, json};
use tokio::time::sleep;

/// Sinks of every kind that can be verified, and one that can't.
const SINKS: &str = r#"
[[stream]]
name = "PLAIN"
subjects = ["plain.>"]

[[sink]]
name = "plain"
type = "nats"
subject = "plain.{subject}"
message_id = false

[[sink]]
name = "file"
type = "file"
path = "out/all.ndjson"
max_size = "1KiB"

[[sink]]
name = "files"
type = "file"
path = "out/by-{subject}.ndjson"

[[sink]]
name = "folder"
type = "folder"
path = "folder"

[[sink]]
name = "hooks"
type = "webhook"

[[sink]]
name = "nothing"
type = "null"
"#;

/// Of numbers below 90 those from 10 on are let out, and `not_json` dies.
const KEYS: &str = r#"
[[key]]
key = "all"
subject = "in.>"
filter = "select"
params = [{ name = "where" }]

[[route]]
name = "most"
key = "all"
params = { where = "/n >= 10" }
sinks = ["out", "plain", "file", "files", "folder", "hooks", "nothing"]

[[webhook]]
name = "receiver"
url = "http://127.0.0.1:9/"
allow_private = true
secret_file = "secret"
"#;

fn folder(server: &NatsServer) -> Folder {
    let settings = flow::settings(&server.url(), "", "");
    let folder = Folder::new(&format!("{settings}{SINKS}")).write("keys/all.toml", KEYS);
    folder.plugin("select", "select").write("secret", "s-5ecret\n")
}

async fn until_settled(context: &Context) {
    let consumer: PullConsumer = context.get_consumer_from_stream("trommel", "IN").await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let info = consumer.get_info().await.unwrap();
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{info:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn command(folder: &Folder, words: &[&str]) -> Command {
    let mut command = folder.trommel(&["verify"]);
    command.args(words);
    command
}

struct Verified {
    code: i32,
    findings: Vec<Value>,
    sums: Value,
}

fn verify(folder: &Folder, words: &[&str]) -> Verified {
    let output: Output = command(folder, words).arg("--json").output().unwrap();
    let mut lines: Vec<Value> =
        String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sums = lines.pop().unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    Verified { code: output.status.code().unwrap(), findings: lines, sums }
}

impl Verified {
    /// Finding, sink and sequence of each.
    fn named(&self) -> Vec<(&str, &str, u64)> {
        self.findings
            .iter()
            .map(|finding| {
                let text = |name: &str| finding[name].as_str().unwrap();
                (text("finding"), text("sink"), finding["sequence"].as_u64().unwrap())
            })
            .collect()
    }
}

/// Takes one line out of a file that holds a number, or writes it once more.
fn rewrite(folder: &Folder, file: &str, number: usize, times: usize) {
    let line = format!("{{\"n\":{number}}}\n");
    let text = folder.read(file);
    assert_eq!(text.matches(&line).count(), 1, "{file}: {text}");
    fs::write(folder.file(file), text.replace(&line, &line.repeat(times))).unwrap();
}

/// The sequence in a stream of the message with this payload.
async fn sequence(context: &Context, stream: &str, number: usize) -> u64 {
    let stream = context.get_stream(stream).await.unwrap();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        // Another one may be gone.
        let message = stream.get_raw_message(sequence).await;
        if message.is_ok_and(|message| message.payload == format!("{{\"n\":{number}}}")) {
            return sequence;
        }
    }
    panic!("no {number}")
}

/// Everything is accounted for; then one output is taken from each sink and another is doubled, and exactly these are named.
#[tokio::test]
async fn what_is_taken_away_and_what_is_doubled_is_named() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let router = folder.start();
    let context = flow::connect(&server.url()).await;
    publish(&context, 0..100, 3).await;
    context.publish("in.0", "not json".into()).await.unwrap().await.unwrap();
    // The client ends over this one.
    nats::publish_raw(&server, "in.1", b"NATS/1.0\r\na: b\rc\r\n\r\n", "{\"n\":1}").await;
    until_settled(&context).await;
    assert!(router.stop().status.success());

    let whole = verify(&folder, &[]);
    assert_eq!((whole.code, whole.named()), (0, vec![]), "{}", whole.sums);
    // Six sinks and one webhook that can be verified, 90 events each.
    assert_eq!(whole.sums["outputs"], 540);
    assert_eq!(whole.sums["at_sinks"], 540);
    assert_eq!([&whole.sums["verified"], &whole.sums["dropped"], &whole.sums["in_dead_letters"]], [102, 10, 2]);
    assert_eq!(
        whole.sums["not_checked"],
        json!([{ "why": "sink `nothing`: a sink of type `null` keeps nothing", "outputs": 90 }])
    );

    // Event `n` is message `n + 1`.
    for stream in ["OUT", "PLAIN"] {
        let taken = sequence(&context, stream, 20).await;
        assert!(context.get_stream(stream).await.unwrap().delete_message(taken).await.unwrap());
    }
    context.publish("plain.in.0", "{\"n\":30}".into()).await.unwrap().await.unwrap();
    let copied =
        context.get_stream("OUT").await.unwrap().get_raw_message(sequence(&context, "OUT", 30).await).await.unwrap();
    // As a repeat comes in behind the stream's duplicate window.
    let mut stream = context.get_stream("OUT").await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.duplicate_window = Duration::from_millis(100);
    context.update_stream(config).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let published =
            context.publish_with_headers(copied.subject.clone(), copied.headers.clone(), copied.payload.clone());
        if !published.await.unwrap().await.unwrap().duplicate {
            break;
        }
        assert!(Instant::now() < deadline, "the window does not end");
        sleep(Duration::from_millis(50)).await;
    }
    let rotated = |number: usize| {
        let holds = |name: &String| folder.read(name).contains(&format!("{{\"n\":{number}}}\n"));
        let names = fs::read_dir(folder.file("out"))
            .unwrap()
            .map(|entry| format!("out/{}", entry.unwrap().file_name().display()));
        let mut names: Vec<_> = names.filter(|name| name.starts_with("out/all") && holds(name)).collect();
        assert_eq!(names.len(), 1);
        names.remove(0)
    };
    rewrite(&folder, &rotated(20), 20, 0);
    rewrite(&folder, &rotated(30), 30, 2);
    rewrite(&folder, "out/by-in.2.ndjson", 20, 0);
    rewrite(&folder, "out/by-in.0.ndjson", 30, 2);
    let files = fs::read_dir(folder.file("folder")).unwrap().map(|entry| entry.unwrap().path());
    let taken: Vec<_> = files.filter(|path| fs::read_to_string(path).unwrap() == "{\"n\":20}").collect();
    assert_eq!(taken.len(), 1);
    fs::remove_file(&taken[0]).unwrap();
    let deliveries = folder.trommel(&["deliveries", "list"]).args(["--json", "--limit", "200"]).output().unwrap();
    let deliveries = String::from_utf8(deliveries.stdout).unwrap();
    let delivery = deliveries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let delivery = delivery.into_iter().find(|delivery| delivery["event_id"] == "e20").unwrap();
    let dropped = folder.trommel(&["deliveries", "drop"]).arg(delivery["id"].as_str().unwrap()).output().unwrap();
    assert!(dropped.status.success(), "{dropped:?}");
    // The letter of what was no JSON.
    context.get_stream("TROMMEL_DEAD").await.unwrap().purge().await.unwrap();

    let broken = verify(&folder, &[]);
    let gaps = ["file", "files", "folder", "hooks", "out", "plain"].map(|sink| ("gap", sink, 21));
    let doubles = ["file", "files", "out", "plain"].map(|sink| ("double", sink, 31));
    let expected = [&gaps[..], &doubles, &[("gap", "", 101), ("gap", "", 102)]].concat();
    assert_eq!(broken.named(), expected, "{}", broken.sums);
    assert_eq!(broken.code, 1);
    assert_eq!([&broken.sums["gaps"], &broken.sums["doubles"]], [8, 4]);

    // A stretch without them.
    for words in [["--from", "32", "--to", "100"], ["--from", "1", "--to", "20"]] {
        let part = verify(&folder, &words);
        assert_eq!((part.code, part.named()), (0, vec![]), "{}", part.sums);
    }
    let nothing = verify(&folder, &["--from", "2100-01-01"]);
    assert_eq!((nothing.code, &nothing.sums["verified"]), (0, &json!(0)));
    let text = command(&folder, &["--from", "-1h"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("gap             21  source `in`, key `all`, route `most`: output 0 is not at sink `out`\n"),
        "{text}"
    );
    assert!(text.contains("8 gaps, 4 doubles\n"), "{text}");
}

//! `trommel verify`: every event of a stretch is accounted for, and what is not is named.

use crate::flow;
use crate::nats;
use crate::patience::until;
use crate::router;
use crate::sinks::{keeping_sinks, receiver};

use std::{
    fs,
    process::{Command, Output},
    time::Duration,
};

use async_nats::jetstream::Context;
use flow::{publish, unsettled};
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};

/// Beside [`keeping_sinks`]: a sink whose files go by the subject, and one that can't be verified.
const SINKS: &str = r#"
[[stream]]
name = "PLAIN"
subjects = ["plain.>"]

[[sink]]
name = "files"
type = "file"
path = "disk/by-{subject}.ndjson"

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
"#;

fn folder(server: &NatsServer) -> Folder {
    let settings = flow::settings(&server.url(), "", "") + &keeping_sinks("", "1KiB") + SINKS;
    let folder = Folder::new(&settings).write("keys/all.toml", &(KEYS.to_owned() + &receiver("127.0.0.1:9")));
    folder.plugin("select", "select").write("secret", "s-5ecret\n")
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

/// Everything is accounted for; then one output is taken from each sink and another is doubled, and
/// exactly these are named.
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
    until("all is settled", async || unsettled(&context).await == 0).await;
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
    until("the window has ended", async || {
        let published =
            context.publish_with_headers(copied.subject.clone(), copied.headers.clone(), copied.payload.clone());
        !published.await.unwrap().await.unwrap().duplicate
    })
    .await;
    let rotated = |number: usize| {
        let holds = |name: &String| folder.read(name).contains(&format!("{{\"n\":{number}}}\n"));
        let names = fs::read_dir(folder.file("disk"))
            .unwrap()
            .map(|entry| format!("disk/{}", entry.unwrap().file_name().display()));
        let mut names: Vec<_> = names.filter(|name| name.starts_with("disk/all") && holds(name)).collect();
        assert_eq!(names.len(), 1);
        names.remove(0)
    };
    rewrite(&folder, &rotated(20), 20, 0);
    rewrite(&folder, &rotated(30), 30, 2);
    rewrite(&folder, "disk/by-in.2.ndjson", 20, 0);
    rewrite(&folder, "disk/by-in.0.ndjson", 30, 2);
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

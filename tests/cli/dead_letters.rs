//! `trommel dlq list`, `show` and `drop` as their users meet them, on a file and on a stream.

use crate::flow;
use crate::nats;
use crate::printed::{json_lines, refusal};
use crate::router;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Command, Output},
    thread,
};

use async_nats::jetstream::{self, stream::Config};
use insta::assert_snapshot;
use nats::NatsServer;
use router::Folder;
use serde_json::{Value, json};
use trommel::{dead_letters::LetterStore, folder};

const FILE: &str = "dead-letters.ndjson";

/// What a router stores; every third in one key, every fifth for one reason, a minute apart.
fn letter(n: usize) -> Value {
    json!({
        "time": format!("2026-03-14T{:02}:{:02}:00Z", n / 60 % 24, n % 60),
        "reason": if n.is_multiple_of(5) { "trap" } else { "malformed" },
        "detail": format!("letter {n}"),
        "key": if n.is_multiple_of(3) { "small" } else { "large" },
        "route": "r", "filter": "f", "filter_digest": "abc", "tries": 2,
        "id": format!("e{n}"), "event_type": "order.created", "subject": "orders.eu", "source": "events",
        "stream": "ORDERS", "sequence": n, "attempts": 1, "headers": [["Trace", "a"]],
        "payload": { "n": n },
    })
}

fn settings(nats: &str) -> String {
    format!("{nats}\n[[source]]\nname = \"events\"\ntype = \"lines\"\npath = \"events.ndjson\"\n")
}

/// A router's folder whose dead letters are these records, a line each.
fn file(records: &str) -> Folder {
    Folder::new(&settings("")).write("events.ndjson", "").write(FILE, records)
}

fn letters(count: usize) -> String {
    (0..count).map(|n| letter(n).to_string() + "\n").collect()
}

/// A router's folder whose dead letters are the first so many, in a stream.
async fn stream(server: &NatsServer, count: usize) -> Folder {
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let (name, subjects) = ("TROMMEL_DEAD".to_owned(), vec!["trommel.dead.>".to_owned()]);
    context.create_stream(Config { name, subjects, ..Config::default() }).await.unwrap();
    for n in 0..count {
        let letter = letter(n);
        let subject = format!("trommel.dead.{}", letter["reason"].as_str().unwrap());
        client.publish(subject, letter.to_string().into()).await.unwrap();
    }
    flow::dead_letters_until(&context, count).await;
    Folder::new(&settings(&format!("[nats]\nurl = \"{}\"\n", server.url()))).write("events.ndjson", "")
}

/// `trommel dlq COMMAND DIR WORDS...`
fn dlq(folder: &Folder, command: &str, words: &[&str]) -> Output {
    folder.trommel(&["dlq", command]).args(words).output().unwrap()
}

/// What it prints when it succeeds, and what it says beside.
fn good(folder: &Folder, command: &str, words: &[&str]) -> (String, String) {
    let output = dlq(folder, command, words);
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The numbers of the letters that are listed.
fn listed(folder: &Folder, words: &[&str]) -> Vec<u64> {
    let (lines, _) = good(folder, "list", &[&["--json"], words].concat());
    json_lines(&lines).iter().map(|letter| letter["sequence"].as_u64().unwrap()).collect()
}

/// The id that users type for a letter.
fn id(folder: &Folder, n: u64) -> String {
    let (lines, _) = good(folder, "list", &["--json", "--limit", "0"]);
    let found = json_lines(&lines).into_iter().find(|letter| letter["sequence"] == n);
    found.unwrap_or_else(|| panic!("no letter {n}"))["letter"].to_string()
}

/// Exit code and what is said.
fn refused(folder: &Folder, command: &str, words: &[&str]) -> String {
    refusal(folder.trommel(&["dlq", command]).args(words), folder.path())
}

#[test]
fn people_get_a_table_and_counts() {
    let folder = file(&letters(7));
    let (table, _) = good(&folder, "list", &["--limit", "3"]);
    assert_snapshot!(table, @r"
            ID  TIME                 REASON                KEY                       EVENT TYPE                DETAIL
          1239  2026-03-14 00:04:00  malformed             large                     order.created             unproven: letter 4
          1550  2026-03-14 00:05:00  trap                  large                     order.created             unproven: letter 5
          1856  2026-03-14 00:06:00  malformed             small                     order.created             unproven: letter 6
    7 dead letters: 5 malformed, 2 trap; 7 unproven; the newest 3 are shown
    ");
    assert_eq!(good(&file(""), "list", &[]).0, "no dead letters\n");
    assert_eq!(good(&folder, "list", &["--key", "other"]).0, "no such dead letters\n");
    fs::remove_file(folder.file(FILE)).unwrap();
    assert_eq!(good(&folder, "list", &[]).0, "no dead letters\n");
}

/// Programs rely on it: the record as README describes it, behind the letter's id. Summary and
/// letters stay apart.
#[tokio::test(flavor = "multi_thread")]
async fn programs_get_the_record_behind_its_id() {
    let folder = file(&letters(2));
    let (lines, summary) = good(&folder, "list", &["--json", "--limit", "1"]);
    assert_snapshot!(lines, @r#"{"letter":306,"attempts":1,"detail":"letter 1","event_type":"order.created","filter":"f","filter_digest":"abc","headers":[["Trace","a"]],"id":"e1","key":"large","payload":{"n":1},"reason":"malformed","route":"r","sequence":1,"source":"events","stream":"ORDERS","subject":"orders.eu","time":"2026-03-14T00:01:00Z","tries":2,"proven":false}"#);
    assert_eq!(summary, "2 dead letters: 1 malformed, 1 trap; 2 unproven; the newest 1 are shown\n");
    let (shown, _) = good(&folder, "show", &["--json", &id(&folder, 1)]);
    assert_eq!(shown, lines);

    let server = NatsServer::start().await;
    let (in_stream, _) = good(&stream(&server, 2).await, "list", &["--json", "--limit", "1"]);
    let mut expected = json_lines(&lines);
    expected[0]["letter"] = 2.into();
    assert_eq!(json_lines(&in_stream), expected);
}

#[test]
fn people_are_shown_everything() {
    let mut other = letter(1);
    other["detail"] = "line 1\nline 2\u{1b}[31m".into();
    other["payload_base64"] = "AP8=".into();
    other.as_object_mut().unwrap().remove("payload");
    let folder = file(&format!("{}{other}\n\"torn\n", letters(1)));
    assert_snapshot!(good(&folder, "show", &["0"]).0, @r#"
    dead letter 0
      time         2026-03-14T00:00:00Z
      reason       trap
      detail       letter 0
      key          small
      route        r
      filter       f (abc)
      tries        2
      event        e0
      event type   order.created
      subject      orders.eu
      source       events, 0 in ORDERS
      deliveries   1
      header       Trace: a
      proof        unproven: it has no proof that this router wrote it: another program did, or a version without proofs
      payload      7 bytes

    {
      "n": 0
    }
    "#);
    let (last, _) = good(&folder, "show", &[&id(&folder, 1)]);
    assert!(last.contains(r"line 1\nline 2\u001b[31m") && last.ends_with("2 bytes\n\nAP8=\n"), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_pick_the_same_of_file_and_stream() {
    let server = NatsServer::start().await;
    for folder in [file(&letters(60)), stream(&server, 60).await] {
        let numbers = |picks: fn(u64) -> bool| (0..60).filter(|n| picks(*n)).collect::<Vec<_>>();
        assert_eq!(listed(&folder, &[]), numbers(|n| n >= 10));
        assert_eq!(listed(&folder, &["--limit", "0"]), numbers(|_| true));
        assert_eq!(listed(&folder, &["--reason", "trap"]), numbers(|n| n.is_multiple_of(5)));
        assert_eq!(listed(&folder, &["--key", "small", "--limit", "2"]), [54, 57]);
        assert_eq!(listed(&folder, &["--key", "small", "--reason", "trap"]), numbers(|n| n.is_multiple_of(15)));
        let between = ["--since", "2026-03-14T00:50:00Z", "--until", "2026-03-14T00:52:00Z"];
        assert_eq!(listed(&folder, &between), [50, 51]);
        assert_eq!(listed(&folder, &["--until", "2026-03-14"]), [0; 0]);
    }
}

/// What a crash has torn, and what somebody else has put there.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_letter_is_shown_as_such() {
    let whole = letter(3).to_string();
    let folder = file(&format!("{}\"{{\\\"torn\\\"\"\nhello\n{whole}\n{}", letters(1), &whole[..40]));
    let (table, _) = good(&folder, "list", &[]);
    assert_snapshot!(table, @r"
            ID  TIME                 REASON                KEY                       EVENT TYPE                DETAIL
             0  2026-03-14 00:00:00  trap                  small                     order.created             unproven: letter 0
           306  -                    no letter             -                         -                         it is not written as dead letters are
           318  -                    no letter             -                         -                         it is not written as dead letters are
           324  2026-03-14 00:03:00  malformed             small                     order.created             unproven: letter 3
           635  -                    no letter             -                         -                         its line has no end: a router is writing it, or a crash has torn it
    5 dead letters: 3 no letter, 1 malformed, 1 trap; 2 unproven
    ");
    let (lines, _) = good(&folder, "list", &["--json"]);
    assert_snapshot!(lines.lines().nth(2).unwrap(), @r#"{"letter":318,"no_letter":"it is not written as dead letters are: expected value at line 1 column 1","payload_text":"hello"}"#);
    let last = json_lines(&lines).pop().unwrap()["letter"].to_string();
    assert_snapshot!(refused(&folder, "drop", &[&last]), @r"
    2: error: can't drop 635: its line has no end: a router is writing it, or a crash has torn it
      the next start of the router makes a line of its own of it
    ");
    assert_snapshot!(good(&folder, "drop", &["--all"]).0, @"4 dead letters dropped");
    assert!(folder.read(FILE).ends_with(&whole[..40]));

    let server = NatsServer::start().await;
    let folder = stream(&server, 1).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client);
    context.publish("trommel.dead.x", "hello".into()).await.unwrap().await.unwrap();
    let (table, _) = good(&folder, "list", &[]);
    assert!(
        table.contains("no letter") && table.ends_with("2 dead letters: 1 no letter, 1 trap; 1 unproven\n"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_dropped_by_id_and_by_filter() {
    let server = NatsServer::start().await;
    for folder in [file(&letters(30)), stream(&server, 30).await] {
        let [one, other] = [4, 7].map(|n| id(&folder, n));
        assert_eq!(good(&folder, "drop", &[&one, &other, &one]).0, "2 dead letters dropped\n");
        assert_eq!(good(&folder, "drop", &["--json", "--reason", "trap"]).0, "{\"dropped\":6}\n");
        let left = (0..30).filter(|n: &u64| !n.is_multiple_of(5) && ![4, 7].contains(n)).collect::<Vec<_>>();
        assert_eq!(listed(&folder, &[]), left);
        assert_eq!(good(&folder, "drop", &["--until", "2026-03-14T00:03:00Z"]).0, "2 dead letters dropped\n");
        assert_eq!(good(&folder, "drop", &["--all"]).0, "20 dead letters dropped\n");
        assert_eq!(good(&folder, "list", &[]).0, "no dead letters\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_means_nothing_is_refused() {
    let server = NatsServer::start().await;
    let folder = stream(&server, 3).await;
    assert_snapshot!(refused(&folder, "drop", &[]), @r"
    2: error: it is not said which dead letters
      give their ids, a filter such as `--reason trap`, or `--all`
    ");
    assert_snapshot!(refused(&folder, "retry", &["--json"]), @r#"2: {"ok":false,"error":{"type":"validation","subtype":"which_letters","param":"ID","message":"it is not said which dead letters","hint":"give their ids, a filter such as `--reason trap`, or `--all`"}}"#);
    good(&folder, "drop", &["2"]);
    assert_snapshot!(refused(&folder, "show", &["2"]), @r"
    2: error: there is no dead letter 2
      did you mean `3`? It is the next one
      `trommel dlq list DIR` shows them
    ");
    assert_snapshot!(refused(&folder, "drop", &["1", "9"]), @r"
    2: error: there is no dead letter 9
      `trommel dlq list DIR` shows them
    ");
    assert!(refused(&folder, "retry", &["2"]).contains("there is no dead letter 2\n"));
    assert_eq!(listed(&folder, &[]), [0, 2], "all of them or none");
    assert!(refused(&folder, "drop", &["1", "--all"]).contains("cannot be used with"));

    let folder = file(&letters(2));
    let said = refused(&folder, "show", &["3"]);
    assert!(said.contains(&format!("did you mean `{}`?", id(&folder, 1))), "{said}");
}

/// Those that somebody else has dropped meanwhile count as dropped.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_can_be_dropped() {
    let server = NatsServer::start().await;
    let config = folder::load(stream(&server, 3).await.path()).unwrap();
    let letters = LetterStore::open(&config.dead_letter, config.nats.as_ref()).await.unwrap();
    letters.drop(vec![2, 1]).await.unwrap();
    letters.drop(vec![1, 2, 99]).await.unwrap();
    assert_eq!(letters.at(0).await.unwrap().unwrap().id, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_drop_is_told_so() {
    let server = NatsServer::with_reader().await;
    let folder = stream(&server, 1).await;
    let settings = NatsServer::as_reader(&folder.read("trommel.toml"));
    let folder = folder.write("trommel.toml", &settings);
    assert_eq!(listed(&folder, &[]), [0]);
    assert_snapshot!(refused(&folder, "drop", &["1"]), @r"
    3: error: can't drop dead letter 1 of stream `TROMMEL_DEAD`: the server does not allow it: no permission to publish to `$JS.API.STREAM.MSG.DELETE.TROMMEL_DEAD`
    ");
}

/// A router appends while letters are dropped: none is lost, none comes back.
#[test]
fn letters_are_dropped_while_the_router_appends() {
    const EVENTS: usize = 3000;
    let keys = r#"
        [[key]]
        key = "large"
        event_type = "t"
        filter = "misbehave"
        params = [{ name = "mode", default = "malformed" }]

        [[route]]
        key = "large"
        sinks = ["out"]
    "#;
    let settings = r#"
        [[source]]
        name = "events"
        type = "lines"
        id = "/id"
        event_type = "/type"

        [[sink]]
        name = "out"
        type = "null"

        [[filter]]
        name = "misbehave"
        grants = ["state"]
    "#;
    let folder = Folder::new(settings).write("keys/large.toml", keys).plugin("misbehave", "misbehave");
    let (mut router, mut input) = folder.spawn_with_stdin();
    router.wait_for("running");
    let feeding = thread::spawn(move || {
        for n in 0..EVENTS {
            writeln!(input, r#"{{"id":"{n}","type":"t"}}"#).unwrap();
        }
    });
    let events = |text: &str| -> Vec<(String, u64)> {
        let letters = json_lines(text).into_iter().filter(|letter| letter.get("id").is_some());
        letters.map(|letter| (letter["id"].as_str().unwrap().to_owned(), letter["letter"].as_u64().unwrap())).collect()
    };
    let mut dropped = BTreeSet::new();
    let mut rounds = 0;
    while !feeding.is_finished() || rounds < 5 {
        let some = events(&good(&folder, "list", &["--json", "--limit", "40"]).0);
        let ids: Vec<_> = some.iter().step_by(2).map(|(_, id)| id.to_string()).collect();
        if !ids.is_empty() {
            good(&folder, "drop", &ids.iter().map(String::as_str).collect::<Vec<_>>());
            rounds += 1;
        }
        dropped.extend(some.into_iter().step_by(2).map(|(event, _)| event));
    }
    feeding.join().unwrap();
    assert!(router.end().status.success());
    let left = events(&good(&folder, "list", &["--json", "--limit", "0"]).0);
    let left: BTreeSet<_> = left.into_iter().map(|(event, _)| event).collect();
    assert!(left.is_disjoint(&dropped), "{:?}", left.intersection(&dropped).next());
    assert_eq!(left.len() + dropped.len(), EVENTS);
}

/// However many there are: 100,000 of them in less memory than they have bytes.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_backlog_needs_little_memory() {
    const LETTERS: usize = 100_000;
    let server = NatsServer::start().await;
    for folder in [file(&letters(LETTERS)), stream(&server, LETTERS).await] {
        // What the process may allocate, in KiB. The letters have 40 MB.
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -d 30000 && exec \"$@\"", "sh", env!("CARGO_BIN_EXE_trommel"), "dlq", "list"]);
        let output = limited.arg(folder.path()).args(["--limit", "0", "--json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), LETTERS);
        let summary = String::from_utf8(output.stderr).unwrap();
        assert_eq!(summary, "100000 dead letters: 80000 malformed, 20000 trap; 100000 unproven\n");
        assert_eq!(listed(&folder, &["--limit", "1"]), [LETTERS as u64 - 1]);
    }
}

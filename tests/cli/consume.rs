//! `consume`, `status` and `stop` as their users meet them: against a router that runs, and against
//! one that is started.

use crate::consumer_folder::{attached, consume, folder, status, status_until};
use crate::flow;
use crate::nats;
use crate::printed::text;
use crate::proxy;
use crate::router;

use std::{
    io::Write,
    process::Stdio,
    time::{Duration, Instant},
};

use flow::publish;
use nats::NatsServer;
use proxy::{Fault, Proxy};
use router::{Folder, Router};
use rustix::process::Signal;
use serde_json::Value;

#[test]
fn a_consumer_gets_what_its_key_lets_through_from_a_router_that_runs() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let words = ["orders.large", "-p", "where=/n >= 10", "-p", "keep=/n", "--max-events", "2", "--jq", ".n + 1"];
    let mut large = attached(consume(&folder, &words));
    let mut all = attached(consume(&folder, &["all", "--max-events", "4"]));
    for (id, n) in [("a", 5), ("b", 10), ("c", 3), ("d", 20)] {
        writeln!(events, r#"{{"id":"{id}","type":"order","n":{n}}}"#).unwrap();
    }
    let ended = large.end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, ["11", "21"]);
    let last = ended.log.last().unwrap();
    assert!(last.starts_with("[trommel] done: 2 events in ") && last.ends_with(" s (limit)"), "{last}");
    assert_eq!(all.end().stdout.len(), 4);
    status_until(&folder, "both have left", |status| status["consumers"] == serde_json::json!([]));
    assert!(router.stop().status.success());
}

/// One entity or one action of a key: the router sends the consumer nothing else.
#[test]
fn a_consumer_may_want_some_subjects_of_its_key() {
    let settings = "[[source]]\nname = \"events\"\ntype = \"lines\"\nsubject = \"/subject\"\n";
    let keys = "[[key]]\nkey = \"nodes\"\nsubject = \"nodes.>\"\n";
    let folder = Folder::new(settings).write("keys/keys.toml", keys);
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let words = ["nodes", "--subject", "nodes.n1.*", "--max-events", "2", "--jq", ".subject"];
    let mut node = attached(consume(&folder, &words));
    let mut failures = attached(consume(&folder, &["nodes", "--subject", "nodes.*.failed", "--max-events", "2"]));
    for subject in ["nodes.n1.join", "nodes.n2.join", "nodes.n2.failed", "nodes.n1.failed"] {
        writeln!(events, r#"{{"subject":"{subject}"}}"#).unwrap();
    }
    // Subjects keep their order each for itself.
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(sorted(node.end().stdout), [r#""nodes.n1.failed""#, r#""nodes.n1.join""#]);
    let both = [r#"{"subject":"nodes.n1.failed"}"#, r#"{"subject":"nodes.n2.failed"}"#];
    assert_eq!(sorted(failures.end().stdout), both);
    assert!(router.stop().status.success());
    let refused = consume(&folder, &["nodes", "--subject", "nodes..n1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_router_one_is_started_that_leaves_the_durable_consumer_alone() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let key = "[[key]]\nkey = \"all\"\nsubject = \"in.*\"\n[[route]]\nkey = \"all\"\nsinks = [\"out\"]\n";
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).write("keys/all.toml", key);
    // Makes the streams and the durable consumer.
    assert!(folder.start().stop().status.success());
    publish(&context, 0..5, 1).await;

    let mut consumer = attached(consume(&folder, &["all", "--max-events", "3"]));
    publish(&context, 5..8, 1).await;
    let ended = consumer.end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, [r#"{"n":5}"#, r#"{"n":6}"#, r#"{"n":7}"#]);
    assert!(flow::outputs(&context).await.is_empty(), "it serves nobody else");
    let pid = status(&folder)["pid"].as_u64().unwrap();
    let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(words.ends_with("\0--idle-exit\x0030s\0"), "L86: {words}");
    let stopped = folder.trommel(&["stop"]).output().unwrap();
    assert!(stopped.status.success() && text(&stopped.stdout).contains("stopped"), "{stopped:?}");

    let router = folder.start();
    let outputs = flow::outputs_until(&context, "what came meanwhile", |outputs| outputs.len() >= 8).await;
    flow::assert_each_once(&outputs, 8);
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_can_not_start_in_the_background_says_why() {
    let server = NatsServer::start().await;
    let key = "[[key]]\nkey = \"all\"\nsubject = \"in.*\"\n";
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).write("keys/all.toml", key);
    let refused = consume(&folder, &["all", "--json"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    let stderr = text(&refused.stderr);
    let error: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!(error["error"]["subtype"], "router_gone");
    let hint = error["error"]["hint"].as_str().unwrap();
    assert!(hint.contains("stream `IN` does not exist") && hint.contains("`trommel run` does"), "{hint}");
}

/// L83
#[tokio::test(flavor = "multi_thread")]
async fn two_consumers_that_start_at_once_share_a_router() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let key = "[[key]]\nkey = \"all\"\nsubject = \"in.*\"\n";
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).write("keys/all.toml", key);
    assert!(folder.start().stop().status.success(), "it makes the streams");
    let mut consumers = [0; 4].map(|_| {
        let mut command = consume(&folder, &["all", "--max-events", "2"]);
        command.stdin(Stdio::piped());
        Router::spawn(command)
    });
    for consumer in &mut consumers {
        consumer.wait_for("[trommel] ready key=all");
    }
    assert_eq!(status(&folder)["consumers"].as_array().unwrap().len(), 4);
    publish(&context, 0..2, 1).await;
    for consumer in &mut consumers {
        assert_eq!(consumer.end().stdout, [r#"{"n":0}"#, r#"{"n":1}"#]);
    }
    let stopped = folder.trommel(&["stop"]).output().unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
}

/// L72, L93
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_loses_its_connection_is_told_of() {
    let server = NatsServer::start().await;
    let proxy = Proxy::start(server.address()).await;
    let key = "[[key]]\nkey = \"all\"\nsubject = \"in.*\"\n";
    let folder = Folder::new(&flow::settings(&proxy.url(), "", "")).write("keys/all.toml", key);
    let router = folder.start();
    let mut consumer = attached(consume(&folder, &["all"]));
    proxy.set(Fault::Refuse);
    proxy.cut();
    consumer.wait_for("[trommel] source in: disconnected");
    assert_eq!(status(&folder)["sources"][0]["state"], "disconnected");
    proxy.set(Fault::None);
    consumer.wait_for("[trommel] source in: connected");
    assert_eq!(status(&folder)["sources"][0]["state"], "connected");
    assert!(consumer.stop().status.success());
    assert!(router.stop().status.success());
}

/// L88
#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_routers_in_the_background_is_bounded() {
    let server = NatsServer::start().await;
    let key = "[[key]]\nkey = \"all\"\nsubject = \"in.*\"\n";
    let folder = Folder::new(&flow::settings(&server.url(), "", "")).write("keys/all.toml", key);
    assert!(folder.start().stop().status.success(), "it makes the streams");
    assert!(attached(consume(&folder, &["all"])).stop().status.success());
    let place = folder.file("state").read_dir().unwrap().map(|place| place.unwrap().path());
    let log = place.map(|place| place.join("router.log")).find(|log| log.exists()).unwrap();
    assert!(folder.trommel(&["stop", "--force"]).output().unwrap().status.success());
    std::fs::write(&log, "x".repeat((5 << 20) + 1)).unwrap();
    assert!(attached(consume(&folder, &["all"])).stop().status.success());
    assert!(std::fs::metadata(&log).unwrap().len() < 1 << 20);
    assert!(log.with_extension("log.1").exists());
    assert!(folder.trommel(&["stop", "--force"]).output().unwrap().status.success());
}

/// L86
#[test]
fn a_router_for_consumers_ends_when_nobody_is_attached_any_more() {
    let folder = folder();
    let mut command = folder.command();
    let (reader, _events) = std::io::pipe().unwrap();
    command.args(["--idle-exit", "1s"]).stdin(reader);
    let mut router = Router::spawn(command);
    status_until(&folder, "it can be attached to", |status| status["state"] == "running");
    let began = Instant::now();
    let consumer = attached(consume(&folder, &["all"]));
    status_until(&folder, "attached", |status| status["consumers"].as_array().is_some_and(|all| all.len() == 1));
    assert!(consumer.stop().status.success());
    let ended = router.end();
    assert!(ended.status.success() && began.elapsed() >= Duration::from_secs(1), "{ended:?}");
    assert!(ended.log.iter().any(|line| line.contains("no consumers attached")), "{ended:?}");
}

#[test]
fn a_consumer_that_stops_reading_loses_the_oldest_and_holds_up_nobody() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let slow = attached(consume(&folder, &["all"]));
    let mut quick = attached(consume(&folder, &["all", "--max-events", "20000", "--jq", ".n"]));
    slow.signal(Signal::STOP);
    let padding = "x".repeat(500);
    for n in 0..20_000 {
        writeln!(events, r#"{{"id":"{n}","type":"order","n":{n},"padding":"{padding}"}}"#).unwrap();
        // The quick one must be able to keep up.
        if n % 50 == 49 {
            quick.wait_for_output(&n.to_string());
        }
    }
    let ended = quick.end();
    assert!(ended.status.success(), "{ended:?}");
    let status = status(&folder);
    let dropped = status["consumers"][0]["dropped"].as_u64().unwrap();
    assert_eq!(status["consumers"][0]["received"], 20_000, "{status}");
    assert!(dropped > 1_000, "{status}");
    slow.signal(Signal::CONT);
    let mut slow = slow;
    let gap = slow.wait_for("events were dropped");
    assert!(gap.contains(&format!("{dropped} events")), "{gap}: {dropped}");
    slow.wait_for_output("\"n\":19999,");
    assert!(slow.stop().status.success());
    drop(events);
    assert!(router.end().status.success());
}

/// They say so and exit with 4, or reach for the next one.
#[test]
fn a_router_that_is_killed_is_missed() {
    let folder = folder();
    let (mut router, events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut leaving = attached(consume(&folder, &["all"]));
    let mut staying = attached(consume(&folder, &["all", "--reconnect"]));
    router.kill();
    drop(events);
    let ended = leaving.end();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(ended.log.iter().any(|line| line.contains("the router closed the connection unexpectedly")), "{ended:?}");
    staying.wait_for("trying to reach a router again");
    // What the killed one has left behind is in nobody's way.
    assert!(folder.file("state").read_dir().unwrap().any(|place| place.unwrap().path().join("control.sock").exists()));
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    staying.wait_for("[trommel] ready key=all");
    writeln!(events, r#"{{"id":"x","n":1}}"#).unwrap();
    staying.wait_for_output("\"n\":1");
    drop(events);
    assert!(router.end().status.success());
    // The end of input is an end, not a loss.
    let ended = staying.end();
    assert!(ended.status.success() && ended.log.last().unwrap().contains("(end of input)"), "{ended:?}");
}

#[test]
fn stop_refuses_while_somebody_is_attached_unless_forced() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut consumer = attached(consume(&folder, &["all"]));
    let pid = consumer.pid().as_raw_nonzero().to_string();
    for words in [&["stop"][..], &["stop", "--json"]] {
        let refused = folder.trommel(words).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(text(&refused.stdout).contains(&pid), "{refused:?}");
    }
    let stopped = folder.trommel(&["stop", "--force"]).output().unwrap();
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(router.end().status.success());
    let ended = consumer.end();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(ended.log.iter().any(|line| line.contains("the router was stopped")), "{ended:?}");
    let nobody = folder.trommel(&["stop"]).output().unwrap();
    assert!(nobody.status.success() && text(&nobody.stdout).contains("no router runs"), "{nobody:?}");
}

/// Whoever comes after a consumer that has ended does not find it attached: it stays until the
/// router has heard it.
#[test]
fn a_consumer_stays_until_the_router_knows_that_it_leaves() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut consumer = attached(consume(&folder, &["all", "--timeout", "200ms"]));
    router.signal(Signal::STOP);
    // Its time is over, and the second that it gives a router is not.
    std::thread::park_timeout(Duration::from_millis(600));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", consumer.pid().as_raw_nonzero())).unwrap();
    assert!(!stat.contains(") Z "), "{stat}");
    router.signal(Signal::CONT);
    assert!(consumer.end().status.success());
    assert_eq!(status(&folder)["consumers"], serde_json::json!([]));
    assert!(folder.trommel(&["stop"]).output().unwrap().status.success());
}

/// L121
#[test]
fn the_end_of_standard_input_ends_a_consumer_without_bounds() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let unbounded = consume(&folder, &["all"]).output().unwrap();
    assert!(unbounded.status.success(), "{unbounded:?}");
    assert!(text(&unbounded.stderr).contains("standard input has ended"), "{unbounded:?}");
    let bounded = consume(&folder, &["all", "--timeout", "1s"]).output().unwrap();
    assert!(bounded.status.success(), "{bounded:?}");
    let last = text(&bounded.stderr).lines().last().unwrap().to_owned();
    assert_eq!(last, "[trommel] done: 0 events in 1 s (timeout)");
    let quiet = consume(&folder, &["all", "--quiet"]).output().unwrap();
    assert_eq!(text(&quiet.stderr), "");
}

/// L122
#[test]
fn a_reader_that_leaves_ends_a_consumer_in_good_order() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let (reader, writer) = std::io::pipe().unwrap();
    let (input, _open) = std::io::pipe().unwrap();
    let mut command = consume(&folder, &["all"]);
    let mut consumer = command.stdin(input).stdout(writer).stderr(Stdio::null()).spawn().unwrap();
    drop(command);
    status_until(&folder, "attached", |status| status["consumers"].as_array().is_some_and(|all| all.len() == 1));
    drop(reader);
    writeln!(events, "{{}}").unwrap();
    assert!(consumer.wait().unwrap().success());
}

/// L117
#[test]
fn outputs_can_be_files() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let place = tempfile::tempdir().unwrap();
    let mut command = consume(&folder, &["all", "--max-events", "2", "--output-dir", "a/b"]);
    command.current_dir(place.path());
    let mut consumer = attached(command);
    writeln!(events, "{{\"n\":1}}\n{{\"n\":2}}").unwrap();
    assert!(consumer.end().status.success());
    let files = place.path().join("a/b").read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = files.map(|file| std::fs::read_to_string(file).unwrap()).collect();
    texts.sort();
    assert_eq!(texts, [r#"{"n":1}"#, r#"{"n":2}"#]);
}

/// A key that is taken away ends its consumers, and nobody else.
#[test]
fn a_key_that_goes_ends_its_consumers() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut large = attached(consume(&folder, &["orders.large", "-p", "where=/n > 1"]));
    let mut all = attached(consume(&folder, &["all", "--max-events", "1"]));
    folder.put("keys/keys.toml", b"[[key]]\nkey = \"all\"\nsubject = \">\"\n");
    let ended = large.end();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert!(ended.log.iter().any(|line| line.contains("there is no key `orders.large`")), "{ended:?}");
    writeln!(events, "{{}}").unwrap();
    assert!(all.end().status.success());
}

/// What a program does with what others send is its own trouble: it is said, and what follows is
/// printed.
#[test]
fn a_jq_program_that_goes_wrong_harms_no_other_event() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let program = "if .do == \"loop\" then (def f: f; f) elif .do == \"repeat\" then \"ab\" * 9223372036854775807 \
                   elif .do == \"fill\" then [range(0; 3; 0)] elif .do == \"nest\" then (def f: 1 + f; f) \
                   elif .do == \"divide\" then 1 / 0 else .n end";
    let mut consumer = attached(consume(&folder, &["all", "--jq", program, "--max-events", "2"]));
    writeln!(events, "{{\"n\":1}}").unwrap();
    consumer.wait_for_output("1");
    for wrong in ["repeat", "divide", "nest", "fill"] {
        writeln!(events, "{{\"id\":\"{wrong}\",\"do\":\"{wrong}\"}}").unwrap();
        consumer.wait_for(&format!("event `{wrong}`: --jq: "));
    }
    writeln!(events, "{}{}", "[".repeat(100_000), "]".repeat(100_000)).unwrap();
    consumer.wait_for("more than 10000 levels deep");
    writeln!(events, "{{\"n\":2}}").unwrap();
    consumer.wait_for_output("2");
    assert!(consumer.end().status.success());
}

/// Nor does it outlast the time that there is, whatever its number is.
#[test]
fn a_jq_program_that_never_ends_is_ended() {
    let folder = folder();
    let (mut router, mut events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let mut endless = attached(consume(&folder, &["all", "--jq", "def f: f; f", "--timeout", "2s"]));
    let mut negative = attached(consume(&folder, &["all", "--jq", "-1", "--max-events", "1"]));
    writeln!(events, "{{}}").unwrap();
    negative.wait_for_output("-1");
    assert!(negative.end().status.success());
    assert!(endless.end().status.success());
}

/// L41: what contradicts its carrier is asked of no filter, what `matches` turns away of no
/// `process`, and jq sees what `process` has made; only what was written counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_stages_of_a_consumer_come_in_their_order() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = flow::settings(&server.url(), "envelope = \"lark\"\nverify_header = true", "");
    let key =
        "[[key]]\nkey = \"relayed\"\nsubject = \"in.*\"\nfilter = \"relay-json\"\nparams = [{ name = \"field\" }]\n";
    let folder = Folder::new(&settings).write("keys/relayed.toml", key).plugin("relay-json", "relay-json");
    let router = folder.start();
    let words = ["relayed", "-p", "field=/n", "--max-events", "2", "--jq", "{n, relayed, id: .header.event_id}"];
    let mut consumer = attached(consume(&folder, &words));
    for (id, event_type, more) in [
        ("e-1", "order", ",\"n\":1"),
        ("e-2", "another", ",\"n\":2"),
        ("e-3", "order", ""),
        ("e-4", "order", ",\"n\":4"),
    ] {
        let body = format!(r#"{{"header":{{"event_id":"{id}","event_type":"order"}}{more}}}"#);
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Lark-Event-Type", event_type);
        context.publish_with_headers("in.a", headers, body.into()).await.unwrap().await.unwrap();
    }
    let ended = consumer.end();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(ended.stdout, [r#"{"n":1,"relayed":1,"id":"e-1"}"#, r#"{"n":4,"relayed":1,"id":"e-4"}"#]);
    let last = ended.log.last().unwrap();
    assert!(last.starts_with("[trommel] done: 2 events in "), "{last}");
    let letters = flow::dead_letters_until(&context, 1).await;
    assert_eq!(letters[0]["reason"], "header_conflict");
    assert!(router.stop().status.success());
}

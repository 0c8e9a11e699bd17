//! `consume`, `status` and `stop` as their users meet them: against a router that runs, and against one that is started.

use crate::flow;
use crate::nats;
use crate::proxy;
use crate::router;

use std::{
    io::Write,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use flow::publish;
use insta::assert_snapshot;
use nats::NatsServer;
use proxy::{Fault, Proxy};
use router::{Folder, PATIENCE, Router};
use rustix::process::Signal;
use serde_json::Value;

const STDIN: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    id = "/id"
    event_type = "/type"
"#;

const KEYS: &str = r#"
    [[key]]
    key = "orders.large"
    description = "Orders above a threshold"
    event_type = "order"
    filter = "select"
    params = [
        { name = "where", required = true, description = "Which orders" },
        { name = "keep" },
    ]

    [[key]]
    key = "all"
    subject = ">"
"#;

fn folder() -> Folder {
    Folder::new(STDIN).write("keys/keys.toml", KEYS).plugin("select", "select")
}

fn consume(folder: &Folder, words: &[&str]) -> Command {
    let mut command = folder.trommel(&["consume"]);
    command.args(words);
    command
}

/// Starts a consumer and waits until it is attached.
fn attached(mut command: Command) -> Router {
    // A consumer without bounds ends with its standard input.
    command.stdin(Stdio::piped());
    let mut consumer = Router::spawn(command);
    consumer.wait_for("[trommel] ready key=");
    consumer
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn status(folder: &Folder) -> Value {
    let mut command = folder.trommel(&["status"]);
    let output = command.arg("--json").output().unwrap();
    serde_json::from_slice::<Value>(&output.stdout).unwrap()["routers"][0].take()
}

/// Asks until the router's status is as wanted.
fn status_until(folder: &Folder, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(folder);
        if is_so(&status) {
            return status;
        }
        assert!(Instant::now() < deadline, "{what}: {status}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

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

/// Whoever comes after a consumer that has ended does not find it attached: it stays until the router has heard it.
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

/// What a command that is refused says, and its exit code. Nothing is started for it.
fn refused(words: &[&str]) -> String {
    refused_in(&folder(), words)
}

fn refused_in(folder: &Folder, words: &[&str]) -> String {
    let Output { status, stdout, stderr } = consume(folder, words).output().unwrap();
    assert_eq!(text(&stdout), "");
    assert!(!folder.file("state").exists(), "something was started");
    let stderr = text(&stderr).replace(&folder.path().display().to_string(), "DIR");
    format!("{}: {stderr}", status.code().unwrap())
}

/// L23, L24, L27, L112, L115, L117, L118
#[test]
fn bad_input_is_refused_before_anything_happens() {
    assert_snapshot!(refused(&["order.large"]), @r"
    2: error: there is no key `order.large`
      did you mean `orders.large`?
      `trommel keys list DIR` shows all
    ");
    assert_snapshot!(refused(&["orders.*"]), @r"
    2: error: `orders.*` is not one key: every key has a shape of its own, so consume one at a time
      `trommel keys list DIR` shows all
    ");
    assert_snapshot!(refused(&["all", "-p", "where"]), @r"
    2: error: `where` is not a param
      write it as NAME=VALUE
    ");
    assert_snapshot!(refused(&["all", "-p", "=x"]), @r"
    2: error: `=x` is not a param
      write it as NAME=VALUE
    ");
    assert_snapshot!(refused(&["all", "-p", "b=1", "-p", "a=2"]), @r"
    2: error: key `all` has no param `a`; key `all` has no param `b`
      key `all` takes no params
      key `all` takes no params
    ");
    assert_snapshot!(refused(&["orders.large", "-p", "wher=x"]), @r"
    2: error: key `orders.large` has no param `wher`; param `where` of key `orders.large` is required
      did you mean `where`?
      Which orders
    ");
    assert_snapshot!(refused(&["all", "--jq", ".a |"]), @"2: error: the jq program can't be used: expected term at the end");
    assert_snapshot!(refused(&["all", "--output-dir", "../out"]), @"2: error: `../out` can't be the output folder: it leads out of the present folder");
}

/// L23
#[test]
fn the_last_one_of_a_param_counts() {
    let folder = folder();
    let words = ["orders.large", "-p", "where=/n > 1", "-p", "where=/n > 2", "-p", "keep=", "--dry-run"];
    let output = consume(&folder, &words).output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["decision"]["params"], serde_json::json!({ "where": "/n > 2", "keep": "" }));
}

/// L124
#[test]
fn a_refusal_can_be_json() {
    assert_snapshot!(
        refused(&["all", "-p", "where", "--json"]),
        @r#"2: {"ok":false,"error":{"type":"validation","subtype":"param_syntax","param":"--param","message":"`where` is not a param","hint":"write it as NAME=VALUE"}}"#
    );
}

/// What only the filter can refuse is refused too, and the next one is served.
#[test]
fn a_filter_can_refuse_params() {
    let folder = folder();
    let (mut router, _events) = folder.spawn_with_stdin();
    router.wait_for("running");
    let output = consume(&folder, &["orders.large", "-p", "where=nonsense"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("key `orders.large`") && stderr.contains("nonsense"), "{stderr}");
    let served = consume(&folder, &["all"]).output().unwrap();
    assert!(served.status.success(), "{served:?}");
}

/// Keys that ask something of the identity, and one that has some of it.
fn folder_with_an_identity() -> Folder {
    let api = "[api]\nbase_url = \"https://api.example.com\"\nauth_types = [\"bot\"]\n\
               scopes = [\"mail:read\"]\nconsole_events = [\"mail.read\"]\n";
    let key = |name: &str, wants: &str| format!("[[key]]\nkey = \"{name}\"\nsubject = \"mail\"\n{wants}\n");
    let keys = [
        key("both", "auth_types = [\"user\", \"bot\"]\nscopes = [\"mail:read\"]"),
        key("person", "auth_types = [\"user\"]"),
        key("sent", "scopes = [\"mail:send\", \"mail:read\", \"mail:move\"]"),
        key("received", "console_events = [\"mail.received\"]"),
    ];
    Folder::new(&format!("{STDIN}\n{api}")).write("keys/keys.toml", &keys.concat())
}

/// L16, L17
#[test]
fn an_identity_that_does_not_suffice_is_refused_before_anything_happens() {
    let folder = folder_with_an_identity();
    assert_snapshot!(refused_in(&folder, &["person"]), @"3: error: key `person` needs the auth type `user`, the identity in `[api]` has `bot`");
    assert_snapshot!(refused_in(&folder, &["person", "--as", "bot"]), @r"
    2: error: key `person` is not consumed as `bot`
      it takes `user`
    ");
    assert_snapshot!(refused_in(&folder, &["both", "--as", "user", "--json"]), @r#"3: {"ok":false,"error":{"type":"auth","subtype":"auth_type","param":null,"message":"key `both` needs the auth type `user`, the identity in `[api]` has `bot`","hint":null}}"#);
    assert_snapshot!(refused_in(&folder, &["sent"]), @r"
    3: error: key `sent` needs scopes that the identity in `[api]` does not have: `mail:move` and `mail:send`
      grant them to the identity, and add them to `scopes` in `[api]`
    ");
    assert_snapshot!(refused_in(&folder, &["received", "--json"]), @r#"2: {"ok":false,"error":{"type":"precondition","subtype":"console_events","param":null,"message":"key `received` needs console events that the identity in `[api]` does not have: `mail.received`","hint":"turn them on at the platform, and add them to `console_events` in `[api]`"}}"#);
}

/// L16, L17, L125
#[test]
fn a_dry_run_tells_what_the_identity_lacks() {
    let folder = folder_with_an_identity();
    let decision = |words: &[&str]| {
        let output = consume(&folder, &[words, &["--dry-run"]].concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["decision"].take()
    };
    let about = |decision: &Value, name: &str| {
        let preconditions = decision["preconditions"].as_array().unwrap();
        preconditions.iter().find(|precondition| precondition["name"] == name).unwrap()["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let both = decision(&["both"]);
    assert_eq!(both["identity"], serde_json::json!(["bot"]));
    assert_eq!([about(&both, "auth_type"), about(&both, "scopes")], ["ready", "ready"]);
    let sent = decision(&["sent"]);
    assert_eq!((about(&sent, "scopes"), &sent["status"]), ("blocked".to_owned(), &Value::from("blocked")));
    assert_eq!(about(&decision(&["person"]), "auth_type"), "blocked");
}

/// L125
#[test]
fn a_dry_run_says_what_would_happen_and_does_nothing() {
    let folder = folder();
    let output = consume(&folder, &["orders.large", "-p", "where=/n > 1", "--dry-run"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!folder.file("state").exists());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["dry_run"], &json["decision"]["event_key"]), (&true.into(), &"orders.large".into()));
    assert_eq!(json["decision"]["status"], "blocked", "a router in the background has no standard input: {json}");
    assert_eq!(json["decision"]["params"]["where"], "/n > 1");
    let output = consume(&folder, &["orders.large", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "wrong input is wrong in a dry run too");
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

/// What a program does with what others send is its own trouble: it is said, and what follows is printed.
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

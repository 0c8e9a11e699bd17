//! Filters with the clock: ticks whose outputs are settled as those of events, outputs that have a
//! time, and metrics of their own.

use crate::{
    flow,
    nats::NatsServer,
    patience::{blocking, until},
    router::{Folder, Router, get, trommel},
};

use std::{
    collections::BTreeSet,
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::Value;

const GRANT: &str = "\n[[filter]]\nname = \"ticker\"\ngrants = [\"state\"]\n";
const ADMIN: &str = "\n[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A key with the filter `ticker`, more about it, and its route's params.
fn key(more: &str, params: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "all"
        subject = ">"
        filter = "ticker"
        params = [{{ name = "mode" }}, {{ name = "argument" }}, {{ name = "sinks" }}]
        {more}

        [[route]]
        name = "only"
        key = "all"
        sinks = ["out"]
        params = {{ {params} }}
        "#
    )
}

/// Lines of standard input into a file.
fn lines(more: &str, params: &str) -> Folder {
    let settings = r#"
        [[source]]
        name = "in"
        type = "lines"

        [[sink]]
        name = "out"
        type = "file"
        path = "out.ndjson"

        [dead_letter]
        file = "dead.ndjson"
    "#;
    Folder::new(&format!("{settings}{GRANT}{ADMIN}"))
        .write("keys/all.toml", &key(more, params))
        .plugin("ticker", "ticker")
}

/// From stream `IN` into stream `OUT`.
fn streams(server: &NatsServer, source: &str, params: &str) -> Folder {
    let settings = flow::settings(&server.url(), source, "");
    Folder::new(&format!("{settings}{GRANT}{ADMIN}"))
        .write("keys/all.toml", &key("", params))
        .plugin("ticker", "ticker")
}

fn outputs(folder: &Folder) -> Vec<Value> {
    let text = folder.read("out.ndjson");
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// Number of outputs in stream `OUT`.
async fn stored(context: &async_nats::jetstream::Context) -> u64 {
    context.get_stream("OUT").await.unwrap().cached_info().state.messages
}

/// A counter or gauge on the page of metrics; 0 without it.
fn metric(admin: SocketAddr, line: &str) -> f64 {
    let (_, page) = get(admin, "/metrics");
    let found = page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    found.unwrap_or_default()
}

fn running(router: &mut Router) -> SocketAddr {
    let admin = router.admin();
    router.wait_for("running");
    admin
}

/// They begin and end with the run, which lasts as long as its sources do.
#[test]
fn ticks_tell_what_came_meanwhile() {
    let folder = lines("", "");
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    stdin.write_all(b"{}\n{}\n{}\n").unwrap();
    let knows = |outputs: Vec<Value>| outputs.len() >= 3 && outputs.last().is_some_and(|last| last["events"] == 3);
    blocking::until("a tick that knows of them", || knows(outputs(&folder)));
    drop(stdin);
    let ended = router.end();
    assert!(ended.status.success(), "{ended:?}");
    let outputs = outputs(&folder);
    let ticks: Vec<_> = outputs.iter().map(|output| output["tick"].as_u64().unwrap()).collect();
    assert_eq!(ticks, (1..=ticks.len() as u64).collect::<Vec<_>>());
    let times: BTreeSet<_> = outputs.iter().map(|output| output["now"].as_u64().unwrap() / 100).collect();
    assert_eq!(times.len(), ticks.len(), "each has an interval of its own");
    let log = ended.log.join("\n");
    assert!(log.contains("3 events in ") && log.contains(&format!("{} outputs written", ticks.len())), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_sink_is_away_there_is_no_further_tick() {
    let mut server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "", "");
    let mut router = Router::spawn(folder.command());
    let admin = running(&mut router);
    flow::outputs_until(&context, "the first ticks", |outputs| outputs.len() >= 2).await;
    server.terminate();
    let calls = || metric(admin, "trommel_filter_ticks_total{name=\"ticker\"}");
    let before = calls();
    // The outage lasts for ten intervals.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let during = calls() - before;
    assert!(during <= 1.0, "{during} ticks while the sink was away");
    server.start_again().await;
    let count = (before + during) as usize + 2;
    let outputs = flow::outputs_until(&context, "ticks after the outage", |outputs| outputs.len() >= count).await;
    let ticks: Vec<_> = outputs.iter().map(|(_, output)| output["tick"].as_u64().unwrap()).collect();
    assert_eq!(ticks, (1..=ticks.len() as u64).collect::<Vec<_>>(), "none is lost, none came twice");
    assert!(outputs.iter().all(|(subject, _)| subject == "out.all"), "{outputs:?}");
    router.wait_for("a tick takes longer than its interval");
    assert!(router.stop().status.success());
}

/// The other one takes over when it dies.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_routers_with_one_state_one_ticks() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = format!("{}{GRANT}{ADMIN}[state]\nstore = \"nats\"\n", flow::settings(&server.url(), "", ""));
    let folder = || Folder::new(&settings).write("keys/all.toml", &key("", "")).plugin("ticker", "ticker");
    let (one, other) = (folder(), folder());
    let (mut first, mut second) = (Router::spawn(one.command()), Router::spawn(other.command()));
    let admins = [running(&mut first), running(&mut second)];
    let calls = || admins.map(|admin| metric(admin, "trommel_filter_ticks_total{name=\"ticker\"}"));
    let outputs = flow::outputs_until(&context, "ticks", |outputs| outputs.len() >= 10).await;
    let ticks: Vec<_> = outputs.iter().map(|(_, output)| output["tick"].as_u64().unwrap()).collect();
    assert_eq!(ticks, (1..=ticks.len() as u64).collect::<Vec<_>>());
    let [by_first, by_second] = calls();
    assert!((by_first == 0.0) != (by_second == 0.0), "both tick: {by_first} and {by_second}");
    let (dies, mut lives) = if by_first > 0.0 { (first, second) } else { (second, first) };
    dies.kill();
    let ticks_go_on = async || {
        let before = stored(&context).await;
        until("further ticks", async || stored(&context).await >= before + 5).await;
    };
    ticks_go_on().await;
    let third = folder();
    let begins = Router::spawn(third.command());
    // One that ends in good order is followed sooner than its lease would allow.
    lives.signal(rustix::process::Signal::TERM);
    assert!(lives.end().status.success());
    ticks_go_on().await;
    assert!(begins.stop().status.success());
}

/// The server does not deliver the event again meanwhile, though it waits for the acknowledgement a
/// shorter time.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_waits_for_its_time_and_its_event_with_it() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "ack_wait = \"1s\"", r#"mode = "later", argument = "1 -\n2 3000""#);
    let mut router = folder.start();
    let began = Instant::now();
    flow::publish(&context, 0..1, 1).await;
    flow::outputs_until(&context, "the first output", |outputs| outputs.len() == 1).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let outputs = flow::outputs_until(&context, "the second output", |outputs| outputs.len() == 2).await;
    assert!(began.elapsed() >= Duration::from_millis(2_900), "{:?}", began.elapsed());
    let payloads: Vec<_> = outputs.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, [1, 2]);
    until("the event is settled", async || flow::unsettled(&context).await == 0).await;
    assert_eq!(flow::consumer(&context).await.delivered.consumer_sequence, 1, "it was delivered once");
    router.signal(rustix::process::Signal::TERM);
    assert!(router.end().status.success());
}

/// Nothing waits for it at a stop, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_waits_survives_a_restart() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let folder = streams(&server, "", r#"mode = "later", argument = "1 -\n2 60000""#);
    let router = folder.start();
    flow::publish(&context, 0..1, 1).await;
    flow::outputs_until(&context, "the first output", |outputs| outputs.len() == 1).await;
    let began = Instant::now();
    let ended = router.stop();
    assert!(ended.status.success() && began.elapsed() < Duration::from_secs(20), "{:?} {ended:?}", began.elapsed());
    let folder = folder.write("keys/all.toml", &key("", r#"mode = "later", argument = "1 -\n2 100""#));
    let router = folder.start();
    let outputs = flow::outputs_until(&context, "the second output", |outputs| outputs.len() == 2).await;
    let payloads: Vec<_> = outputs.into_iter().map(|(_, payload)| payload).collect();
    assert_eq!(payloads, [1, 2], "the first was known already");
    assert!(router.stop().status.success());
}

#[test]
fn metrics_of_a_filter_are_shown_and_unknown_ones_told_once() {
    let folder = lines("", r#"mode = "measure", argument = "seen 2\nunknown 1\nunknown 2\nlevel much\nseen -5""#);
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let admin = running(&mut router);
    stdin.write_all(b"{}\n{}\n").unwrap();
    blocking::until("both events", || outputs(&folder).len() == 2);
    let value = |kind: &str, name: &str| {
        metric(admin, &format!("trommel_filter_custom_{kind}{{name=\"ticker\",key=\"all\",metric=\"{name}\"}}"))
    };
    assert_eq!(value("counter_total", "seen"), 6.0, "1 and 2 of each event; less than nothing is no count");
    assert_eq!(value("gauge", "level"), 2.0, "what is not a number is passed over");
    assert_eq!((value("histogram_count", "sizes"), value("histogram_sum", "sizes")), (2.0, 3.0));
    assert!(!get(admin, "/metrics").1.contains("unknown"));
    drop(stdin);
    let log = router.end().log.join("\n");
    assert_eq!(log.matches("a metric that its manifest does not have").count(), 1, "{log}");
}

#[test]
fn a_filter_measures_in_matches_too() {
    let folder = lines("", r#"mode = "match""#);
    let (mut router, mut stdin) = folder.spawn_with_stdin();
    let admin = running(&mut router);
    stdin.write_all(b"{}\n").unwrap();
    let line = "trommel_filter_custom_counter_total{name=\"ticker\",key=\"all\",metric=\"seen\"}";
    blocking::until("both calls", || metric(admin, line) == 2.0);
    drop(stdin);
    assert!(router.end().status.success());
}

/// Such a dead letter holds what the filter made, which can be read but not sent through again.
#[test]
fn the_dead_letter_of_a_tick_says_that_there_is_no_event() {
    let folder = lines("[key.schema.custom]\ninline = { type = \"object\" }", r#"mode = "text""#);
    let (mut router, stdin) = folder.spawn_with_stdin();
    blocking::until("a dead letter", || folder.read("dead.ndjson").lines().count() >= 2);
    drop(stdin);
    assert!(router.end().status.success());
    let list = folder.trommel(&["dlq", "list"]).args(["--json", "--limit", "1"]).output().unwrap();
    let letter: Value = serde_json::from_slice(list.stdout.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    assert_eq!(
        [&letter["reason"], &letter["source"], &letter["payload_text"], &letter["route"]],
        ["schema_mismatch", "filter ticks", "no JSON", "only"]
    );
    let retried = folder.trommel(&["dlq", "retry"]).args(["--all", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&retried.stdout).into_owned();
    assert!(said.contains("no_event") && said.contains("an output that a filter made at a tick"), "{said}");
    assert!(folder.read("dead.ndjson").lines().count() >= 2, "it stays");
}

/// A tick is a case like an event, and finds in the state what those before it left there.
#[test]
fn ticks_are_cases_too() {
    let test = |component: &str, cases: &str| {
        let folder = Folder::new("").plugin("plugin", component).write("plugins/tests/cases.ndjson", cases);
        let output = trommel().args(["plugin", "test"]).arg(folder.file("plugins")).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let tick = |expect: &str| format!(r#"{{"tick":1767225600000,"expect":{expect}}}"#) + "\n";
    let event = "{\"event\":{\"payload\":1},\"expect\":\"dropped\"}\n";
    let made = r#"{"emitted":[{"payload":{"tick":2,"events":2,"now":1767225600000}}]}"#;
    let said = test("ticker", &[event, &tick("\"emitted\""), event, &tick(made)].concat());
    assert!(said.ends_with("4 passed, 0 failed\n"), "{said}");
    let said = test("select", &tick("\"emitted\""));
    assert!(
        said.contains("case `line 1` is a tick, and `hooks` of the filter's manifest does not have `tick`"),
        "{said}"
    );
    let said = test("ticker", r#"{"event":{},"tick":1,"expect":"kept"}"#);
    assert!(said.contains("1:1: a case has an `event` or a `tick`, not both"), "{said}");
}

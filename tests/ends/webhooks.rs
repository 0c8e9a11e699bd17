//! Webhooks from end to end: what a router takes it delivers at least once, to whom it belongs,
//! whatever happens to it.

use crate::flow;
use crate::nats;
use crate::patience::blocking::until;
use crate::router;
use crate::stand_in;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
};

use nats::NatsServer;
use router::Folder;
use stand_in::{Reply, Seen, StandIn, ok};
use trommel::webhook::store::{Delivery, DeliveryQuery, DeliveryState, DeliveryStore};

const SETTINGS: &str = r#"
[[source]]
name = "in"
type = "lines"
id = "/id"
event_type = "/type"
SOURCE

[[sink]]
name = "hooks"
type = "webhook"
"#;

const ROUTE: &str = r#"
[[route]]
fallthrough = true
sinks = ["hooks"]
"#;

fn webhook(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "[[webhook]]\nname = \"{name}\"\nurl = \"http://{address}/{name}?token=u-5ecret\"\nallow_private = true\n\
         secret_file = \"secret\"\n{more}\n"
    )
}

fn folder(source: &str, webhooks: &str) -> Folder {
    let settings = SETTINGS.replace("SOURCE", source);
    Folder::new(&settings)
        .write("keys/routes.toml", ROUTE)
        .write("keys/webhooks.toml", webhooks)
        .write("secret", "s-5ecret\n")
}

const FROM_FILE: &str = "path = \"events.ndjson\"";

fn event(id: usize, event_type: &str) -> String {
    format!("{{\"id\":\"{id}\",\"type\":\"{event_type}\"}}\n")
}

fn events(count: usize) -> String {
    (0..count).map(|id| event(id, "instance.created")).collect()
}

fn list(folder: &Folder) -> Vec<Delivery> {
    let store = DeliveryStore::open(&folder.file("deliveries.db")).unwrap();
    store.list(&DeliveryQuery::default(), u32::MAX).unwrap()
}

fn states(folder: &Folder) -> BTreeMap<DeliveryState, usize> {
    let mut states = BTreeMap::new();
    list(folder).iter().for_each(|delivery| *states.entry(delivery.state).or_default() += 1);
    states
}

/// Webhook and body of what came in, in order.
fn got(seen: &[Seen]) -> Vec<(String, String)> {
    let name = |seen: &Seen| seen.line.trim_start_matches("POST /").split('?').next().unwrap().to_owned();
    seen.iter().map(|seen| (name(seen), seen.body.clone())).collect()
}

/// C20 to C22, and nothing secret is ever shown.
#[test]
fn every_output_is_posted_to_who_wants_it() {
    let receiver = StandIn::new(|_, _| ok(""));
    let webhooks = [("all", ""), ("created", "events = [\"instance.created\"]"), ("off", "active = false")];
    let webhooks: String = webhooks.iter().map(|(name, more)| webhook(name, receiver.address, more)).collect();
    let folder = folder(FROM_FILE, &webhooks);
    let lines = [event(1, "instance.created"), event(2, "instance.stopped")];
    let folder = folder.write("events.ndjson", &lines.concat());
    let mut command = folder.command();
    let ended = command.args(["--log", "trace"]).output().unwrap();
    let log = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{log}");
    for secret in ["s-5ecret", "u-5ecret"] {
        assert!(!log.contains(secret), "{log}");
    }
    let mut got = got(&receiver.seen());
    got.sort();
    let expected = [("all", &lines[0]), ("all", &lines[1]), ("created", &lines[0])];
    assert_eq!(got, expected.map(|(name, line)| (name.to_owned(), line.trim_end().to_owned())));
    assert_eq!(states(&folder), BTreeMap::from([(DeliveryState::Delivered, 3)]));
    let first = list(&folder).into_iter().find(|delivery| delivery.webhook == "created").unwrap();
    assert_eq!((first.event_id.as_str(), first.event_type.as_str()), ("1", "instance.created"));
    assert_eq!((first.attempts, first.status_code, first.error), (1, Some(200), None));
    assert_eq!(fs::metadata(folder.file("deliveries.db")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// The dedup window is gone with the first run, and the events come a second time.
#[test]
fn events_that_come_again_are_not_posted_again() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder(FROM_FILE, &webhook("a", receiver.address, "")).write("events.ndjson", &events(20));
    for _ in 0..2 {
        let ended = folder.run();
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(receiver.seen().len(), 20);
}

#[test]
fn a_receiver_that_fails_is_tried_again() {
    let receiver = StandIn::new(|before, _| match before {
        0 => Reply::Answer("500 Internal Server Error", &[], b"ouch".to_vec()),
        1 => Reply::Answer("429 Too Many Requests", &["Retry-After: 1"], Vec::new()),
        2 => Reply::Answer("503 Service Unavailable", &["Retry-After: 1"], Vec::new()),
        _ => ok(""),
    });
    let (Running { folder, router }, mut input) = folder_with_input(&webhook("a", receiver.address, ""));
    input.write_all(event(1, "a").as_bytes()).unwrap();
    until("there is a first answer", || list(&folder).first().is_some_and(|delivery| delivery.attempts == 1));
    let first = list(&folder).remove(0);
    assert_eq!((first.state, first.error.as_deref()), (DeliveryState::Pending, Some("it answered 500")));
    let pause = first.next_retry.unwrap().duration_since(first.updated).as_secs_f64();
    assert!((4.0..=6.0).contains(&pause), "{pause}");
    until("it is delivered", || list(&folder)[0].state == DeliveryState::Delivered);
    let last = list(&folder).remove(0);
    assert_eq!((last.id, last.attempts, last.status_code), (first.id, 4, Some(200)));
    let ids: BTreeSet<_> = receiver.seen().iter().map(|seen| seen.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!(ids, BTreeSet::from([first.id.to_string()]));
    router.stop();
}

struct Running {
    folder: Folder,
    router: router::Router,
}

/// A router that reads what the test writes.
fn folder_with_input(webhooks: &str) -> (Running, std::io::PipeWriter) {
    let folder = folder("", webhooks);
    let (mut router, input) = folder.spawn_with_stdin();
    router.wait_for("running");
    (Running { folder, router }, input)
}

/// What a receiver has not taken when a run ends is there for the next run.
#[test]
fn deliveries_outlive_the_router() {
    let receiver = StandIn::new(|before, _| match before {
        0..10 => Reply::Answer("503 Service Unavailable", &["Retry-After: 1"], Vec::new()),
        _ => ok(""),
    });
    let folder = folder(FROM_FILE, &webhook("a", receiver.address, "")).write("events.ndjson", &events(10));
    let ended = folder.run();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(states(&folder), BTreeMap::from([(DeliveryState::Pending, 10)]));
    let folder = folder.write("events.ndjson", "").write("trommel.toml", &SETTINGS.replace("SOURCE", ""));
    let (mut router, input) = folder.spawn_with_stdin();
    router.wait_for("running");
    until("everything is delivered", || states(&folder) == BTreeMap::from([(DeliveryState::Delivered, 10)]));
    let ids: BTreeSet<_> = receiver.seen().iter().map(|seen| seen.header("webhook-id").unwrap().to_owned()).collect();
    assert_eq!((receiver.seen().len(), ids.len()), (20, 10));
    drop(input);
    assert!(router.end().status.success());
}

#[test]
fn a_reload_changes_who_gets_what() {
    let receiver = StandIn::new(|_, _| ok(""));
    let (Running { folder, mut router }, mut input) = folder_with_input(&webhook("a", receiver.address, ""));
    input.write_all(event(1, "x").as_bytes()).unwrap();
    until("the first is there", || receiver.seen().len() == 1);
    folder.put("keys/webhooks.toml", webhook("b", receiver.address, "").as_bytes());
    router.wait_for("reloaded");
    input.write_all(event(2, "x").as_bytes()).unwrap();
    until("the second is there", || receiver.seen().len() == 2);
    folder.put("keys/webhooks.toml", webhook("c", receiver.address, "colour = \"red\"").as_bytes());
    router.wait_for("unknown field `colour`");
    input.write_all(event(3, "x").as_bytes()).unwrap();
    until("the third is there", || receiver.seen().len() == 3);
    let names: Vec<_> = got(&receiver.seen()).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["a", "b", "b"]);
    router.stop();
}

#[test]
fn a_receiver_that_is_gone_gets_no_more() {
    let receiver = StandIn::new(|_, _| Reply::Answer("410 Gone", &[], Vec::new()));
    let (Running { folder, mut router }, mut input) = folder_with_input(&webhook("a", receiver.address, ""));
    input.write_all(event(1, "x").as_bytes()).unwrap();
    router.wait_for("it answered 410");
    until("it is disabled", || {
        !DeliveryStore::open(&folder.file("deliveries.db")).unwrap().disabled().unwrap().is_empty()
    });
    input.write_all(event(2, "x").as_bytes()).unwrap();
    drop(input);
    assert!(router.end().status.success());
    assert_eq!((receiver.seen().len(), states(&folder)), (1, BTreeMap::from([(DeliveryState::Failed, 1)])));
}

const FROM_STREAM: &str = r#"
[[stream]]
name = "IN"
subjects = ["in.>"]

[[source]]
name = "in"
type = "jetstream"
stream = "IN"
durable = "trommel"

[[sink]]
name = "hooks"
type = "webhook"
"#;

/// C24
#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_events_reach_its_own_webhooks_alone() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let receiver = StandIn::new(|_, _| ok(""));
    let scopes = [("none", ""), ("t1", "tenant = \"t1\""), ("t2", "tenant = \"t2\""), ("any", "tenant = \"*\"")];
    let webhooks: String = scopes.iter().map(|(name, more)| webhook(name, receiver.address, more)).collect();
    let settings = format!("[nats]\nurl = \"{}\"\n{FROM_STREAM}", server.url());
    let folder = folder("", &webhooks).write("trommel.toml", &settings);
    let router = folder.start();
    for (body, tenant) in [("0", None), ("1", Some("t1")), ("2", Some("t2")), ("3", Some("t3"))] {
        let mut headers = async_nats::HeaderMap::new();
        tenant.into_iter().for_each(|tenant| headers.append("tenant", tenant));
        context.publish_with_headers("in.a", headers, body.into()).await.unwrap().await.unwrap();
    }
    until("everything is delivered", || receiver.seen().len() == 7);
    assert!(router.stop().status.success());
    let mut got = got(&receiver.seen());
    got.sort();
    let expected = [("any", "0"), ("any", "1"), ("any", "2"), ("any", "3"), ("none", "0"), ("t1", "1"), ("t2", "2")];
    assert_eq!(got, expected.map(|(name, body)| (name.to_owned(), body.to_owned())));
}

/// Killed twice in the middle of it.
#[test]
fn ten_thousand_deliveries_survive_kill_9() {
    const EVENTS: usize = 2_500;
    let receiver = StandIn::new(|_, _| ok(""));
    let names = ["a", "b", "c", "d"];
    let webhooks: String = names.iter().map(|name| webhook(name, receiver.address, "concurrency = 16")).collect();
    let folder = folder(FROM_FILE, &webhooks).write("events.ndjson", &events(EVENTS));
    for seen in [1_000, 5_000] {
        let router = router::Router::spawn(folder.command());
        until("some are delivered", || receiver.seen().len() >= seen);
        router.kill();
    }
    let ended = folder.run();
    assert!(ended.status.success(), "{ended:?}");
    until("everything is delivered", || states(&folder) == BTreeMap::from([(DeliveryState::Delivered, EVENTS * 4)]));
    let seen = receiver.seen();
    let mut ids: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    for (what, seen) in got(&seen).into_iter().zip(&seen) {
        ids.entry(what).or_default().insert(seen.header("webhook-id").unwrap().to_owned());
    }
    assert_eq!(ids.len(), EVENTS * 4);
    assert!(ids.values().all(|ids| ids.len() == 1), "a repeat has the same id");
    // What was under way when it was killed is sent again, and not much else.
    assert!(seen.len() <= EVENTS * 4 + 2 * 2_000, "{} requests", seen.len());
}

/// A router that can't use its deliveries does not start, and leaves them as they are.
#[test]
fn a_database_that_was_cut_off_stops_the_start() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder(FROM_FILE, &webhook("a", receiver.address, "")).write("events.ndjson", &events(500));
    assert!(folder.run().status.success());
    let whole = fs::read(folder.file("deliveries.db")).unwrap();
    for length in [0, 50, 4096, whole.len() / 2] {
        fs::write(folder.file("deliveries.db"), &whole[..length]).unwrap();
        let ended = folder.run();
        let log = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{log}");
        let what = if length == 0 { "is empty" } else { "is cut off" };
        assert!(log.contains("could not open sink `hooks`: database `") && log.contains(what), "{log}");
        assert_eq!(fs::read(folder.file("deliveries.db")).unwrap(), whole[..length]);
    }
    assert_eq!(receiver.seen().len(), 500);
}

#[test]
fn counters_are_on_the_metrics_page() {
    let receiver = StandIn::new(|_, _| ok(""));
    let folder = folder("", &webhook("a", receiver.address, ""));
    let settings = folder.read("trommel.toml") + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let folder = folder.write("trommel.toml", &settings);
    let (mut router, mut input) = folder.spawn_with_stdin();
    let admin = router.admin();
    router.wait_for("running");
    input.write_all(event(1, "x").as_bytes()).unwrap();
    for line in ["delivered_total{name=\"a\"} 1", "failed_total{name=\"a\"} 0", "pending{name=\"a\"} 0"] {
        let line = format!("trommel_webhook_deliveries_{line}");
        until(&line, || router::get(admin, "/metrics").1.contains(&line));
    }
    router.stop();
}

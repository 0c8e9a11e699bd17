//! `trommel doctor` as a user meets it: on real servers, with what goes wrong there.

use crate::nats;
use crate::router;

use std::{
    fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::Stdio,
    time::Duration,
};

use async_nats::jetstream::{self, consumer, stream};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::StreamExt as _;
use nats::NatsServer;
use router::Folder;
use serde_json::Value;

const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";

/// What a doctor said: exit code and findings.
struct Diagnosis {
    code: i32,
    findings: Vec<Value>,
}

impl Diagnosis {
    fn of(folder: &Folder) -> Self {
        Self::with(folder, &[])
    }

    fn with(folder: &Folder, arguments: &[&str]) -> Self {
        let output = folder.trommel(&["doctor"]).arg("--json").args(arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let json: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        assert_eq!(json["ok"].as_bool().unwrap(), output.status.success());
        Self { code: output.status.code().unwrap(), findings: json["findings"].as_array().unwrap().clone() }
    }

    /// The level of the finding of this area whose message contains the text, and its line.
    fn find(&self, area: &str, text: &str) -> (&str, Option<u64>) {
        let is_it = |finding: &&Value| finding["area"] == area && finding["message"].as_str().unwrap().contains(text);
        let found = self.findings.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("no finding of {area} with `{text}`: {:#?}", self.findings));
        let is_ok = found["level"] == "ok";
        assert!(is_ok || found["subtype"].is_string(), "{found}");
        (found["level"].as_str().unwrap(), found["line"].as_u64())
    }

    /// Messages of all that is not fine.
    fn troubles(&self) -> Vec<&str> {
        let troubles = self.findings.iter().filter(|finding| finding["level"] != "ok");
        troubles.map(|finding| finding["message"].as_str().unwrap()).collect()
    }
}

/// The folder of `examples/jetstream`, at this server.
fn example(url: &str) -> Folder {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/jetstream");
    let read = |name: &str| fs::read_to_string(example.join(name)).unwrap();
    let settings = read("trommel.toml").replace("nats://127.0.0.1:4222", url).replace("../../plugins", "plugins");
    let folder = Folder::new(&settings).plugin("select", "select").plugin("redact", "redact");
    folder.write("keys/orders.toml", &read("keys/orders.toml")).write("keys/refusals.toml", &read("keys/refusals.toml"))
}

/// A router from lines to a sink, with these further settings.
fn lines(settings: &str) -> Folder {
    Folder::new(&format!("{}\n[dead_letter]\nfile = \"dead.ndjson\"\n{settings}", router::TO_STDOUT))
        .write("keys/a.toml", "[[key]]\nkey = \"a\"\nsubject = \"a\"\n[[route]]\nkey = \"a\"\nsinks = [\"out\"]\n")
}

/// Entries of the printed block, by the list that they are in.
fn entries(block: &str) -> [Vec<String>; 2] {
    let (publish, subscribe) = block.split_once("subscribe = [").unwrap();
    [publish, subscribe].map(|list| {
        let lines = list.lines().map(str::trim).filter(|line| line.starts_with('"'));
        lines.map(|line| line.trim_matches('"').to_owned()).collect()
    })
}

/// A user with these permissions.
fn user(name: &str, [publish, subscribe]: [&[String]; 2]) -> String {
    format!("{{ user: {name}, password: x, permissions: {{ publish: {publish:?}, subscribe: {subscribe:?} }} }}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_folder_at_a_good_server_has_nothing_and_nothing_is_changed() {
    let server = NatsServer::start().await;
    let folder = example(&server.url());
    let diagnosis = Diagnosis::with(&folder, &["--deny-warnings"]);
    assert_eq!((diagnosis.code, diagnosis.troubles()), (0, Vec::new()));
    assert_eq!(diagnosis.find("server", "nats-server 2."), ("ok", None));
    assert_eq!(diagnosis.find("streams", "`ORDERS` is not there yet").0, "ok");
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    assert_eq!(context.stream_names().count().await, 0);
    assert!(!folder.file("state").exists());
    let text = folder.trommel(&["doctor"]).output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("folder:      2 keys, 2 routes, "), "{text}");
    assert!(text.ends_with(": 0 errors, 0 warnings\n"), "{text}");
}

/// The printed block is enough for the router and for its doctor, and each of its entries is missed.
#[tokio::test(flavor = "multi_thread")]
async fn the_printed_permissions_are_all_that_the_router_needs() {
    let printed = example("nats://127.0.0.1:1").trommel(&["doctor"]).arg("--permissions").output().unwrap();
    let block = String::from_utf8(printed.stdout).unwrap();
    let [publish, subscribe] = entries(&block);
    assert!(publish.len() > 15 && subscribe == ["_INBOX.>"], "{block}");
    let mut users = format!("{{ user: router, password: x, {block} }}\n");
    for index in 0..publish.len() {
        let mut others = publish.clone();
        others.remove(index);
        users.push_str(&user(&format!("lacks{index}"), [&others, &subscribe]));
    }
    users.push_str(&user("deaf", [&publish, &["elsewhere".to_owned()]]));
    let accounts = format!(
        "accounts {{ A {{ jetstream: enabled, users: [ {{ user: all, password: x }}\n{users} ] }} }}\nno_auth_user: all"
    );
    let server = NatsServer::with_config(&accounts).await;
    let url = |user: &str| server.url().replace("//", &format!("//{user}:x@"));

    let folder = example(&url("router"));
    let before = Diagnosis::with(&folder, &["--deny-warnings"]);
    assert_eq!((before.code, before.troubles()), (0, Vec::new()));
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut alerts = client.subscribe("alerts.>").await.unwrap();
    client.flush().await.unwrap();
    let running = folder.start();
    let context = jetstream::new(client.clone());
    let order = r#"{"number":2,"amount":1250.00,"customer":"c-1078"}"#;
    context.publish("orders.eu.created", order.into()).await.unwrap().await.unwrap();
    let alert = tokio::time::timeout(router::PATIENCE, alerts.next()).await.unwrap().unwrap();
    assert_eq!(alert.subject.as_str(), "alerts.orders.eu.created");
    let while_it_runs = Diagnosis::with(&folder, &["--deny-warnings"]);
    assert_eq!((while_it_runs.code, while_it_runs.troubles()), (0, Vec::new()));
    assert_eq!(while_it_runs.find("folder", "a router runs from it as process").0, "ok");
    let ended = running.stop();
    assert!(ended.status.success() && !ended.log.iter().any(|line| line.contains("no permission")), "{ended:#?}");

    for (index, entry) in publish.iter().enumerate() {
        let lacking = Diagnosis::of(&example(&url(&format!("lacks{index}"))));
        let named = lacking.findings.iter().filter(|finding| finding["level"] != "ok");
        let mut named = named.map(|finding| format!("{} {}", finding["message"], finding["hint"]));
        assert!(named.any(|text| text.contains(&format!("`{entry}`"))), "`{entry}`: {:#?}", lacking.findings);
    }
    let deaf = Diagnosis::of(&example(&url("deaf")));
    assert_eq!(deaf.find("permissions", "no permission to subscribe to `_INBOX.>`").0, "error");
}

/// A user that may not ask for its permissions has its requests tried, and nothing comes of them.
#[tokio::test(flavor = "multi_thread")]
async fn permissions_that_are_not_told_are_tried() {
    let publish = ["$JS.API.INFO", "$JS.API.STREAM.INFO.*"].map(str::to_owned);
    let limited = user("limited", [&publish, &["_INBOX.>".to_owned()]]);
    let users =
        format!("accounts {{ A {{ jetstream: enabled, users: [ {{ user: all, password: x }}\n{limited} ] }} }}");
    let server = NatsServer::with_config(&format!("{users}\nno_auth_user: all")).await;
    let diagnosis = Diagnosis::of(&example(&server.url().replace("//", "//limited:x@")));
    assert_eq!(diagnosis.code, 2);
    assert_eq!(diagnosis.find("permissions", "the server does not tell the permissions").0, "warning");
    assert_eq!(diagnosis.find("permissions", "`$JS.API.CONSUMER.MSG.NEXT.ORDERS.trommel`").0, "error");
    assert_eq!(diagnosis.find("permissions", "`$JS.ACK.ORDERS.trommel.>`").0, "error");
    let troubles = diagnosis.troubles();
    assert!(!troubles.iter().any(|text| text.contains("to publish to `$JS.API.STREAM.INFO")), "{troubles:#?}");
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    assert_eq!(context.stream_names().count().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_without_jetstream_is_told() {
    let server = NatsServer::with_config("accounts { N { users: [{ user: n, password: x }] } }\nno_auth_user: n").await;
    let diagnosis = Diagnosis::of(&example(&server.url()));
    assert_eq!(diagnosis.code, 2);
    assert_eq!(diagnosis.find("server", "there is no JetStream for this account").0, "error");
    // Once is enough.
    assert_eq!(diagnosis.troubles().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_the_account_that_a_run_would_break_are_told() {
    let account = "accounts { A { jetstream: { max_streams: 2, max_consumers: 1, max_bytes_required: true, max_ack_pending: 1000 }, \
        users: [{ user: a, password: x }] } }\nno_auth_user: a";
    let server = NatsServer::with_config(account).await;
    let diagnosis = Diagnosis::of(&example(&server.url()));
    assert_eq!(diagnosis.find("streams", "a run makes 3 streams, and the account has 0 of 2").0, "error");
    assert_eq!(diagnosis.find("streams", "stream `ORDERS` has no `max_bytes`"), ("error", Some(10)));
    assert_eq!(diagnosis.find("server", "messages unacknowledged, and the account allows 1000").0, "error");
    let more = "[[source]]\nname = \"more\"\ntype = \"jetstream\"\nstream = \"ORDERS\"\ndurable = \"more\"\n";
    let folder = example(&server.url());
    let settings = folder.read("trommel.toml") + more;
    let diagnosis = Diagnosis::of(&folder.write("trommel.toml", &settings));
    assert_eq!(diagnosis.find("consumers", "a run makes 2 consumers, and the account has 0 of 1").0, "error");
}

/// What the server has, against what the folder declares.
#[tokio::test(flavor = "multi_thread")]
async fn streams_and_consumers_that_do_not_fit_are_told_apart() {
    let server = NatsServer::start().await;
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let make = async |name: &str, subjects: &[&str], storage| {
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        let (name, duplicate_window) = (name.to_owned(), Duration::from_secs(10));
        let config = stream::Config { name, subjects, storage, duplicate_window, ..Default::default() };
        context.create_stream(config).await.unwrap()
    };
    make("EUROPE", &["orders.eu.>"], stream::StorageType::File).await;
    make("ALERTS", &["alerts.>"], stream::StorageType::Memory).await;
    let events = make("EVENTS", &["events.>"], stream::StorageType::File).await;
    let consumer_limits = Some(stream::ConsumerLimits { max_ack_pending: 100, inactive_threshold: Duration::ZERO });
    let limited = stream::Config { name: "LIMITED".into(), consumer_limits, ..Default::default() };
    context.create_stream(limited).await.unwrap();
    let none = consumer::AckPolicy::None;
    for (durable, ack_policy) in [("fixed", none), ("foreign", consumer::AckPolicy::Explicit)] {
        let headers_only = durable == "foreign";
        let config = consumer::pull::Config {
            durable_name: Some(durable.into()),
            ack_policy,
            headers_only,
            ..Default::default()
        };
        events.create_consumer(config).await.unwrap();
    }
    let source = |name: &str, stream: &str, durable: &str, more: &str| {
        format!(
            "[[source]]\nname = \"{name}\"\ntype = \"jetstream\"\nstream = \"{stream}\"\ndurable = \"{durable}\"\n{more}\n"
        )
    };
    let sources = [
        source("fixed", "EVENTS", "fixed", ""),
        source("foreign", "EVENTS", "foreign", ""),
        source("outside", "EVENTS", "outside", "subjects = [\"invoices.>\"]"),
        source("nowhere", "EVENT", "nowhere", ""),
        source("limited", "LIMITED", "limited", ""),
    ];
    let sink =
        |name: &str, subject: &str| format!("[[sink]]\nname = \"{name}\"\ntype = \"nats\"\nsubject = \"{subject}\"\n");
    let settings = format!(
        "[nats]\nurl = \"{}\"\n[dead_letter]\nfile = \"dead.ndjson\"\n\
         [[stream]]\nname = \"ORDERS\"\nsubjects = [\"orders.>\"]\n\
         [[stream]]\nname = \"ALERTS\"\nsubjects = [\"alerts.>\"]\nstorage = \"file\"\nmax_age = \"1h\"\n{}{}{}",
        server.url(),
        sources.concat(),
        sink("alerts", "alerts.{event_type}"),
        sink("lost", "lost.{event_type}"),
    );
    let route = "[[key]]\nkey = \"a\"\nsubject = \">\"\n[[route]]\nkey = \"a\"\nsinks = [\"alerts\", \"lost\"]\n";
    let folder = Folder::new(&settings).write("keys/a.toml", route);
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!(diagnosis.code, 2);
    let overlap = "stream `ORDERS` can't have `orders.>`: stream `EUROPE` has `orders.eu.>`";
    assert_eq!(diagnosis.find("streams", overlap), ("error", Some(5)));
    assert_eq!(diagnosis.find("streams", "stream `ALERTS` can't be changed: `storage`"), ("error", Some(8)));
    assert_eq!(diagnosis.find("streams", "a run changes stream `ALERTS`: `max_age`"), ("warning", Some(8)));
    assert_eq!(
        diagnosis.find("consumers", "consumer `fixed` of stream `EVENTS` can't be changed: `ack_policy`").0,
        "error"
    );
    assert_eq!(diagnosis.find("consumers", "`headers_only` is true").0, "error");
    assert_eq!(
        diagnosis.find("consumers", "asks stream `EVENTS` for `invoices.>`, and that has only `events.>`").0,
        "error"
    );
    assert_eq!(diagnosis.find("consumers", "source `limited` lets a consumer have 100 open messages").0, "warning");
    let nowhere = diagnosis.findings.iter().find(|finding| finding["message"].as_str().unwrap().contains("`EVENT`"));
    assert_eq!(nowhere.unwrap()["hint"], "did you mean `EVENTS`?");
    assert_eq!(diagnosis.find("sinks", "no stream takes what sink `lost` publishes to `lost.{event_type}`").0, "error");
    assert_eq!(
        diagnosis.find("sinks", "stream `ALERTS` forgets ids after 10s, and sink `alerts` may repeat").0,
        "warning"
    );
}

/// An address that is away doesn't keep the others from being looked at.
#[tokio::test(flavor = "multi_thread")]
async fn each_address_of_the_server_is_tried() {
    let server = NatsServer::start().await;
    let away = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let both = format!("nats://{away}\", \"{}", server.url());
    let folder = example("URL");
    let settings = folder.read("trommel.toml").replace("url = \"URL\"", &format!("url = [\"{both}\"]"));
    let folder = folder.write("trommel.toml", &settings);
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!(diagnosis.find("server", &format!("can't connect to NATS at `nats://{away}`")), ("warning", Some(6)));
    assert_eq!(diagnosis.find("server", &format!("at `{}`", server.url())).0, "ok");
    assert_eq!(diagnosis.find("streams", "`ORDERS`").0, "ok");
    assert_eq!((diagnosis.code, Diagnosis::with(&folder, &["--deny-warnings"]).code), (0, 2));
    let alone = Diagnosis::of(&example(&format!("nats://{away}")));
    assert_eq!((alone.code, alone.find("server", "can't connect to NATS")), (2, ("error", Some(6))));
}

#[test]
fn credentials_that_have_ended_are_told() {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":1700000000}"#);
    let creds = format!(
        "-----BEGIN NATS USER JWT-----\neyJ0.{claims}.x\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
    );
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(2021, 2, 3);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = parameters.self_signed(&key).unwrap().pem();
    let nats = "[nats]\nurl = \"tls://127.0.0.1:1\"\ncredentials = \"router.creds\"\ntls_ca = \"ca.pem\"\n";
    let folder = lines(nats).write("router.creds", &creds).write("ca.pem", &ca);
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!(diagnosis.code, 2);
    assert_eq!(diagnosis.find("credentials", "router.creds` ended at 2023-11-14T22:13:20Z").0, "error");
    assert_eq!(diagnosis.find("credentials", "ca.pem` ended at 2021-02-03T00:00:00Z").0, "error");
    assert_eq!(diagnosis.find("folder", "all users of this machine can read `router.creds`").0, "warning");
    let text = format!("{:?}", diagnosis.findings);
    assert!(!text.contains(SEED) && !text.contains(&claims), "{text}");
}

#[test]
fn a_port_that_is_held_is_told_unless_the_router_holds_it() {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = held.local_addr().unwrap();
    let folder = lines(&format!("[admin]\nlisten = \"{address}\"\n"));
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!(diagnosis.code, 2);
    let (level, line) = diagnosis.find("machine", &format!("`[admin]` can't listen on {address}"));
    assert_eq!((level, line.is_some()), ("error", true));
    drop(held);
    assert_eq!(Diagnosis::of(&folder).find("machine", "`[admin]` can listen on").0, "ok");
    let (mut running, stdin) = folder.spawn_with_stdin();
    running.wait_for("running");
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!((diagnosis.code, diagnosis.find("machine", "`[admin]` listens on").0), (0, "ok"));
    drop(stdin);
    assert!(running.end().status.success());
}

/// The API is asked for nothing, so it learns no token.
#[test]
fn an_api_is_reached_without_a_request() {
    let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = api.local_addr().unwrap();
    let settings = |address: SocketAddr, more: &str| {
        format!(
            "[api]\nbase_url = \"http://{address}\"\ntoken_env = \"TROMMEL_TEST_TOKEN\"\nallow_private = true\n{more}"
        )
    };
    let folder = lines(&settings(address, ""));
    let mut doctor = folder.trommel(&["doctor"]);
    let doctor = doctor.arg("--json").env("TROMMEL_TEST_TOKEN", "topsecret").stdout(Stdio::piped()).spawn().unwrap();
    let (mut connection, _) = api.accept().unwrap();
    let mut sent = Vec::new();
    connection.read_to_end(&mut sent).unwrap();
    assert!(sent.is_empty(), "{sent:?}");
    let output = doctor.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(&format!("the API at `{address}` answers")), "{text}");
    drop(api);
    let output = folder.trommel(&["doctor"]).env("TROMMEL_TEST_TOKEN", "x").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(&format!("warning: the API at `{address}` does not answer")), "{text}");
}

#[test]
fn a_folder_without_a_server_has_no_permissions() {
    let output = lines("").trommel(&["doctor"]).arg("--permissions").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && text.starts_with("error: the configuration names no server"), "{text}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_folder_with_problems_has_those_of_check() {
    let folder = lines("[[sink]]\nname = \"other\"\ntype = \"nowhere\"\n");
    let diagnosis = Diagnosis::of(&folder);
    assert_eq!(diagnosis.code, 2);
    assert_eq!(diagnosis.find("folder", "nowhere").0, "error");
    assert_eq!(diagnosis.find("folder", "nothing else can be looked at").0, "warning");
}

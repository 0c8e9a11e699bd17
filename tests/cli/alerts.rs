//! A real Prometheus reads a real router: every query of the dashboard has an answer, and every
//! incident fires one alert.
//!
//! The program is `$PROMETHEUS`, else `prometheus` on `PATH`: Debian's package, which `.ci/run`
//! installs.

use crate::flow;
use crate::monitoring::{folder as busy_folder, start};
use crate::nats;
use crate::patience::until_ok;
use crate::router;

use std::{
    collections::BTreeSet,
    env, fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use async_nats::jetstream::{self, stream};
use flow::{connect, publish};
use nats::NatsServer;
use router::{Folder, Router, get};
use serde_json::Value;
use tempfile::TempDir;

const KEY: &str = r#"
    [[key]]
    key = "all"
    subject = "in.*"
    filter = "mischief"
    params = [{ name = "mode", type = "string" }]

    [[route]]
    key = "all"
    params = { mode = "log" }
    sinks = ["out"]
"#;

/// A Prometheus that reads one router once a second, with the rules as they are, but that they fire
/// after two seconds.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prometheus {
    fn start(router: SocketAddr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let rules = fs::read_to_string(deploy("alerts/trommel.yaml")).unwrap();
        let waits =
            |line: &str| line.trim().strip_prefix("for: ").map_or(line.to_owned(), |_| "        for: 2s".to_owned());
        let rules: Vec<_> = rules.lines().map(waits).collect();
        fs::write(dir.path().join("trommel.yaml"), rules.join("\n")).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [trommel.yaml]\nscrape_configs:\n  \
             - job_name: trommel\n    static_configs: [{{ targets: ['{router}'] }}]\n"
        );
        fs::write(dir.path().join("prometheus.yaml"), config).unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let program = env::var_os("PROMETHEUS").unwrap_or_else(|| "prometheus".into());
        let mut command = Command::new(&program);
        command.current_dir(dir.path()).args(["--config.file=prometheus.yaml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address={address}")).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        Self { child, address, _dir: dir }
    }

    /// What the query finds now; `None` while there is no answer.
    fn query(&self, query: &str) -> Option<Vec<Value>> {
        let query: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let mut stream = TcpStream::connect(self.address).ok()?;
        // Of 1.0: the answer comes in one piece.
        write!(stream, "GET /api/v1/query?query={query} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, json) = answer.split_once("\r\n\r\n")?;
        let found: Value = serde_json::from_str(json).ok()?;
        found["data"]["result"].as_array().cloned()
    }

    fn firing(&self) -> Option<BTreeSet<String>> {
        let alerts = self.query("group by (alertname) (ALERTS{alertstate=\"firing\"})")?;
        Some(alerts.iter().filter_map(|alert| Some(alert["metric"]["alertname"].as_str()?.to_owned())).collect())
    }

    /// Waits until this alert fires, or none if it is empty. Any other that fires meanwhile is one
    /// too many.
    async fn until_fires(&self, alert: &str, before: &str) {
        let wanted: BTreeSet<_> = Some(alert.to_owned()).filter(|alert| !alert.is_empty()).into_iter().collect();
        until_ok(&format!("`{alert}` fires after `{before}`"), async || {
            let firing = self.firing().ok_or_else(|| "no answer".to_owned())?;
            let others: Vec<_> = firing.iter().filter(|name| **name != alert && **name != before).collect();
            assert!(others.is_empty(), "{others:?} fires besides `{alert}`");
            if firing == wanted { Ok(()) } else { Err(format!("{firing:?}")) }
        })
        .await;
    }

    /// An incident fires this alert alone, also for a while afterwards, and its end ends it.
    async fn fires(&self, alert: &str) {
        self.until_fires(alert, "").await;
        let count = || self.query("count_over_time(up[1h])")?.first()?["value"][1].as_str()?.parse::<u32>().ok();
        let then = count().unwrap();
        until_ok("more is read", async || {
            let firing = self.firing().ok_or("no answer")?;
            assert_eq!(firing, BTreeSet::from([alert.to_owned()]));
            if count().is_some_and(|now| now > then + 5) { Ok(()) } else { Err("it is not yet") }
        })
        .await;
    }
}

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)
}

async fn make(context: &jetstream::Context, name: &str, subject: &str) {
    let config = stream::Config { name: name.to_owned(), subjects: vec![subject.to_owned()], ..Default::default() };
    context.create_stream(config).await.unwrap();
}

/// Generation of the registry in force.
fn generation(admin: SocketAddr) -> String {
    let page = get(admin, "/metrics").1;
    let found = page.lines().find(|line| line.starts_with("trommel_registry_generation "));
    found.unwrap_or_else(|| panic!("no generation in:\n{page}")).to_owned()
}

fn folder(server: &NatsServer) -> Folder {
    let settings = format!(
        r#"
        [nats]
        url = "{}"

        [admin]
        listen = "127.0.0.1:0"

        [[filter]]
        name = "mischief"
        grants = ["state"]

        [[source]]
        name = "in"
        type = "jetstream"
        stream = "IN"
        durable = "trommel"

        [[sink]]
        name = "out"
        type = "nats"
        subject = "out.{{subject}}"
        "#,
        server.url()
    );
    Folder::new(&settings).write("keys/all.toml", KEY).plugin("mischief", "misbehave")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `prometheus`, which `.ci/run` installs"]
async fn every_incident_fires_one_alert() {
    let mut server = NatsServer::start().await;
    let context = connect(&server.url()).await;
    make(&context, "IN", "in.>").await;
    make(&context, "OUT", "out.>").await;
    let folder = folder(&server);
    let (router, admin): (Router, SocketAddr) = start(&folder);
    let prometheus = Prometheus::start(admin);
    publish(&context, 0..10, 1).await;
    prometheus.until_fires("", "").await;

    let refused = "TrommelReloadRefused";
    folder.put("keys/all.toml", KEY.replace("sinks =", "sink =").as_bytes());
    prometheus.fires(refused).await;
    folder.put("keys/all.toml", KEY.as_bytes());
    prometheus.until_fires("", refused).await;
    folder.put("plugins/mischief.wasm", b"\0asm no component");
    prometheus.fires(refused).await;
    folder.put("plugins/mischief.wasm", &router::component_bytes("misbehave"));
    prometheus.until_fires("", refused).await;

    context.delete_stream("OUT").await.unwrap();
    publish(&context, 10..510, 1).await;
    prometheus.fires("TrommelSinkRefuses").await;
    make(&context, "OUT", "out.>").await;
    prometheus.until_fires("", "TrommelSinkRefuses").await;

    context.delete_stream("IN").await.unwrap();
    prometheus.fires("TrommelConsumerMissing").await;
    make(&context, "IN", "in.>").await;
    prometheus.until_fires("", "TrommelConsumerMissing").await;

    server.kill();
    prometheus.fires("TrommelServerAway").await;
    server.start_again().await;
    prometheus.until_fires("", "TrommelServerAway").await;

    let before = generation(admin);
    folder.put("keys/all.toml", KEY.replace("\"log\"", "\"trap-process\"").as_bytes());
    // What comes earlier is processed as before, and breaks nothing.
    until_ok("the key is reloaded", async || if generation(admin) == before { Err("it is not yet") } else { Ok(()) })
        .await;
    publish(&context, 1000..1100, 1).await;
    prometheus.fires("TrommelFilterQuarantined").await;
    folder.put("plugins/mischief.wasm", &router::component_bytes("stamp-v1"));
    prometheus.until_fires("", "TrommelFilterQuarantined").await;

    router.kill();
    prometheus.fires("TrommelDown").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs `prometheus`, which `.ci/run` installs"]
async fn every_query_of_the_dashboard_has_an_answer() {
    let server = NatsServer::start().await;
    let folder = busy_folder(&server);
    let (router, admin) = start(&folder);
    let prometheus = Prometheus::start(admin);
    publish(&connect(&server.url()).await, 0..300, 3).await;
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(deploy("grafana/trommel.json")).unwrap()).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<_> = targets.flatten().filter_map(|target| target["expr"].as_str()).collect();
    assert!(queries.len() > 40, "{queries:?}");
    for query in queries {
        let asked = query.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$instance", ".*");
        until_ok(query, async || match prometheus.query(&asked) {
            Some(found) if !found.is_empty() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
    assert!(router.stop().status.success());
}

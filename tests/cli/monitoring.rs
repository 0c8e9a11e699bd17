//! What a router can be watched by: its metrics, and that the dashboard and the alert rules ask for
//! nothing else.

use crate::flow;
use crate::nats;
use crate::patience::until_ok;
use crate::router;

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path};

use flow::{connect, publish, settings};
use nats::NatsServer;
use router::{Folder, Router, get};

/// Two keys for two subjects: one keeps its events, the other makes dead letters of them.
const KEYS: &str = r#"
    [[key]]
    key = "kept"
    subject = "in.0"
    filter = "mischief"
    params = [{ name = "mode", type = "string" }]

    [[route]]
    key = "kept"
    params = { mode = "log" }
    sinks = ["out"]

    [[key]]
    key = "buried"
    subject = "in.1"
    filter = "mischief"
    params = [{ name = "mode", type = "string" }]

    [[route]]
    key = "buried"
    params = { mode = "malformed" }
    sinks = ["out"]
"#;

pub fn folder(server: &NatsServer) -> Folder {
    let more = "[admin]\nlisten = \"127.0.0.1:0\"\n[[filter]]\nname = \"mischief\"\ngrants = [\"state\"]\n";
    Folder::new(&(settings(&server.url(), "", "") + more)).write("keys/all.toml", KEYS).plugin("mischief", "misbehave")
}

pub fn start(folder: &Folder) -> (Router, SocketAddr) {
    let mut router = Router::spawn(folder.command());
    let admin = router.admin();
    router.wait_for("running");
    (router, admin)
}

/// The value of a sample, such as `source_lag{name="in"}`.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until the samples have these values, and returns the page.
async fn until_values(admin: SocketAddr, expected: &[(&str, f64)]) -> String {
    until_ok(&format!("{expected:?}"), async || {
        let page = get(admin, "/metrics").1;
        let differs = |(sample, wanted): &&(&str, f64)| value(&page, &format!("trommel_{sample}")) != Some(*wanted);
        match expected.iter().find(differs) {
            None => Ok(page),
            Some((sample, _)) => Err(format!("{sample}:\n{page}")),
        }
    })
    .await
}

/// Three subjects: one that is kept, one that is buried, and one that no key has.
#[tokio::test(flavor = "multi_thread")]
async fn times_and_sizes_are_counted_where_events_go() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let (router, admin) = start(&folder);
    publish(&connect(&server.url()).await, 0..300, 3).await;
    let payloads: usize = (0..300).map(|n| format!("{{\"n\":{n}}}").len()).sum();
    let page = until_values(
        admin,
        &[
            ("source_events_emitted_total{name=\"in\"}", 100.0),
            ("source_events_unrouted_total{name=\"in\"}", 100.0),
            ("source_dead_letters_total{name=\"in\",reason=\"malformed\"}", 100.0),
            ("source_event_duration_seconds_count{name=\"in\"}", 300.0),
            ("source_event_latency_seconds_count{name=\"in\"}", 300.0),
            ("source_event_latency_seconds_bucket{le=\"+Inf\",name=\"in\"}", 300.0),
            ("source_oldest_event_age_seconds{name=\"in\"}", 0.0),
            ("source_in_flight_bytes{name=\"in\"}", 0.0),
            ("source_ack_pending{name=\"in\"}", 0.0),
            ("source_consumer_missing{name=\"in\"}", 0.0),
            ("sink_outputs_pending{name=\"out\"}", 0.0),
            ("sink_held_bytes{name=\"out\"}", 0.0),
            ("filter_load_duration_seconds_count{name=\"mischief\"}", 1.0),
            ("config_last_reload_successful", 1.0),
        ],
    )
    .await;
    let of = |sample: &str| value(&page, &format!("trommel_{sample}")).unwrap_or_else(|| panic!("{sample}:\n{page}"));
    // One output in eight is measured, one call of a filter in 64.
    assert_eq!(of("sink_output_duration_seconds_count{name=\"out\"}"), 13.0);
    assert_eq!(of("filter_process_duration_seconds_count{name=\"mischief\"}"), 4.0);
    assert!(of("source_received_bytes_total{name=\"in\"}") > payloads as f64);
    assert!(of("sink_written_bytes_total{name=\"out\"}") < payloads as f64);
    let (duration, latency) =
        ("source_event_duration_seconds_sum{name=\"in\"}", "source_event_latency_seconds_sum{name=\"in\"}");
    assert!(of(duration) > 0.0 && of(latency) > of(duration), "{page}");
    assert!(value(&page, "process_resident_memory_bytes").unwrap() > 1e6, "{page}");
    assert!(value(&page, "process_open_fds").unwrap() > 3.0, "{page}");
    let now = jiff::Timestamp::now().as_second() as f64;
    for since in ["process_start_time_seconds", "trommel_config_last_reload_success_timestamp_seconds"] {
        assert!((now - value(&page, since).unwrap()).abs() < 120.0, "{since}:\n{page}");
    }
    assert!(router.stop().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_seen_while_it_does() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let context = connect(&server.url()).await;
    let (router, admin) = start(&folder);
    context.delete_stream("OUT").await.unwrap();
    publish(&context, 0..1, 1).await;
    let page = until_values(
        admin,
        &[("source_events_in_flight{name=\"in\"}", 1.0), ("sink_outputs_pending{name=\"out\"}", 1.0)],
    )
    .await;
    assert!(value(&page, "trommel_source_in_flight_bytes{name=\"in\"}").unwrap() > 7.0, "{page}");
    let age = "trommel_source_oldest_event_age_seconds{name=\"in\"}";
    let first = value(&page, age).unwrap();
    until_ok("the event grows older", async || {
        let now = value(&get(admin, "/metrics").1, age).unwrap();
        if now > first { Ok(()) } else { Err(now) }
    })
    .await;
    folder.put("keys/all.toml", KEYS.replace("sinks =", "sink =").as_bytes());
    until_values(admin, &[("config_last_reload_successful", 0.0)]).await;
    folder.put("keys/all.toml", KEYS.as_bytes());
    until_values(admin, &[("config_last_reload_successful", 1.0)]).await;
    router.kill();
}

/// The names of metrics in a text that asks for them.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("trommel_") || word.starts_with("process_")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_has_every_metric_that_dashboard_and_rules_ask_for() {
    let server = NatsServer::start().await;
    let folder = folder(&server);
    let (router, admin) = start(&folder);
    publish(&connect(&server.url()).await, 0..30, 3).await;
    let page = until_values(admin, &[("source_dead_letters_total{name=\"in\",reason=\"malformed\"}", 10.0)]).await;
    let samples: BTreeSet<_> = page.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["grafana/trommel.json", "alerts/trommel.yaml", "alerts/trommel.test.yaml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap();
        let asked = names(&text);
        assert!(asked.len() > 5, "{file} asks for {asked:?}");
        let missing: Vec<_> = asked.difference(&samples).collect();
        assert!(missing.is_empty(), "deploy/{file} asks for {missing:?}, which a router does not have:\n{page}");
    }
    assert!(router.stop().status.success());
}

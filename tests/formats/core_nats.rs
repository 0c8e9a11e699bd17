//! What the source of type `nats` promises: what is published while it listens becomes events, and
//! what it has no room for is counted.

use crate::nats;
use crate::patience;
use crate::router;

use std::{fs, path::Path, sync::Arc, time::Duration};

use nats::NatsServer;
use router::Folder;
use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};
use trommel::{
    ack::Ticket,
    client::{EventClient, MeshEvent},
    config::{EnvelopeFormat, NatsSource, SourceConfig, SourceKind},
    fate::Fate,
    metrics::SourceMetrics,
    nats::Connection,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{Source, core_nats::CoreNats},
    stop::{Stopper, stop},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A source under way, with the test as its pipeline.
struct Rig {
    pipeline: PipelineDouble,
    metrics: Arc<SourceMetrics>,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<()>>,
}

async fn rig(connection: &Connection, queue: Option<&str>, events: usize, capacity: u64) -> Rig {
    let settings = NatsSource { subjects: vec!["events.>".parse().unwrap()], queue: queue.map(str::to_owned) };
    let kind = SourceKind::Nats(settings.clone());
    let source = SourceConfig { name: "mesh".to_owned(), expect_every: None, envelope: EnvelopeFormat::JbMesh, kind };
    let listener = CoreNats::open(connection, &source, &settings, capacity).await.unwrap();
    let (intake, pipeline) = PipelineDouble::new(EventBudget { events, bytes: 64 << 20 });
    let (stopper, stop) = stop();
    let metrics = Arc::clone(intake.metrics());
    Rig { pipeline, metrics, stopper, run: tokio::spawn(listener.run(intake, stop)) }
}

impl Rig {
    async fn next(&mut self) -> Ticket {
        timeout(PATIENCE, self.pipeline.next()).await.unwrap().unwrap()
    }
}

async fn client(server: &NatsServer) -> EventClient {
    EventClient::connect(&server.url()).await.unwrap()
}

/// Headers count as for a stream's messages, and each message has an id of its own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_becomes_events() {
    let server = NatsServer::start().await;
    let client = client(&server).await;
    let mut rig = rig(client.connection(), None, 10, 1 << 20).await;
    client.send(&MeshEvent::tool_crashed("n1", "search", "e", 1)).await.unwrap();
    let headers = [("Nats-Msg-Id".to_owned(), "m-2".to_owned()), ("tenant".to_owned(), "acme".to_owned())];
    let body = r#"{"type":"tool.stopped","node":"n1"}"#;
    client.connection().send("events.tool.stopped", &headers, body.into()).await.unwrap();
    let first = rig.next().await;
    let event = first.event();
    assert_eq!((&*event.event_type, &*event.subject, event.sequence), ("tool.crashed", "events.tool.crashed", 1));
    let second = rig.next().await;
    assert_eq!((&*second.event().id, second.event().tenant()), ("m-2", Some("acme")));
    assert_ne!(first.event().uid, second.event().uid);
    // What comes back unfinished is pushed again: no server would.
    first.settle(Fate::Failed);
    let again = rig.next().await;
    assert_eq!((&*again.event().event_type, again.event().attempt), ("tool.crashed", 2));
    again.settle(Fate::Emitted);
    rig.stopper.drain();
    second.settle(Fate::Emitted);
    timeout(PATIENCE, rig.run).await.unwrap().unwrap().unwrap();
}

/// Bounded in bytes, and never silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_counted() {
    const SENT: u64 = 3000;
    let server = NatsServer::start().await;
    let client = client(&server).await;
    let mut rig = rig(client.connection(), None, 10, 64 << 10).await;
    let event = MeshEvent::tool_crashed("n1", "search", &"x".repeat(1000), 1);
    for _ in 0..SENT {
        client.send(&event).await.unwrap();
    }
    let full = || (rig.metrics.dropped.get() > SENT / 2).then_some(()).ok_or("little was dropped");
    patience::until_ok("the buffer is full", async || full()).await;
    assert_eq!(rig.metrics.received.get(), 10, "the budget");
    while rig.metrics.received.get() + rig.metrics.dropped.get() < SENT || rig.metrics.in_flight.get() > 0 {
        rig.next().await.settle(Fate::Emitted);
        tokio::task::yield_now().await;
    }
    assert!(rig.metrics.received.get() < 400, "{} were kept", rig.metrics.received.get());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_subscribes_again() {
    let mut server = NatsServer::start().await;
    let client = client(&server).await;
    let mut rig = rig(client.connection(), None, 10, 1 << 20).await;
    server.restart().await;
    let event = MeshEvent::node_left("n1", "shutdown");
    // What is published before the subscription is back is lost.
    let deadline = Instant::now() + PATIENCE;
    let ticket = loop {
        assert!(Instant::now() < deadline, "nothing comes");
        let _ = client.send(&event).await;
        if let Ok(ticket) = timeout(Duration::from_millis(100), rig.pipeline.next()).await {
            break ticket.unwrap();
        }
    };
    assert_eq!(ticket.event().event_type, "node.left");
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_queue_group_share_the_messages() {
    let server = NatsServer::start().await;
    let client = client(&server).await;
    let rigs = [
        rig(client.connection(), Some("routers"), 1000, 1 << 20).await,
        rig(client.connection(), Some("routers"), 1000, 1 << 20).await,
    ];
    for _ in 0..200 {
        client.send(&MeshEvent::tool_started("n1", "search")).await.unwrap();
    }
    let all = || {
        let taken: u64 = rigs.iter().map(|rig| rig.metrics.received.get()).sum();
        (taken >= 200).then_some(taken).ok_or("not all were taken")
    };
    assert_eq!(patience::until_ok("taken", async || all()).await, 200);
    assert!(rigs.iter().all(|rig| rig.metrics.received.get() > 0), "one has taken all");
}

/// The job of the operator of a mesh: list, watch, try, keep by node and day, on the plain bus and
/// on the stream.
#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_is_run_from_the_plain_bus_and_from_its_stream() {
    let server = NatsServer::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let settings = fs::read_to_string(root.join("examples/jb-mesh/trommel.toml")).unwrap();
    let settings = settings.replace("../../plugins", root.join("plugins").to_str().unwrap());
    let settings = settings.replace("nats://127.0.0.1:4222", &server.url());
    let routes = fs::read_to_string(root.join("examples/jb-mesh/keys/routes.toml")).unwrap();
    let archive = "[[sink]]\nname = \"archive\"\ntype = \"file\"\npath = \"raw/{date}/{/node}.ndjson\"\n";
    let kept = "[[route]]\nkey = \"tool.crashed\"\nsinks = [\"archive\"]\n";
    let plain = settings.replace(
        "type = \"jetstream\"\nstream = \"MESH_EVENTS\"\ndurable = \"trommel\"",
        "type = \"nats\"\nsubjects = [\"events.>\"]",
    );
    assert!(plain.contains("type = \"nats\""), "{plain}");
    for settings in [settings, plain] {
        let is_plain = settings.contains("type = \"nats\"");
        let folder =
            Folder::new(&format!("{settings}\n{archive}")).write("keys/routes.toml", &format!("{routes}\n{kept}"));
        let checked = folder.trommel(&["check"]).output().unwrap();
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(checked.status.success() && said.contains("at most once") == is_plain, "{said}");
        let mut router = folder.start();
        let emit = |words: &[&str]| folder.trommel(&["emit"]).args(words).output().unwrap();
        let crash = ["tool.crashed", "--node", "n1", "tool=search", "error=exit status 137", "restart_count=3"];
        let output = emit(&crash);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap().contains("not confirmed"), is_plain);
        router.wait_for_output("search");
        let output = emit(&["events.user.deploys", "--node", "n2", "by=ada", "--count", "2"]);
        assert!(output.status.success(), "{output:?}");
        router.wait_for_output("ada");
        router.wait_for_output("ada");
        let history = folder.trommel(&["history"]).args(["--stream", "MESH_EVENTS"]).output().unwrap();
        assert!(String::from_utf8(history.stdout).unwrap().contains("tool.crashed"), "the stream keeps both");
        let ended = router.stop();
        assert!(ended.status.success(), "{ended:?}");
        assert_eq!(ended.log.iter().any(|line| line.contains("at most once")), is_plain);
        let kept = folder.file("raw");
        let days: Vec<_> = fs::read_dir(kept).unwrap().map(|day| day.unwrap().path()).collect();
        assert!(days[0].join("n1.ndjson").is_file(), "{days:?}");
    }
}

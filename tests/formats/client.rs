//! What the typed client promises: events go both ways, none is lost before it is acknowledged, and
//! what it writes is what the sources' envelopes read.

use crate::nats;
use crate::patience;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nats::NatsServer;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use trommel::{
    avro::AvroSchemas,
    client::{
        AlertEvent, ClientError, CtrlplaneEvent, Envelope, EventClient, EventFamily, EventFilter, HistoryRange,
        MeshEvent, NodeEvent, SessionEvent, WireFormat, ctrlplane::event_type, helix,
    },
    config::EnvelopeFormat,
    event::{Event, Origin},
    source::envelope::{self, SourceMessage},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A client and the streams of all families.
async fn client(server: &NatsServer) -> EventClient {
    let client = EventClient::connect(&server.url()).await.unwrap();
    for stream in [
        client.stream_of_family::<NodeEvent>("HELIX_NODES"),
        client.stream_of_family::<SessionEvent>("HELIX_SESSIONS"),
        client.stream_of_family::<MeshEvent>("MESH_EVENTS"),
    ] {
        client.ensure_stream(&stream).await.unwrap();
    }
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_events_go_both_ways_in_both_formats() {
    let server = NatsServer::start().await;
    let client = client(&server).await;
    let avro = client.clone().with_format(WireFormat::Avro);
    let sent = [NodeEvent::new("n1", "join"), NodeEvent::new("n2", "failure"), NodeEvent::new("n1", "failure")];
    client.publish(&sent[0]).await.unwrap();
    avro.publish(&sent[1]).await.unwrap();
    let place = avro.publish(&sent[2]).await.unwrap();
    assert_eq!((&*place.stream, place.sequence), ("HELIX_NODES", 3));
    client.publish(&MeshEvent::tool_crashed("n1", "search", "exit status 137", 3)).await.unwrap();

    let read = async |filter: EventFilter, range: HistoryRange| {
        let mut history = client.history::<NodeEvent>(filter, range).await.unwrap();
        let mut events = Vec::new();
        while let Some(stored) = history.next().await.unwrap() {
            events.push(stored.event.unwrap());
        }
        events
    };
    assert_eq!(read(EventFilter::all(), HistoryRange::All).await, sent);
    assert_eq!(read(EventFilter::of("n1", "*"), HistoryRange::All).await, [sent[0].clone(), sent[2].clone()]);
    assert_eq!(read(EventFilter::of("*", "failure"), HistoryRange::Newest(1)).await, [sent[2].clone()]);

    let lost = client.publish(&AlertEvent::new("zone-a", "fire")).await;
    assert!(matches!(lost, Err(ClientError::NoStream(subject)) if subject == "helix.alerts.zone-a.fire"));
    let spaced = client.publish(&MeshEvent::user("n1", "a b", Map::new())).await.unwrap_err();
    assert!(spaced.to_string().contains("no spaces"), "{spaced}");
}

/// A program that dies before the ack gets the event again; one that has acknowledged it does not.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_delivered_until_it_is_acknowledged() {
    let server = NatsServer::start().await;
    let client = client(&server).await;
    for (session, action) in [("s1", "create"), ("s1", "attach"), ("s2", "attach")] {
        client.publish(&SessionEvent::new(session, action)).await.unwrap();
    }
    let open = async || {
        let other = EventClient::connect(&server.url()).await.unwrap();
        let consumer = other.consume::<SessionEvent>(EventFilter::of("*", "attach")).durable("greeter");
        consumer.ack_wait(Duration::from_millis(300)).open().await.unwrap()
    };
    let mut consumer = open().await;
    let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert_eq!((&*delivery.event.as_ref().unwrap().session_id, delivery.attempt), ("s1", 1));
    drop((delivery, consumer));

    let mut consumer = open().await;
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
        let session = delivery.event.as_ref().unwrap().session_id.clone();
        if session == "s1" {
            assert!(delivery.attempt > 1, "it comes again");
        }
        seen.insert(session);
        delivery.ack().await.unwrap();
    }
    drop(consumer);
    client.publish(&SessionEvent::new("s3", "attach")).await.unwrap();
    let mut consumer = open().await;
    let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert_eq!(delivery.event.as_ref().unwrap().session_id, "s3");
    delivery.retry(Duration::ZERO).await.unwrap();
    let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    // On a busy machine the wait for an acknowledgement may have ended meanwhile.
    assert!(
        delivery.event.as_ref().unwrap().session_id == "s3" && delivery.attempt > 1,
        "attempt {}",
        delivery.attempt
    );
    delivery.reject().await.unwrap();

    let other = client.consume::<SessionEvent>(EventFilter::all()).durable("greeter").open().await;
    let refused = format!("{:#}", anyhow::Error::new(other.err().unwrap()));
    assert!(refused.contains("take another name"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_reads_on_after_the_server_was_away() {
    let mut server = NatsServer::start().await;
    let client = client(&server).await;
    let mut consumer = client.consume::<MeshEvent>(EventFilter::all()).durable("reader").open().await.unwrap();
    server.restart().await;
    let event = MeshEvent::node_left("n1", "shutdown");
    patience::until_ok("published", async || client.publish(&event).await).await;
    let delivery = timeout(PATIENCE, consumer.next()).await.unwrap().unwrap();
    assert_eq!(delivery.event.as_ref().unwrap().event_type, "node.left");
    delivery.ack().await.unwrap();
}

/// Nothing keeps the events, and what is dropped is counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_subscription_counts_what_it_drops() {
    const SENT: u64 = 4000;
    let server = NatsServer::start().await;
    let client = EventClient::connect(&server.url()).await.unwrap();
    let mut crashes = client.subscribe::<MeshEvent>(EventFilter::pattern("tool.crashed").unwrap()).await.unwrap();
    client.send(&MeshEvent::tool_started("n1", "search")).await.unwrap();
    let mut event = MeshEvent::tool_crashed("n1", "search", "e", 3);
    client.send(&event).await.unwrap();
    let live = timeout(PATIENCE, crashes.next()).await.unwrap().unwrap();
    assert_eq!((live.event.unwrap(), &*live.subject), (event.clone(), "events.tool.crashed"));

    event.data.insert("error".to_owned(), "x".repeat(10_000).into());
    for _ in 0..SENT {
        client.send(&event).await.unwrap();
    }
    let mut taken = 0;
    while taken + crashes.dropped() < SENT {
        timeout(PATIENCE, crashes.next()).await.unwrap().unwrap().event.unwrap();
        taken += 1;
    }
    assert!(crashes.dropped() > 0 && taken > 1000, "{taken} taken");
}

/// H42: the schemas that are made of the types are those of the preset.
#[test]
fn derived_schemas_are_those_of_the_preset() {
    let files = [
        ("helix-node-v1", include_str!("../../crates/folder/src/preset/helix/node-v1.avsc")),
        ("helix-node-v2", include_str!("../../crates/folder/src/preset/helix/node-v2.avsc")),
        ("helix-session", include_str!("../../crates/folder/src/preset/helix/session.avsc")),
        ("helix-scheduler", include_str!("../../crates/folder/src/preset/helix/scheduler.avsc")),
        ("helix-audit", include_str!("../../crates/folder/src/preset/helix/audit.avsc")),
    ];
    let (declared, derived) = (AvroSchemas::parse(&files).unwrap(), helix::schemas().unwrap());
    for (name, _) in files {
        let print = |schemas: &AvroSchemas| format!("{:016x}", schemas.get(name).unwrap().fingerprint());
        assert_eq!(print(&derived), print(&declared), "{name}");
    }
    let header = 0x3e4c_b531_99a0_aea6_u64;
    assert_eq!(derived.get("helix-node-v2").unwrap().fingerprint(), header.swap_bytes());
}

#[test]
fn the_types_of_a_ctrlplane_are_the_keys_of_the_preset() {
    let preset: toml::Table = include_str!("../../crates/folder/src/preset/ctrlplane/ctrlplane.toml").parse().unwrap();
    let keys = preset["key"].as_array().unwrap().iter().map(|key| key["event_type"].as_str().unwrap());
    assert_eq!(keys.collect::<BTreeSet<_>>(), BTreeSet::from(event_type::ALL));
}

/// What the envelope of a source reads of an event that the client has written.
fn opened<E: EventFamily>(format: &EnvelopeFormat, event: &E, wire: WireFormat) -> Event {
    let message = SourceMessage {
        subject: "a.b".into(),
        headers: Default::default(),
        payload: event.encode(wire).unwrap().into(),
        observed_at: 0,
        attempt: 1,
        origin: Arc::new(Origin { source: "in".to_owned(), stream: "IN".to_owned() }),
        sequence: 7,
        incarnation: 0,
    };
    envelope::open(format, message).unwrap_or_else(|refused| panic!("{:?}", refused.1))
}

proptest! {
    /// Writer and reader agree about every field, and the client reads back what it wrote.
    #[test]
    fn sources_read_what_the_client_writes(
        id in "\\PC{1,20}",
        name in "\\PC{1,20}",
        text in "[^\\p{Cc}]{0,20}",
        seconds in -9_000_000_000_i64..9_000_000_000,
        is_avro: bool,
    ) {
        let wire = if is_avro { WireFormat::Avro } else { WireFormat::Json };
        let mut node = NodeEvent::new(&name, &text);
        node.run_id.clone_from(&id);
        node.timestamp = jiff::Timestamp::from_second(seconds).unwrap();
        let event = opened(&EnvelopeFormat::Helix, &node, wire);
        prop_assert_eq!((&*event.id, &*event.event_type), (&*id, &*node.name()));
        prop_assert_eq!(event.source_time.as_deref(), Some(&*node.timestamp.to_string()));
        if !is_avro {
            prop_assert_eq!(serde_json::from_slice::<NodeEvent>(&event.payload).unwrap(), node.clone());
        }
        prop_assert_eq!(NodeEvent::decode(&node.encode(wire).unwrap()).unwrap(), node);

        let mesh = MeshEvent::new(&name, &text, Map::from_iter([(id.clone(), json!(text))]));
        let event = opened(&EnvelopeFormat::JbMesh, &mesh, wire);
        prop_assert_eq!((&*event.event_type, event.source_time.as_deref()), (&*name, Some(&*mesh.timestamp.to_string())));
        prop_assert_eq!(MeshEvent::decode(&event.payload).unwrap(), mesh);

        let plane = CtrlplaneEvent::new(&name, &text).with_actor(&text);
        let event = opened(&EnvelopeFormat::Ctrlplane, &plane, wire);
        prop_assert_eq!((&*event.id, &*event.event_type), (plane.id.as_str(), &*name));
        let tenant = event.headers.get("tenant").map(|tenant| &**tenant);
        prop_assert_eq!(tenant.unwrap_or_default(), &*text);
        prop_assert_eq!(CtrlplaneEvent::decode(&event.payload).unwrap(), plane);

        let mut flow = Envelope::new("graph.run.r1.start").unwrap().with_header("tenant", text.clone());
        flow.id = id.clone().into();
        let flow = flow.with_json(json!({ "n": name }).to_string());
        let event = opened(&EnvelopeFormat::Flowcraft, &flow, wire);
        prop_assert_eq!((&*event.id, &*event.subject), (&*id, "graph.run.r1.start"));
        prop_assert_eq!(serde_json::from_slice::<Value>(&event.payload).unwrap(), json!({ "n": name }));
        prop_assert_eq!(<Envelope as EventFamily>::decode(&flow.encode(wire).unwrap()).unwrap(), flow);
    }
}

//! What the source of type `bus` promises: what is published becomes events, in order, and nothing
//! that it took is lost.

use crate::router;

use std::time::Duration;

use futures_util::FutureExt;
use tokio::{task::JoinHandle, time::timeout};
use trommel::{
    ack::Ticket,
    app::{self, ProgramParts, RouterControls, RunError},
    bus::{Bus, DropReason, Envelope, OverflowPolicy},
    config::{self, BusSource, ConfigPlace, SourceKind},
    event::Event,
    fate::Fate,
    folder,
    pipeline::{EventBudget, double::PipelineDouble},
    source::{Source, bus::BusListener},
    stop::{Stopper, stop},
};

use router::Folder;

const PATIENCE: Duration = Duration::from_secs(60);

/// A source under way, with the test as its pipeline.
struct Rig {
    bus: Bus,
    pipeline: PipelineDouble,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<()>>,
}

fn rig(pattern: &str, buffer: usize, policy: OverflowPolicy, envelope: config::EnvelopeFormat, events: usize) -> Rig {
    let bus = Bus::default();
    let settings = BusSource {
        bus: None,
        pattern: pattern.parse().unwrap(),
        buffer,
        policy,
        place: ConfigPlace::file("trommel.toml"),
    };
    let source = config::SourceConfig {
        name: "in".to_owned(),
        expect_every: None,
        envelope,
        kind: SourceKind::Bus(settings.clone()),
    };
    let listener = BusListener::open(&bus, &source, &settings).unwrap();
    let (intake, pipeline) = PipelineDouble::new(EventBudget { events, bytes: 64 << 20 });
    let (stopper, stop) = stop();
    Rig { bus, pipeline, stopper, run: tokio::spawn(listener.run(intake, stop)) }
}

fn plain() -> config::EnvelopeFormat {
    config::EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None }
}

impl Rig {
    async fn publish(&self, subject: &str, payload: u64) {
        let envelope = Envelope::new(subject.to_owned()).unwrap().with_payload(&payload).unwrap();
        timeout(PATIENCE, self.bus.publish(envelope)).await.unwrap().unwrap();
    }

    async fn next(&mut self) -> Ticket {
        timeout(PATIENCE, self.pipeline.next()).await.unwrap().unwrap()
    }

    /// The event of what was published.
    async fn event_of(&mut self, envelope: Envelope) -> Event {
        self.bus.publish(envelope).await.unwrap();
        let ticket = self.next().await;
        let event = ticket.event().clone();
        ticket.settle(Fate::Emitted);
        event
    }

    /// Ends when the source has.
    async fn ended(self) {
        timeout(PATIENCE, self.run).await.unwrap().unwrap().unwrap();
    }
}

fn payload(ticket: &Ticket) -> u64 {
    serde_json::from_slice(&ticket.event().payload).unwrap()
}

/// F01 and F05
#[tokio::test]
async fn an_envelope_becomes_an_event() {
    let mut rig = rig("a.*", 10, OverflowPolicy::Block, plain(), 10);
    rig.publish("b.b", 0).await;
    let mut envelope = Envelope::new("a.b").unwrap().with_header("tenant", "acme").with_json("[1]");
    envelope.id = "i-1".into();
    envelope.time = Some("2026-03-14T08:03:36.069Z".parse().unwrap());
    envelope.source = Some("shop".into());
    envelope.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    envelope.span_id = Some("00f067aa0ba902b7".into());
    let event = rig.event_of(envelope).await;
    assert_eq!((&*event.id, &*event.subject, &*event.event_type), ("i-1", "a.b", "a.b"));
    assert_eq!(event.source_time.as_deref(), Some("2026-03-14T08:03:36.069Z"));
    assert_eq!((&*event.payload, event.sequence, event.attempt), (b"[1]".as_slice(), 1, 1));
    assert_eq!((&*event.origin.source, &*event.origin.stream), ("in", "bus"));
    let headers: Vec<_> = event.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(headers, ["tenant: acme", "source: shop", trace]);

    // Ids that are none make no trace; what an envelope's own headers say stays; no payload is an empty
    // one.
    let mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut odd = Envelope::new("a.c").unwrap().with_header("traceparent", mine).with_header("source", "also mine");
    (odd.source, odd.trace_id, odd.span_id) = (Some("shop".into()), Some("x".into()), Some("y".into()));
    let event = rig.event_of(odd.clone()).await;
    assert_eq!((event.headers.get("traceparent").map(|trace| &**trace), event.headers.len()), (Some(mine), 2));
    assert!(event.payload.is_empty() && event.id.len() == 20 && event.source_time.is_some());
    odd.headers.clear();
    for (trace_id, span_id) in
        [("x", "y"), (&"0".repeat(32), "00f067aa0ba902b7"), (&"A".repeat(32), "00f067aa0ba902b7")]
    {
        (odd.trace_id, odd.span_id) = (Some(trace_id.into()), Some(span_id.into()));
        assert_eq!(rig.event_of(odd.clone()).await.trace(), None, "{trace_id}");
    }
    rig.bus.close().await;
    rig.ended().await;
}

/// What the source's own envelope finds inside counts more than what travelled with it.
#[tokio::test]
async fn the_payload_may_say_more_of_the_event() {
    let pointer = |text: &str| Some(config_field(text));
    let envelope = config::EnvelopeFormat::Plain {
        id: None,
        event_type: pointer("/type"),
        subject: None,
        source_time: pointer("/time"),
    };
    let mut rig = rig(">", 10, OverflowPolicy::Block, envelope, 10);
    let event = rig.event_of(Envelope::new("a").unwrap().with_json(r#"{"type":"paid","time":"then"}"#)).await;
    assert_eq!((&*event.event_type, event.source_time.as_deref()), ("paid", Some("then")));
    let event = rig.event_of(Envelope::new("a").unwrap().with_json("{}")).await;
    assert_eq!(&*event.event_type, "a");
    assert!(event.source_time.unwrap().ends_with('Z'));
    rig.bus.publish(Envelope::new("a").unwrap().with_json("{broken")).await.unwrap();
    let refused = timeout(PATIENCE, rig.pipeline.next_refused()).await.unwrap().unwrap();
    assert_eq!(refused.dead_letter, Some("not_json"));
    refused.ticket.dead("not_json");
    rig.bus.close().await;
    rig.ended().await;
}

fn config_field(pointer: &str) -> trommel::field::Field {
    trommel::field::Field::Pointer(pointer.parse().unwrap())
}

/// F36 and F37: nobody delivers again what comes back, so the source does.
#[tokio::test(start_paused = true)]
async fn what_comes_back_is_pushed_again() {
    let mut rig = rig(">", 10, OverflowPolicy::Block, plain(), 10);
    rig.publish("a", 1).await;
    rig.publish("a", 2).await;
    let (first, second) = (rig.next().await, rig.next().await);
    drop(first);
    second.settle(Fate::Emitted);
    let again = rig.next().await;
    assert_eq!((payload(&again), again.event().attempt), (1, 2));
    rig.bus.close().await;
    assert!(!rig.run.is_finished(), "one is open");
    again.settle(Fate::Emitted);
    rig.ended().await;
}

/// A stop takes nothing new, and all that was published before it.
#[tokio::test]
async fn a_drain_takes_what_is_in_the_buffer_and_nothing_new() {
    const BEFORE: u64 = 500;
    let mut rig = rig(">", 1000, OverflowPolicy::Block, plain(), 2);
    for number in 0..BEFORE {
        rig.publish("a", number).await;
    }
    rig.stopper.drain();
    while rig.bus.subscriptions() > 0 {
        tokio::task::yield_now().await;
    }
    rig.publish("a", BEFORE).await;
    for number in 0..BEFORE {
        let ticket = rig.next().await;
        assert_eq!(payload(&ticket), number);
        ticket.settle(Fate::Emitted);
    }
    assert!(timeout(PATIENCE, rig.pipeline.next()).await.unwrap().is_none(), "the source has ended");
    rig.ended().await;
}

/// What is open is waited for until the end, which waits neither for it nor for what is behind it.
#[tokio::test(start_paused = true)]
async fn the_end_gives_up_what_is_open() {
    let mut rig = rig(">", 10, OverflowPolicy::Block, plain(), 1);
    rig.publish("a", 1).await;
    rig.publish("a", 2).await;
    let open = rig.next().await;
    tokio::time::sleep(PATIENCE).await;
    assert!(!rig.run.is_finished(), "one is open");
    rig.stopper.end();
    assert!(timeout(PATIENCE, rig.pipeline.next()).await.unwrap().is_none(), "the second one is not given up");
    assert_eq!(payload(&open), 1);
    let bus = rig.bus.clone();
    rig.ended().await;
    assert_eq!(bus.subscriptions(), 0, "publishers would wait for a reader that is gone");
}

/// X2: a router that does not keep up makes the publisher wait or the bus drop, as the source says;
/// no memory grows.
#[tokio::test]
async fn no_more_waits_than_the_source_says() {
    let mut blocking = rig(">", 10, OverflowPolicy::Block, plain(), 1);
    let mut taken = 0;
    while let Some(published) = published_at_once(&blocking.bus).await {
        taken += published;
        assert!(taken < 1000, "somebody holds them all");
    }
    // In the buffer, with the budget, and in the two batches that the source holds.
    assert!((11..=10 + 1 + 2 * 64).contains(&taken), "{taken}");
    blocking.next().await.settle(Fate::Emitted);

    let dropping = rig(">", 10, OverflowPolicy::DropNewest, plain(), 1);
    while dropping.bus.stats().dropped(DropReason::BufferFull) == 0 {
        dropping.publish("a", 0).await;
        tokio::task::yield_now().await;
    }
    assert!(dropping.bus.stats().delivered <= 10 + 1 + 2 * 64);
}

/// Whether there was room for one more, when everybody else has had turns enough.
async fn published_at_once(bus: &Bus) -> Option<u64> {
    let mut publish = Box::pin(bus.publish(Envelope::new("a").unwrap()));
    for _ in 0..100 {
        if let Some(published) = (&mut publish).now_or_never() {
            published.unwrap();
            return Some(1);
        }
        tokio::task::yield_now().await;
    }
    None
}

const SETTINGS: &str = "
[[source]]
name = \"in\"
type = \"bus\"
policy = \"block\"

[[sink]]
name = \"out\"
type = \"file\"
path = \"out.ndjson\"
";

const KEYS: &str = "
[[key]]
key = \"all\"
subject = \">\"

[[route]]
key = \"all\"
sinks = [\"out\"]
";

/// From the bus into a file, through a whole router, which ends with the bus.
#[tokio::test(flavor = "multi_thread")]
async fn a_router_in_the_process_routes_what_is_published() {
    let folder = Folder::new(SETTINGS).write("keys/all.toml", KEYS);
    let bus = Bus::default();
    let controls = RouterControls { program: ProgramParts::default().bus(&bus), ..RouterControls::default() };
    let mut started = controls.started.subscribe();
    let router = tokio::spawn(app::run(folder::load(folder.path()).unwrap(), controls));
    timeout(PATIENCE, started.wait_for(|started| *started)).await.unwrap().unwrap();
    for number in 0..1000 {
        bus.publish(Envelope::new("a").unwrap().with_payload(&number).unwrap()).await.unwrap();
    }
    bus.close().await;
    let summary = timeout(PATIENCE, router).await.unwrap().unwrap().unwrap();
    assert_eq!((summary.received, summary.emitted, summary.outputs), (1000, 1000, 1000));
    let numbers: Vec<u64> = folder.read("out.ndjson").lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..1000), "in order: {numbers:?}");
}

/// F38: a folder whose events come from a program is refused by the command, which has none, and
/// passes its check.
#[test]
fn without_a_program_the_folder_is_refused() {
    let folder = Folder::new(SETTINGS).write("keys/all.toml", KEYS);
    let output = folder.run();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = "trommel.toml:2:1: source `in` listens to the bus of a program, and this router has none\n  \
                    a program that embeds the router gives it with `ProgramParts`: see `examples/embedded`";
    assert!(said.contains(expected), "{said}");
    let checked = folder.trommel(&["check"]).output().unwrap();
    let told = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && told.contains("runs in a program that embeds the router"), "{told}");
}

#[tokio::test]
async fn a_bus_that_is_closed_already_is_named() {
    let folder = Folder::new(SETTINGS).write("keys/all.toml", KEYS);
    let bus = Bus::default();
    bus.close().await;
    let controls = RouterControls { program: ProgramParts::default().bus(&bus), ..RouterControls::default() };
    let config = folder::load(folder.path()).unwrap();
    let Err(RunError::Failed(error)) = app::run(config, controls).await else { panic!("it runs") };
    assert_eq!(format!("{error:#}"), "could not open source `in`: the bus is closed");
}

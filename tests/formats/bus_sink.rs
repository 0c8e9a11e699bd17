//! What a program gets back from the router inside it: outputs on its buses, and in sinks of its
//! own.

use crate::router;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::anyhow;
use tokio::time::timeout;
use trommel::{
    ack::Outcome,
    app::{self, ProgramParts, RouterControls, RunError, RunningRouter},
    bus::{Bus, BusSubscription, Envelope, OverflowPolicy},
    config,
    event::{Event, Headers, Origin, Uid},
    folder,
    pipeline::Intake,
    sink::{Confirmation, Output, Sink, SinkRefusal, Slot},
    source::Source,
    stop::Stop,
};

use router::Folder;

const PATIENCE: Duration = Duration::from_secs(60);

const THERE_AND_BACK: &str = "
[[source]]
name = \"in\"
type = \"bus\"
pattern = \"work.>\"
policy = \"block\"

[[sink]]
name = \"out\"
type = \"bus\"
subject = \"kept.{subject}\"
";

const KEYS: &str = "
[[key]]
key = \"all\"
subject = \">\"

[[route]]
key = \"all\"
sinks = [\"out\"]
";

async fn start(folder: &Folder, program: ProgramParts) -> RunningRouter {
    let controls = RouterControls { program, ..RouterControls::default() };
    let config = folder::load(folder.path()).unwrap();
    timeout(PATIENCE, app::start(config, controls)).await.unwrap().unwrap_or_else(|error| panic!("{error:?}"))
}

fn envelope(subject: &str, payload: u64) -> Envelope {
    Envelope::new(subject.to_owned()).unwrap().with_payload(&payload).unwrap()
}

fn subscribe(bus: &Bus, pattern: &str, buffer: usize) -> BusSubscription {
    bus.subscribe(pattern.parse().unwrap()).buffer(buffer).policy(OverflowPolicy::Block).open().unwrap()
}

async fn next(subscription: &mut BusSubscription) -> Arc<Envelope> {
    timeout(PATIENCE, subscription.recv()).await.unwrap().unwrap()
}

/// A program's own events pass the router and come back, in order, however slowly they are read.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_program_come_back_on_its_bus() {
    let folder = Folder::new(THERE_AND_BACK).write("keys/all.toml", KEYS);
    let bus = Bus::default();
    let mut kept = subscribe(&bus, "kept.>", 1);
    let router = start(&folder, ProgramParts::default().bus(&bus)).await;
    let publisher = tokio::spawn({
        let bus = bus.clone();
        async move {
            for number in 0..500 {
                bus.publish(envelope("work.done", number).with_header("tenant", "acme")).await.unwrap();
            }
        }
    });
    let mut ids = std::collections::BTreeSet::new();
    for number in 0..500 {
        let output = next(&mut kept).await;
        assert_eq!(output.decode::<u64>().unwrap(), Some(number));
        assert_eq!((&**output.subject(), output.tenant()), ("kept.work.done", "acme"));
        ids.insert(output.id.clone());
    }
    assert_eq!(ids.len(), 500, "each has an id of its own");
    publisher.await.unwrap();
    let summary = timeout(PATIENCE, router.stop()).await.unwrap().unwrap();
    assert_eq!((summary.received, summary.emitted, summary.outputs), (500, 500, 500));
}

/// F36: several buses, each with its own events.
#[tokio::test(flavor = "multi_thread")]
async fn buses_are_told_apart_by_their_names() {
    let settings = THERE_AND_BACK
        .replace("policy =", "bus = \"agents\"\npolicy =")
        .replace("subject = \"kept", "bus = \"console\"\nsubject = \"kept");
    let folder = Folder::new(&settings).write("keys/all.toml", KEYS);
    let [agents, console] = [Bus::default(), Bus::default()];
    let program = ProgramParts::default().named_bus("agents", &agents).named_bus("console", &console);
    let mut kept = subscribe(&console, ">", 10);
    let router = start(&folder, program).await;
    console.publish(envelope("work.other", 1)).await.unwrap();
    agents.publish(envelope("work.mine", 2)).await.unwrap();
    assert_eq!(&**next(&mut kept).await.subject(), "work.other");
    assert_eq!(&**next(&mut kept).await.subject(), "kept.work.mine");
    timeout(PATIENCE, router.stop()).await.unwrap().unwrap();
    assert_eq!((agents.stats().published, console.stats().published), (1, 2));
}

/// What a program has not read when it closes the bus is a dead letter, not gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_for_a_closed_bus_becomes_a_dead_letter() {
    let settings = THERE_AND_BACK.replace("subject = \"kept", "bus = \"closed\"\nsubject = \"kept");
    let folder = Folder::new(&settings).write("keys/all.toml", KEYS);
    let [bus, closed] = [Bus::default(), Bus::default()];
    let router = start(&folder, ProgramParts::default().bus(&bus).named_bus("closed", &closed)).await;
    closed.close().await;
    bus.publish(envelope("work.done", 1)).await.unwrap();
    bus.close().await;
    let summary = timeout(PATIENCE, router.wait()).await.unwrap().unwrap();
    assert_eq!(summary.dead_lettered, 1);
    assert!(folder.read("dead-letters.ndjson").contains("\"bus_closed\""));
}

/// F38: what the program does not give is named, part by part, with the way out; the command, which
/// gives nothing, refuses the folder likewise.
#[tokio::test]
async fn parts_that_the_program_does_not_give_are_named() {
    let settings = THERE_AND_BACK.replace("subject = \"kept", "bus = \"console\"\nsubject = \"kept")
        + "[[sink]]\nname = \"pager\"\ntype = \"program\"\n[[source]]\nname = \"feed\"\ntype = \"program\"\n";
    let folder = Folder::new(&settings).write("keys/all.toml", KEYS);
    let program = ProgramParts::default().bus(&Bus::default());
    let controls = RouterControls { program, ..RouterControls::default() };
    let refused = app::start(folder::load(folder.path()).unwrap(), controls).await;
    let Err(RunError::Config(problems)) = refused else { panic!("it runs") };
    let told: Vec<_> = problems.iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(
        told,
        [
            "sink `out` publishes on the bus `console` of a program, and this router has none",
            "sink `pager` is one of a program, and this router has none",
            "source `feed` is one of a program, and this router has none",
        ]
    );
    let output = folder.run();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    let hint = "a program that embeds the router gives it with `ProgramParts`: see `examples/embedded`";
    assert!(said.contains(&format!("{}\n  {hint}", told[0])), "{said}");
    assert!(said.contains("source `in` listens to the bus of a program, and this router has none"), "{said}");
}

/// A sink of a program that refuses everything once.
#[derive(Clone, Default)]
struct Pager {
    paged: Arc<Mutex<Vec<String>>>,
    refused: Option<Slot>,
    taken: VecDeque<Slot>,
}

impl Sink for Pager {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        if self.refused.is_none_or(|last| slot > last) {
            self.refused = Some(slot);
            return Err(SinkRefusal::Later(anyhow!("the line is busy")));
        }
        self.paged.lock().unwrap().push(String::from_utf8(output.payload.to_vec()).unwrap());
        self.taken.push_back(slot);
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        match self.taken.pop_front() {
            Some(slot) => Confirmation::Through(slot),
            None => std::future::pending().await,
        }
    }
}

/// A source of a program: a list of texts, each pushed until it is done.
struct Feed(VecDeque<&'static str>);

impl Source for Feed {
    type Receipt = &'static str;

    async fn run(mut self, mut intake: Intake<&'static str>, mut stop: Stop) -> anyhow::Result<()> {
        let origin = Arc::new(Origin { source: "feed".to_owned(), stream: "list".to_owned() });
        let mut number = 0;
        while !self.0.is_empty() || intake.open() > 0 {
            while intake.is_open()
                && let Some(text) = self.0.pop_front()
            {
                number += 1;
                let event = Event {
                    id: number.to_string().into(),
                    uid: Uid::at(&origin, number, 1),
                    event_type: "feed.text".into(),
                    subject: "feed.text".into(),
                    source_time: None,
                    observed_at: 0,
                    attempt: 1,
                    headers: Headers::default(),
                    payload: format!("\"{text}\"").into(),
                    origin: Arc::clone(&origin),
                    sequence: number,
                };
                intake.push(event, text);
            }
            tokio::select! {
                (text, outcome) = intake.settled() => if let Outcome::Retry(_) = outcome { self.0.push_back(text) },
                () = stop.ended() => return Ok(()),
            }
        }
        Ok(())
    }
}

/// A sink and a source of the program's own have all that others have: retries in place, and an
/// event that is done only when its sink has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_brings_its_own_source_and_sink() {
    let settings = "[[source]]\nname = \"feed\"\ntype = \"program\"\n[[sink]]\nname = \"out\"\ntype = \"program\"\n\
        retry = { min = \"1ms\", max = \"2ms\" }\n";
    let folder = Folder::new(settings).write("keys/all.toml", KEYS);
    let pager = Pager::default();
    let feed = Feed(["a", "b", "c"].into());
    let router = start(&folder, ProgramParts::default().source("feed", feed).sink("out", pager.clone())).await;
    let summary = timeout(PATIENCE, router.wait()).await.unwrap().unwrap();
    assert_eq!((summary.received, summary.emitted, summary.outputs), (3, 3, 3));
    assert_eq!(*pager.paged.lock().unwrap(), ["\"a\"", "\"b\"", "\"c\""]);
}

/// A folder may be texts of the program: with the same messages, its relative paths begin at a
/// folder, and a reload reads the same texts.
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_may_be_text() {
    let dir = tempfile::tempdir().unwrap();
    let avsc = "{\"type\":\"record\",\"name\":\"Step\",\"fields\":[]}";
    let texts = [("trommel.toml", THERE_AND_BACK), ("keys/all.toml", KEYS), ("schemas/step.avsc", avsc)];
    let config = folder::parse(dir.path(), texts).unwrap();
    assert_eq!(folder::load_registry(&config).unwrap(), config.registry);
    let bus = Bus::default();
    let mut kept = subscribe(&bus, "kept.>", 1);
    let controls = RouterControls { program: ProgramParts::default().bus(&bus), ..RouterControls::default() };
    let router = app::start(config, controls).await.unwrap();
    router.reload();
    bus.publish(envelope("work.done", 7)).await.unwrap();
    assert_eq!(next(&mut kept).await.decode::<u64>().unwrap(), Some(7));
    timeout(PATIENCE, router.stop()).await.unwrap().unwrap();

    let told = |texts: &[(&str, &str)]| {
        let problems = folder::parse(dir.path(), texts.iter().copied()).unwrap_err();
        problems.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let no_sink = KEYS.replace("\"out\"", "\"outt\"");
    let known = "a router's folder has no such file\n  name it `trommel.toml`, `keys/NAME.toml`, `filters/NAME.toml`, `schemas/NAME.json` or \
        `schemas/NAME.avsc`";
    assert_eq!(
        told(&[("trommel.toml", THERE_AND_BACK), ("keys/all.toml", &no_sink), ("key/b.toml", "")]),
        [format!("key/b.toml: {known}"), "keys/all.toml:8:10: there is no sink `outt`\n  did you mean `out`?".into()]
    );
    assert!(told(&[("keys/all.toml", KEYS)])[0].starts_with("trommel.toml: there is no such file in"));
}

/// Whether `check` warns of a router that feeds itself.
fn warns(subject: &str, pattern: &str) -> bool {
    let settings = THERE_AND_BACK.replace("kept.{subject}", subject).replace("work.>", pattern);
    let folder = Folder::new(&settings).write("keys/all.toml", KEYS);
    let config: config::Config = folder::load(folder.path()).unwrap();
    config.warnings.iter().any(|warning| warning.message == "sink `out` publishes what source `in` reads")
}

#[test]
fn a_router_that_feeds_itself_over_a_bus_is_told() {
    for (subject, pattern, expected) in [
        ("kept.{subject}", "work.>", false),
        ("work.{id}", "work.>", true),
        ("work.{id}", "work.*.done", false),
        ("work.{id}.done", "work.*.done", true),
        ("{subject}", "work.>", true),
        ("{key}.done", "work.*", true),
        ("kept.done", ">", true),
        ("kept.done", "kept.lost", false),
        ("a-{event_type}", "work.>", true),
    ] {
        assert_eq!(warns(subject, pattern), expected, "{subject} and {pattern}");
    }
}

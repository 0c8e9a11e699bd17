//! What an event costs as keys become many: 10, 1,000 and 10,000 of them, of which each event
//! concerns one. First the look-up alone, then a whole router that reads lines and lets every event
//! through. Events are all for the same key, which shows what the other keys cost, or for all keys
//! in turn, which adds what it costs that no key is in the processor's caches. `cargo bench --bench
//! index`; cases take turns, figures are medians.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]
#![allow(clippy::disallowed_methods, reason = "sleeps between two looks at a router, outside every runtime")]

use std::{
    fmt::Write,
    fs,
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use trommel::{
    app::{self, RouterControls},
    event::Pattern,
    folder,
    registry::KeyIndex,
};

const KEYS: [usize; 3] = [10, 1000, 10_000];
const ROUNDS: usize = 9;
const LOOK_UPS: usize = 200_000;
const EVENTS: usize = 200_000;
/// How far apart the keys of two events are: the same one, or, by a step that is prime to every
/// number of keys, all.
const STEPS: [(&str, usize); 2] = [("events for one key", 0), ("events for all keys", 7919)];

/// How a key names its events.
#[derive(Clone, Copy)]
enum Shape {
    Subject,
    Wildcard,
    EventType,
}

impl Shape {
    const ALL: [(&'static str, Self); 3] = [
        ("a subject each", Self::Subject),
        ("a wildcard each", Self::Wildcard),
        ("an event type each", Self::EventType),
    ];

    /// Subject pattern and event type of one key.
    fn interest(self, key: usize) -> (Option<String>, Option<String>) {
        match self {
            Self::Subject => (Some(subject(key)), None),
            Self::Wildcard => (Some(format!("shop.{key}.*.created")), None),
            Self::EventType => (None, Some(event_type(key))),
        }
    }
}

fn subject(key: usize) -> String {
    format!("shop.{key}.orders.created")
}

fn event_type(key: usize) -> String {
    format!("order.created.{key}")
}

fn main() {
    let runtime = app::runtime().unwrap();
    for (name, step) in STEPS {
        println!("{name}");
        look_ups(step);
        routers(&runtime, step);
    }
}

fn look_ups(step: usize) {
    println!(" look-up, ns");
    for (name, shape) in Shape::ALL {
        let cases = KEYS.map(|keys| {
            let mut index = KeyIndex::default();
            for key in 0..keys {
                let (subject, event_type) = shape.interest(key);
                let pattern = subject.map(|subject| subject.parse::<Pattern>().unwrap());
                index.insert(pattern.as_ref(), event_type.as_deref(), key);
            }
            let events: Vec<_> = (0..keys).map(|key| (subject(key), event_type(key))).collect();
            (index, events)
        });
        print(
            name,
            cases.each_ref().map(|(index, events)| {
                || {
                    let start = Instant::now();
                    for number in 0..LOOK_UPS {
                        let key = number * step % events.len();
                        let (subject, event_type) = &events[key];
                        let mut found = None;
                        index.look_up(black_box(subject), event_type, |entry| found = Some(entry));
                        assert_eq!(found, Some(key));
                    }
                    start.elapsed().as_nanos() as f64 / LOOK_UPS as f64
                }
            }),
        );
    }
}

fn routers(runtime: &Runtime, step: usize) {
    println!(" router from lines to a sink that takes all, ns an event");
    for (name, shape) in Shape::ALL {
        let folders = KEYS.map(|keys| folder(keys, shape, step));
        print(name, folders.each_ref().map(|folder| || route(runtime, folder.path())));
    }
}

/// Nanoseconds an event, starting not counted.
fn route(runtime: &Runtime, folder: &Path) -> f64 {
    let config = folder::load(folder).unwrap();
    let controls = RouterControls::default();
    let metrics = Arc::clone(&controls.metrics);
    let router = runtime.spawn(app::run(config, controls));
    let source = metrics.source("in");
    while source.received.get() == 0 {
        std::thread::sleep(Duration::from_micros(100));
    }
    let (start, before) = (Instant::now(), source.received.get());
    let summary = runtime.block_on(router).unwrap().unwrap();
    let took = start.elapsed();
    assert_eq!((summary.received, summary.emitted), (EVENTS as u64, EVENTS as u64));
    took.as_nanos() as f64 / (summary.received - before) as f64
}

fn folder(keys: usize, shape: Shape, step: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("keys")).unwrap();
    fs::create_dir(path.join("plugins")).unwrap();
    let settings = "
        [[source]]
        name = \"in\"
        type = \"lines\"
        path = \"events.ndjson\"
        subject = \"/subject\"
        event_type = \"/type\"
        [[sink]]
        name = \"out\"
        type = \"null\"
    ";
    fs::write(path.join("trommel.toml"), settings).unwrap();
    let (mut declared, mut events) = (String::new(), String::new());
    for key in 0..keys {
        let (subject, event_type) = shape.interest(key);
        writeln!(declared, "[[key]]\nkey = \"k{key}\"").unwrap();
        for (name, value) in [("subject", subject), ("event_type", event_type)] {
            if let Some(value) = value {
                writeln!(declared, "{name} = {value:?}").unwrap();
            }
        }
        writeln!(declared, "[[route]]\nkey = \"k{key}\"\nsinks = [\"out\"]").unwrap();
    }
    for number in 0..EVENTS {
        let key = number * step % keys;
        let (subject, event_type) = (subject(key), event_type(key));
        writeln!(events, r#"{{"subject":"{subject}","type":"{event_type}","number":{number}}}"#).unwrap();
    }
    fs::write(path.join("keys/all.toml"), declared).unwrap();
    fs::write(path.join("events.ndjson"), events).unwrap();
    folder
}

/// Runs the cases in turns, and prints the median of each beside the one with the fewest keys.
fn print(name: &str, mut cases: [impl FnMut() -> f64; KEYS.len()]) {
    let mut rounds = KEYS.map(|_| Vec::with_capacity(ROUNDS));
    // The first round warms up.
    for round in 0..=ROUNDS {
        for (case, times) in cases.iter_mut().zip(&mut rounds) {
            let time = case();
            if round > 0 {
                times.push(time);
            }
        }
    }
    let medians = rounds.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[ROUNDS / 2]
    });
    print!("  {name:<20}");
    for (keys, median) in KEYS.iter().zip(medians) {
        print!("  {keys:>6} keys {median:>7.0} ({:.2})", median / medians[0]);
    }
    println!();
}

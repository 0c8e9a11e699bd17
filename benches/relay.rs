//! How fast events pass from one stream to another: a relay written by hand with async-nats is the
//! floor, one that publishes in batches of fast ingest the second; the router does the same beside
//! them. `cargo bench --bench relay`; `-- --rounds 3 --events 50000 json` makes it shorter.
//!
//! Floor and router run in this one process, each on its own runtime as it would in a program of
//! its own. Cases take turns. What counts is what arrives in the output stream, from its first
//! message to its last by the server's own clock, so starting up does not count; a run is valid
//! when the stream holds exactly what it should and the server has seen every ack. Ratios are
//! medians over rounds. Behind them stands how long an event takes at a steady rate.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{collections::HashMap, fs, path::Path, time::Duration};

use async_nats::jetstream::{self, Context};
use latency::Latency;
use nats::NatsServer;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep},
};
use trommel::{
    app::{self, RouterControls},
    folder,
    stop::stop,
};

#[path = "common/by_hand.rs"]
mod by_hand;
#[path = "common/latency.rs"]
mod latency;
#[path = "../tests/common/nats.rs"]
mod nats;
#[path = "common/orders.rs"]
mod orders;

const PATIENCE: Duration = Duration::from_secs(120);

/// One way from the first stream to the second.
struct Case {
    name: &'static str,
    /// The case that this one is compared to.
    floor: &'static str,
    way: Way,
    message_id: bool,
    half: bool,
}

enum Way {
    ByHand,
    /// With fast ingest.
    ByHandFast,
    Router {
        key: &'static str,
        params: &'static str,
        ack: &'static str,
        more: &'static str,
    },
}

const FLOOR: &str = "by hand";
const FAST_FLOOR: &str = "by hand, fast ingest";
const FLOOR_WITH_IDS: &str = "by hand, message ids";
const SELECT: &str = "filter = \"select\"\n[[key.params]]\nname = \"where\"";
const MATCH: &str = "filter = \"match-type\"";
const JSON: &str = "filter = \"relay-json\"";
const EDIT: &str = "filter = \"edit-fields\"";

fn cases() -> Vec<Case> {
    let by_hand = |name, message_id| Case { name, floor: name, way: Way::ByHand, message_id, half: false };
    let router = |name, key, params, ack, more| Case {
        name,
        floor: FLOOR,
        way: Way::Router { key, params, ack, more },
        message_id: false,
        half: false,
    };
    vec![
        by_hand(FLOOR, false),
        Case { name: FAST_FLOOR, way: Way::ByHandFast, ..by_hand(FLOOR, false) },
        router("passing through", "", "{}", "explicit", ""),
        Case { half: true, ..router("select, half pass", SELECT, "{ where = \"/half == yes\" }", "explicit", "") },
        router("Rust matches + keep", MATCH, "{}", "explicit", ""),
        router("Rust matches + process JSON", JSON, "{}", "explicit", ""),
        router("two fields read, one set", EDIT, "{}", "explicit", ""),
        router("passing through, ack = all", "", "{}", "all", ""),
        router("passing through, ack = auto", "", "{}", "auto", ""),
        router("passing through, no dedup", "", "{}", "explicit", "[dedup]\nenabled = false"),
        by_hand(FLOOR_WITH_IDS, true),
        Case {
            floor: FLOOR_WITH_IDS,
            message_id: true,
            ..router("passing through, message ids", "", "{}", "explicit", "")
        },
    ]
}

struct Options {
    rounds: usize,
    events: usize,
    /// A run beside more foreign work than this share of the machine does not count.
    foreign: f64,
    sizes: Vec<usize>,
    /// Words of which one must be in a case's name; the floors are always there.
    wanted: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self { rounds: 7, events: 200_000, foreign: 0.1, sizes: vec![256, 1024], wanted: Vec::new() };
        let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap();
            match argument.as_str() {
                "--rounds" => options.rounds = value().parse().unwrap(),
                "--events" => options.events = value().parse().unwrap(),
                "--size" => options.sizes = vec![value().parse().unwrap()],
                "--foreign" => options.foreign = value().parse().unwrap(),
                _ => options.wanted.push(argument),
            }
        }
        options
    }

    fn wants(&self, case: &Case, all: &[Case]) -> bool {
        let named = |case: &Case| {
            self.wanted.is_empty() || self.wanted.iter().any(|word| case.name.split(", ").any(|part| part == word))
        };
        named(case) || all.iter().any(|other| other.floor == case.name && named(other))
    }
}

fn main() {
    let options = Options::read();
    let runtime = runtime();
    let server = runtime.block_on(NatsServer::start());
    let context = runtime.block_on(async { jetstream::new(async_nats::connect(server.url()).await.unwrap()) });
    let all = cases();
    let cases: Vec<&Case> = all.iter().filter(|case| options.wants(case, &all)).collect();
    for &size in &options.sizes {
        let bench = Bench { runtime: &runtime, context: &context, server: &server, events: options.events };
        runtime.block_on(bench.fill(size));
        let mut rounds: HashMap<&str, Vec<Option<Measured>>> = HashMap::new();
        // The first round warms up.
        for round in 0..=options.rounds {
            for case in &cases {
                let measured = bench.measure(case);
                if round > 0 {
                    let counts = measured.foreign <= options.foreign;
                    rounds.entry(case.name).or_default().push(counts.then_some(measured));
                }
            }
        }
        report(&options, size, &cases, &rounds);
        report_latency(&bench, size, &cases);
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Runtime of a case, as it would have one in a program of its own.
fn runtime_of(case: &Case) -> Runtime {
    match case.way {
        Way::ByHand | Way::ByHandFast => runtime(),
        Way::Router { .. } => app::runtime().unwrap(),
    }
}

fn report(options: &Options, size: usize, cases: &[&Case], rounds: &HashMap<&str, Vec<Option<Measured>>>) {
    println!("\n{} events of {size} B, {} rounds", options.events, options.rounds);
    println!(
        "{:<32} {:>9} {:>15} {:>7} {:>13} {:>19} {:>8} {:>9}",
        "", "events/s", "spread", "ratio", "spread", "us/event own+server", "foreign", "discarded"
    );
    for case in cases {
        let all = &rounds[case.name];
        let valid: Vec<&Measured> = all.iter().flatten().collect();
        let pairs = all.iter().zip(&rounds[case.floor]);
        let ratio = pairs.filter_map(|(one, floor)| Some(one.as_ref()?.rate / floor.as_ref()?.rate)).collect();
        let (rate, low, high) = spread(valid.iter().map(|measured| measured.rate).collect());
        let (ratio, least, most) = spread(ratio);
        let own = spread(valid.iter().map(|measured| measured.own).collect()).0;
        let server = spread(valid.iter().map(|measured| measured.server).collect()).0;
        let foreign = 100.0 * spread(valid.iter().map(|measured| measured.foreign).collect()).0;
        let discarded = all.len() - valid.len();
        println!(
            "{:<32} {rate:>9.0} {low:>7.0}..{high:<6.0} {ratio:>7.2} {least:>6.2}..{most:<5.2} {own:>10.2} + {server:<6.2} {foreign:>6.0} % {discarded:>9}",
            case.name
        );
    }
}

/// What does nothing but pass events on shows what the way itself takes.
fn report_latency(bench: &Bench<'_>, size: usize, cases: &[&Case]) {
    println!("\nms from stored to stored again, at {} events of {size} B a second", latency::PACE);
    println!("{:<32} {:>9} {:>9} {:>9} {:>9}", "", "median", "p99", "worst", "events/s");
    for case in cases.iter().filter(|case| case.is_plain()) {
        let Latency { median, p99, worst, pace } = bench.latency(case, size);
        println!("{:<32} {median:>9.2} {p99:>9.2} {worst:>9.2} {pace:>9.0}", case.name);
    }
}

/// Median, least and greatest.
fn spread(mut all: Vec<f64>) -> (f64, f64, f64) {
    all.sort_by(f64::total_cmp);
    match all.as_slice() {
        [] => (f64::NAN, f64::NAN, f64::NAN),
        [least, .., most] => (all[all.len() / 2], *least, *most),
        [one] => (*one, *one, *one),
    }
}

struct Measured {
    /// Events taken a second.
    rate: f64,
    /// Microseconds of CPU for each event, of this process and of the server.
    own: f64,
    server: f64,
    /// Share of the machine that something else used.
    foreign: f64,
}

struct Bench<'a> {
    runtime: &'a Runtime,
    context: &'a Context,
    server: &'a NatsServer,
    events: usize,
}

impl Bench<'_> {
    /// Makes the input stream anew.
    async fn fill(&self, size: usize) {
        self.recreate("IN", "in.>").await;
        orders::publish(self.context, self.events, size).await;
    }

    fn measure(&self, case: &Case) -> Measured {
        let context = self.context;
        self.runtime.block_on(self.recreate("OUT", "out.>"));
        let runtime = runtime_of(case);
        let before = Cpu::now(self.server);
        self.run(case, &runtime, self.wait_for(case, self.events));
        let cpu = Cpu::now(self.server).since(&before);
        let measured = self.runtime.block_on(async {
            let state = self.info("STREAM.INFO.OUT").await["state"].take();
            let wanted = if case.half { self.events / 2 } else { self.events };
            assert_eq!(state["messages"], wanted, "{}: {state}", case.name);
            context.delete_consumer_from_stream("RELAY", "IN").await.unwrap();
            let seconds = time(&state["last_ts"]) - time(&state["first_ts"]);
            let each = 1e6 / self.events as f64;
            Measured {
                rate: self.events as f64 / seconds,
                own: cpu.own * each,
                server: cpu.server * each,
                foreign: cpu.foreign / cpu.all,
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(5));
        measured
    }

    /// Runs the case on its runtime until the future has ended.
    fn run(&self, case: &Case, runtime: &Runtime, until: impl Future<Output = ()>) {
        match &case.way {
            Way::ByHand | Way::ByHandFast => {
                let relay = match case.way {
                    Way::ByHandFast => runtime.spawn(by_hand::fast(self.server.url())),
                    _ => runtime.spawn(by_hand::windowed(self.server.url(), case.message_id)),
                };
                self.runtime.block_on(until);
                relay.abort();
            }
            Way::Router { .. } => {
                let (folder, (stopper, stop)) = (case.folder(self.server), stop());
                let config = folder::load(folder.path()).unwrap();
                let controls = RouterControls {
                    stopper: stopper.clone(),
                    stop,
                    cache: Some(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache")).into(),
                    ..RouterControls::default()
                };
                let router = runtime.spawn(app::run(config, controls));
                self.runtime.block_on(until);
                stopper.drain();
                runtime.block_on(router).unwrap().unwrap();
            }
        }
    }

    /// Waits until the server has seen every ack.
    async fn wait_for(&self, case: &Case, events: usize) {
        let start = Instant::now();
        loop {
            sleep(Duration::from_millis(50)).await;
            let info = self.info("CONSUMER.INFO.IN.RELAY").await;
            if info["ack_floor"]["stream_seq"] == events {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{} stands still: {info}", case.name);
        }
    }

    async fn info(&self, what: &str) -> Value {
        self.api(what, json!({})).await
    }

    /// Makes a stream anew, as the router does.
    async fn recreate(&self, name: &str, subject: &str) {
        // An error means that there was none.
        let _ = self.context.delete_stream(name).await;
        let config = json!({ "name": name, "subjects": [subject], "num_replicas": 1, "allow_batched": true });
        let answer = self.api(&format!("STREAM.CREATE.{name}"), config).await;
        assert_eq!(answer.get("error"), None);
    }

    async fn api(&self, operation: &str, request: Value) -> Value {
        let payload = request.to_string().into();
        let answer = self.context.client().request(format!("$JS.API.{operation}"), payload).await.unwrap();
        serde_json::from_slice(&answer.payload).unwrap()
    }
}

fn time(value: &Value) -> f64 {
    let time: jiff::Timestamp = value.as_str().unwrap().parse().unwrap();
    time.as_nanosecond() as f64 / 1e9
}

impl Case {
    /// Returns whether events pass through as they are, without ids.
    fn is_plain(&self) -> bool {
        !self.message_id && !matches!(self.way, Way::Router { key: SELECT | MATCH | JSON | EDIT, .. })
    }

    /// The router's folder.
    fn folder(&self, server: &NatsServer) -> tempfile::TempDir {
        let Way::Router { key, params, ack, more } = &self.way else { panic!("not a router") };
        let (url, message_id) = (server.url(), self.message_id);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        for inner in ["keys", "plugins"] {
            fs::create_dir(path.join(inner)).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for component in
            ["plugins/select", "tests/guests/match-type", "tests/guests/relay-json", "tests/guests/edit-fields"]
        {
            let component = root.join(component).with_extension("wasm");
            fs::copy(&component, path.join("plugins").join(component.file_name().unwrap())).unwrap();
        }
        let settings = format!(
            r#"
            [nats]
            url = "{url}"
            [[source]]
            name = "in"
            type = "jetstream"
            stream = "IN"
            durable = "RELAY"
            ack = "{ack}"
            [[sink]]
            name = "out"
            type = "nats"
            subject = "out.{{subject}}"
            message_id = {message_id}
            {more}
            "#
        );
        fs::write(path.join("trommel.toml"), settings).unwrap();
        let key = format!(
            "[[key]]\nkey = \"relay\"\nsubject = \"in.*\"\n{key}\n[[route]]\nkey = \"relay\"\nparams = {params}\nsinks = [\"out\"]\n"
        );
        fs::write(path.join("keys/relay.toml"), key).unwrap();
        folder
    }
}

/// Seconds of CPU.
struct Cpu {
    own: f64,
    server: f64,
    foreign: f64,
    /// Of all cores, idle ones too.
    all: f64,
}

impl Cpu {
    fn now(server: &NatsServer) -> Self {
        let numbers = |file: &str, skip: usize, take: usize| -> Vec<f64> {
            let text = fs::read_to_string(file).unwrap();
            // A process may have blanks in its name, which stands in parentheses.
            let text = text.rsplit_once(')').map_or(&*text, |(_, rest)| rest);
            let numbers = text.lines().next().unwrap().split_whitespace().skip(skip).take(take);
            // The system counts hundredths.
            numbers.map(|number| number.parse::<f64>().unwrap() / 100.0).collect()
        };
        let of = |process: &str| numbers(&format!("/proc/{process}/stat"), 11, 2).iter().sum();
        let (own, server): (f64, f64) = (of("self"), of(&server.process().to_string()));
        let machine = numbers("/proc/stat", 1, 8);
        let all: f64 = machine.iter().sum();
        // The fourth and the fifth are idle time.
        Self { own, server, foreign: all - machine[3] - machine[4] - own - server, all }
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            own: self.own - before.own,
            server: self.server - before.server,
            foreign: self.foreign - before.foreign,
            all: self.all - before.all,
        }
    }
}

//! A filter that does on demand what no filter should. The param `mode` says what; nothing else makes it misbehave,
//! so that one compiled component serves every test of the host's limits.
//!
//! It wishes for `state`, and reads the payload in `matches`, id, headers and payload in `process`.

use std::hint::black_box;

use exports::trommel::filter::filter::{
    Condition, Event, Failure, Guest, GuestSubscription, Manifest, Outcome, Params,
};
use trommel::filter::{
    log::{self, Level},
    state,
    types::{Emission, Fields, Hooks},
};

wit_bindgen::generate!({ path: "../../../wit/v0.1.0", world: "filter-component" });

const MODES: &[&str] = &[
    // Well-behaved.
    "ok",
    "drop",
    "unmatched",
    "replace",
    "emit",
    "echo-projection",
    "count",
    "log",
    "slow",
    // Says no.
    "malformed",
    "retry",
    "failed",
    "broken",
    "fail-once-per-id",
    "refuse-params",
    // Breaks.
    "trap-normalize",
    "trap-constructor",
    "trap-conditions",
    "trap-matches",
    "trap-process",
    "flaky-trap",
    "flaky-trap-matches",
    "loop-normalize",
    "loop-constructor",
    "loop-conditions",
    "loop-matches",
    "loop-process",
    "hog-matches",
    "hog-process",
    "recurse",
    "recurse-matches",
    "huge-output",
    "many-emissions",
    "log-in-constructor",
    "log-in-matches",
    "call-in-constructor",
    "call-in-matches",
    "log-storm",
    "host-call-storm",
];

struct Misbehave;

impl Guest for Misbehave {
    type Subscription = Subscription;

    fn describe() -> Manifest {
        Manifest {
            name: "misbehave".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: "Does on demand what no filter should".to_owned(),
            hooks: Hooks::all(),
            match_reads: Fields::PAYLOAD,
            process_reads: Fields::ID | Fields::HEADERS | Fields::PAYLOAD,
            capabilities: vec!["state".to_owned()],
        }
    }

    fn normalize_params(_key: String, params: Params) -> Result<Params, Failure> {
        let mode = param(&params, "mode");
        match mode {
            "refuse-params" => return Err(Failure::Malformed("these params are refused".to_owned())),
            "trap-normalize" => trap(),
            "loop-normalize" => endless(),
            _ if !MODES.contains(&mode) => {
                return Err(Failure::Malformed(format!("`{mode}` is no mode of `misbehave`")));
            }
            _ => {}
        }
        Ok(params)
    }
}

struct Subscription {
    mode: String,
    /// How many: emissions, log lines, host calls, or millions of steps in `slow`.
    n: u32,
}

impl GuestSubscription for Subscription {
    fn new(_key: String, params: Params) -> Self {
        let mode = param(&params, "mode").to_owned();
        match mode.as_str() {
            "trap-constructor" => trap(),
            "loop-constructor" => endless(),
            "log-in-constructor" => log::write(Level::Info, "logged in the constructor"),
            "call-in-constructor" => drop(state::get("called in the constructor")),
            _ => {}
        }
        Self { mode, n: param(&params, "n").parse().unwrap_or(3) }
    }

    fn conditions(&self) -> Vec<Vec<Condition>> {
        match self.mode.as_str() {
            "trap-conditions" => trap(),
            "loop-conditions" => endless(),
            _ => Vec::new(),
        }
    }

    fn matches(&self, event: Event) -> bool {
        match self.mode.as_str() {
            "unmatched" => false,
            "trap-matches" => trap(),
            "loop-matches" => endless(),
            "hog-matches" => hog(),
            "flaky-trap-matches" if contains(&event, b"poison") => trap(),
            "log-in-matches" => {
                log::write(Level::Info, "logged in matches");
                true
            }
            "recurse-matches" => recurse(0) == 0,
            "call-in-matches" => state::get("called in matches").is_ok(),
            "echo-projection" => projection(&event) == "payload",
            _ => true,
        }
    }

    fn process(&self, event: Event) -> Result<Outcome, Failure> {
        match self.mode.as_str() {
            "drop" => Ok(Outcome::Drop),
            "replace" => Ok(Outcome::Replace(b"replaced".to_vec())),
            "emit" => Ok(Outcome::Emit((0..self.n).map(emission).collect())),
            "echo-projection" => Ok(Outcome::Replace(projection(&event).into_bytes())),
            "count" => {
                let count = state::add("count", 1, None).map_err(unavailable)?;
                Ok(Outcome::Replace(count.to_string().into_bytes()))
            }
            "log" => {
                log::write(Level::Info, &format!("attempt {}", event.attempt));
                Ok(Outcome::Keep)
            }
            "slow" => {
                work(u64::from(self.n) * 1_000_000);
                Ok(Outcome::Keep)
            }
            "malformed" => Err(Failure::Malformed("never to be processed".to_owned())),
            "retry" => Err(Failure::Retry((50, "not now".to_owned()))),
            "failed" => Err(Failure::Failed("did not work".to_owned())),
            "broken" => Err(Failure::Broken("cannot go on".to_owned())),
            "fail-once-per-id" => {
                let id = event.id.unwrap_or_default();
                match state::add(&id, 1, None).map_err(unavailable)? {
                    1 => Err(Failure::Failed("the first attempt fails".to_owned())),
                    _ => Ok(Outcome::Keep),
                }
            }
            "trap-process" => {
                log::write(Level::Info, "about to trap");
                trap()
            }
            "flaky-trap" if contains(&event, b"poison") => trap(),
            "loop-process" => endless(),
            "hog-process" => hog(),
            "recurse" => Ok(Outcome::Replace(recurse(0).to_string().into_bytes())),
            "huge-output" => Ok(Outcome::Replace(vec![b'x'; 50_000_000])),
            "many-emissions" => {
                // Empty ones, so that their number is the only thing that is wrong with them.
                let empty = Emission { payload: Vec::new(), subject: None, headers: Vec::new() };
                Ok(Outcome::Emit(vec![empty; 100_000]))
            }
            "log-storm" => {
                for line in 0..100_000 {
                    log::write(Level::Info, &format!("line {line}"));
                }
                Ok(Outcome::Keep)
            }
            "host-call-storm" => {
                let refused = (0..100_000).filter(|_| state::add("storm", 1, None).is_err()).count();
                Ok(Outcome::Replace(format!("{refused} refused").into_bytes()))
            }
            _ => Ok(Outcome::Keep),
        }
    }
}

fn param<'a>(params: &'a Params, name: &str) -> &'a str {
    params.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

fn emission(index: u32) -> Emission {
    Emission {
        payload: index.to_string().into_bytes(),
        subject: Some(format!("misbehave.{index}")),
        headers: vec![("index".to_owned(), index.to_string())],
    }
}

/// The names of the fields that were handed over.
fn projection(event: &Event) -> String {
    let fields = [
        ("id", event.id.is_some()),
        ("subject", event.subject.is_some()),
        ("source-time", event.source_time.is_some()),
        ("headers", event.headers.is_some()),
        ("payload", event.payload.is_some()),
    ];
    fields.iter().filter(|(_, given)| *given).map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

fn contains(event: &Event, needle: &[u8]) -> bool {
    event.payload.as_deref().unwrap_or_default().windows(needle.len()).any(|window| window == needle)
}

fn unavailable(error: state::StateError) -> Failure {
    Failure::Broken(format!("state: {error:?}"))
}

fn trap() -> ! {
    panic!("as the mode says")
}

fn endless() -> ! {
    let mut step = 0_u64;
    loop {
        step = black_box(step.wrapping_add(1));
    }
}

/// Allocates until the host refuses, which Rust answers with an abort.
fn hog() -> ! {
    let mut held = Vec::new();
    loop {
        held.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Deep enough to exhaust any stack; the rotation keeps it from being made a loop.
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { recurse(depth + 1).rotate_left(7) ^ depth }
}

fn work(steps: u64) {
    let mut sum = 0_u64;
    for step in 0..steps {
        sum = black_box(sum.wrapping_add(step));
    }
}

export!(Misbehave);

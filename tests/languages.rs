//! One filter in six languages: the same events in, the same outcomes out.
//! `examples/languages/README.md` says what the filter does, `examples/languages/cases.ndjson` has
//! most of the cases. Not part of a plain `cargo test`, for the components must be built before:
//! `examples/languages/build && cargo test --test languages`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on should say where")]

#[path = "languages/cases.rs"]
mod cases;
#[path = "languages/hostile.rs"]
mod hostile;
#[path = "common/log.rs"]
mod log;
#[path = "languages/poison.rs"]
mod poison;
#[path = "common/filter.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod rig;
#[path = "common/stand_in.rs"]
mod stand_in;

use std::{fmt::Write as _, path::Path, sync::Arc, time::Duration};

use cases::{Answers, Case, ran};
use log::Log;
use rig::{event, settings, subscribe};
use trommel::{
    config::{FilterSettings, Grant, GuestLimits, LimitOverrides},
    event::{Event, Headers},
    filter::{
        BreakReason, CallError, CallLimits, EventFields, Failure, FailureKind, Filter, Host, Manifest, MatchError,
        ProcessError, Verdict,
    },
};

/// An interpreter wants memory. The rest is what a loaded machine may take.
const LIMITS: GuestLimits = GuestLimits {
    match_cpu: Duration::from_secs(10),
    process_cpu: Duration::from_secs(10),
    process_wall: Duration::from_secs(60),
    load: Duration::from_secs(60),
    memory: 256 << 20,
    output: 4 << 20,
    emissions: 1000,
    host_calls: 16,
    log_lines: 64,
    component: 64 << 20,
    compile_memory: 512 << 20,
    compile_cpu: Duration::from_secs(60),
    state: 256 << 20,
};

/// A component that `examples/languages/build` built, on a host of its own with an API.
async fn load(name: &str, answers: &Answers) -> Filter {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/languages/target").join(format!("{name}.wasm"));
    let file = std::fs::read(&path).unwrap_or_else(|error| {
        panic!("no component `{}` ({error}): run examples/languages/build first", path.display())
    });
    // Compiling Python takes a while: what did not change is not compiled again.
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
    let host = Host::new(Some(cache), Some(answers.client()), Arc::default()).unwrap();
    let settings = FilterSettings { grants: vec![Grant::Api, Grant::State], ..settings(name, LIMITS) };
    host.load(name, file, &settings).await.unwrap()
}

/// Everything that is promised of one language, whose kit is of a version of the contract.
/// `batched` are those whose helper takes many events in one call.
async fn conforms(language: &str, contract: &str, batched: bool) {
    let answers = Answers::new();
    let filter = load(language, &answers).await;
    says_what_it_is(&filter, contract);
    let mut wrong = String::new();
    for case in Case::all().into_iter().filter(|case| case.is_of(contract)) {
        let came = ran(&filter, &case, &answers).await;
        if came != case.expect {
            writeln!(wrong, "{}\n  expected {}\n  came     {came}", case.name, case.expect).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{language}:\n{wrong}");
    large_payloads_go_through(&filter).await;
    logs_under_its_name(&filter, language).await;
    a_trap_ends_one_instance_only(&filter).await;
    poison::goes_through_poison(&filter, language).await;
    goes_on_and_on(&filter).await;
    assert_eq!(filter.matcher().takes_batches(), batched);
    if batched {
        batches_are_answered_as_single_events(&filter).await;
    }
    if contract != "0.1" {
        if batched {
            batches_are_processed_as_single_events(&filter).await;
        }
        refuses_a_route_that_it_can_not_make(&filter).await;
    }
}

fn says_what_it_is(filter: &Filter, contract: &str) {
    let Manifest { name, version, description, hooks, match_reads, process_reads, capabilities, .. } =
        filter.manifest();
    assert_eq!((&**name, &**version, &**description), ("conformance", "1.0.0", "The same filter in every language"));
    assert_eq!(*capabilities, ["api", "state"]);
    assert!(hooks.normalize_params && hooks.conditions && hooks.matches && hooks.process);
    let nothing = EventFields::default();
    if contract == "0.1" {
        let everything = EventFields { id: true, subject: true, source_time: true, headers: true, payload: true };
        assert_eq!(*match_reads, EventFields { headers: true, ..nothing });
        assert_eq!(*process_reads, everything);
    } else {
        assert!(filter.manifest().needs.reasons.values().all(|reason| !reason.is_empty()));
    }
}

/// 1 MiB of text with all that UTF-8 has, through JSON, and 1 MiB of bytes as they are.
async fn large_payloads_go_through(filter: &Filter) {
    let text = "a\"\\é\u{1f600}e\u{301}\0".repeat((1 << 20) / 14);
    let keep = subscribe(filter, LIMITS, &[]).await;
    let payload = serde_json::json!({ "do": "text", "text": text }).to_string();
    let verdict = filter.process(&keep, &event(&payload), 1).await.unwrap();
    assert!(verdict == Verdict::Replace(text.into()), "the text changed on its way");

    let bytes: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    let echo = subscribe(filter, LIMITS, &[("mode", "echo")]).await;
    let large = Event { payload: bytes.clone().into(), ..event("") };
    let verdict = filter.process(&echo, &large, 1).await.unwrap();
    assert!(verdict == Verdict::Replace(bytes.into()), "the bytes changed on their way");
}

async fn logs_under_its_name(filter: &Filter, language: &str) {
    let subscription = subscribe(filter, LIMITS, &[("mode", "log")]).await;
    let (log, guard) = Log::start(tracing::Level::INFO);
    let verdict = filter.process(&subscription, &event(r#"{"text":"größer \ud83d\ude00"}"#), 1).await.unwrap();
    drop(guard);
    assert_eq!(verdict, Verdict::Keep);
    assert_eq!(
        log.text().trim(),
        format!("INFO filter: größer \u{1f600} filter=\"{language}\" key=\"key\" event=\"id-1\"")
    );
}

async fn a_trap_ends_one_instance_only(filter: &Filter) {
    let trap = subscribe(filter, LIMITS, &[("mode", "trap")]).await;
    for _ in 0..2 {
        let error = filter.process(&trap, &event("{}"), 1).await.unwrap_err();
        let ProcessError::Broke(broken) = error else { panic!("{error}") };
        assert_eq!(broken.reason, BreakReason::Trap, "{broken}");
    }
    let keep = subscribe(filter, LIMITS, &[]).await;
    assert_eq!(filter.process(&keep, &event("{}"), 1).await.unwrap(), Verdict::Keep);
}

/// Collectors run, instances that leak are replaced, and none of it is seen.
async fn goes_on_and_on(filter: &Filter) {
    let subscription = subscribe(filter, LIMITS, &[]).await;
    let text = "x".repeat(10_000);
    let mut event = event(&serde_json::json!({ "do": "text", "text": text }).to_string());
    (0..100).for_each(|header| event.headers.push(header.to_string(), "x".repeat(100)));
    let mut matcher = filter.matcher();
    for _ in 0..2_000 {
        assert!(matcher.matches(&subscription, &event).unwrap());
        let verdict = filter.process(&subscription, &event, 1).await.unwrap();
        assert!(verdict == Verdict::Replace(text.clone().into()));
    }
}

async fn batches_are_answered_as_single_events(filter: &Filter) {
    let events: Vec<Event> = (0..200).map(varied).collect();
    let events: Vec<&Event> = events.iter().collect();
    let subscription = subscribe(filter, LIMITS, &[]).await;
    let mut matcher = filter.matcher();
    let single: Vec<bool> =
        events.iter().map(|event| matcher.matches(&subscription, event)).collect::<Result<_, MatchError>>().unwrap();
    assert!(single.contains(&true) && single.contains(&false));
    for size in [1, 2, 63, 64, 65, 200] {
        let batches = events.chunks(size).map(|batch| matcher.matches_batch(&subscription, batch));
        let batched: Vec<bool> = batches.collect::<Result<Vec<_>, MatchError>>().unwrap().concat();
        assert_eq!(batched, single, "in batches of {size}");
    }
}

/// Edits, emissions, failures and outcomes of every other kind, all in one call.
async fn batches_are_processed_as_single_events(filter: &Filter) {
    let actions = ["keep", "drop", "text", "emit", "edit", "outputs", "coded", "defer", "malformed", "nothing"];
    let payload = |number: usize| {
        let action = actions[number % actions.len()];
        let text = ["größer \u{1f600}", "", "plain"][number % 3];
        serde_json::json!({ "do": action, "text": text, "n": number % 4, "path": "a.b" }).to_string()
    };
    let mut events: Vec<Event> = (0..64).map(|number| event(&payload(number))).collect();
    events.push(event("no JSON"));
    let events: Vec<&Event> = events.iter().collect();
    let subscription = subscribe(filter, LIMITS, &[]).await;
    let mut single = Vec::new();
    for event in &events {
        single.push(format!("{:?}", filter.process(&subscription, event, 1).await.map_err(said)));
    }
    for size in [1, 2, 65] {
        let mut batched = Vec::new();
        for batch in events.chunks(size) {
            let answers = filter.process_batch(&subscription, batch).await.unwrap();
            batched.extend(answers.into_iter().map(|answer| format!("{answer:?}")));
        }
        assert_eq!(batched, single, "in batches of {size}");
    }
}

fn said(error: ProcessError) -> Failure {
    let ProcessError::Said(failure) = error else { panic!("{error}") };
    failure
}

async fn refuses_a_route_that_it_can_not_make(filter: &Filter) {
    let limits = CallLimits::new(&LIMITS, &LimitOverrides::default());
    let refused = filter.subscribe("key", rig::params(&[("mode", "Keep")]), limits).await.map(drop).unwrap_err();
    let CallError::Said(Failure { kind: FailureKind::Malformed, cause }) = refused else { panic!("{refused}") };
    assert_eq!(cause.detail, "`mode` is not known: `Keep`");
}

/// Events whose types and headers differ in every way that matters to `matches`.
fn varied(number: usize) -> Event {
    let types = ["created", "skip", "projection", "größer \u{1f600}", ""];
    let values = ["yes", "no", "", "j\u{e4}"];
    let mut headers = Headers::default();
    for header in 0..number % 4 {
        headers.push(["skip", "other", "größe"][(number / 4 + header) % 3], values[(number / 3 + header) % 4]);
    }
    Event { event_type: types[number % types.len()].into(), headers, ..event("{}") }
}

macro_rules! languages {
    ($($name:ident, contract: $contract:expr, batched: $batched:expr;)*) => {
        $(#[tokio::test(flavor = "current_thread")]
        async fn $name() {
            conforms(stringify!($name), $contract, $batched).await;
        })*
    };
}

languages! {
    rust, contract: "0.2", batched: true;
    c, contract: "0.2", batched: true;
    js, contract: "0.2", batched: true;
    ts, contract: "0.2", batched: true;
    python, contract: "0.2", batched: true;
    go, contract: "0.2", batched: true;
}

#[test]
fn there_are_cases_of_every_kind() {
    let expected: Vec<String> = Case::all().iter().map(|case| case.expect.to_string()).collect();
    for kind in ["dropped", "kept", "replaced", "emitted", "malformed", "retry", "defer", "failed", "broken", "refused"]
    {
        assert!(expected.iter().any(|outcome| outcome.contains(kind)), "no case is {kind}");
    }
}

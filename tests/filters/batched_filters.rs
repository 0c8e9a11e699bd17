//! A filter that takes batches answers as if it were asked event by event: the same outcomes in the
//! same order, and whatever breaks a batch is found, one by one.

use crate::filter as rig;
use crate::flow;
use crate::nats;
use crate::router;

use std::{cell::RefCell, sync::Arc, time::Duration};

use flow::{Load, assert_each_once, outputs_until};
use nats::NatsServer;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rig::*;
use router::{Folder, component_bytes};
use trommel::{
    config::GuestLimits,
    event::{Event, Headers},
    filter::{BreakReason, CallFault, MatchError, Matcher, RouteSubscription},
};

fn limits() -> GuestLimits {
    GuestLimits { match_cpu: Duration::from_millis(200), memory: 16 << 20, ..GuestLimits::default() }
}

async fn asked(filter: &str, given: &[(&str, &str)]) -> (Matcher, Arc<RouteSubscription>) {
    let filter = load(&host(), filter, limits()).await;
    let subscription = subscribe(&filter, limits(), given).await;
    (filter.matcher(), subscription)
}

/// Texts of every length of a character in UTF-8, payloads from nothing to more than fits a batch.
fn any_event() -> impl Strategy<Value = Event> {
    let text = "(\\PC|\u{0}|é|e\u{301}|😀){0,12}";
    let payload = prop_oneof![
        8 => vec(any::<u8>(), 0..40),
        1 => vec(any::<u8>(), 60_000..70_000),
        1 => Just(vec![b'x'; 300 << 10]),
    ];
    let headers = vec((text, text), 0..4);
    let texts = ("[a-c]{0,2}", text, text, option::of(text));
    (texts, payload, headers, any::<u64>(), any::<u32>()).prop_map(|(texts, payload, headers, observed_at, attempt)| {
        let (event_type, id, subject, source_time) = texts;
        Event {
            event_type: event_type.into(),
            id: id.into(),
            subject: subject.into(),
            source_time: source_time.map(Into::into),
            observed_at,
            attempt,
            headers: headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect::<Headers>(),
            payload: payload.into(),
            ..event("")
        }
    })
}

/// `parity` answers by a checksum of all that it is handed, so one byte that does not come through
/// shows.
#[tokio::test]
async fn a_batch_answers_as_event_by_event() {
    answers_as_event_by_event(file("parity")).await;
}

#[tokio::test]
async fn a_batch_of_version_0_1_1_answers_as_event_by_event() {
    let frozen = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frozen/0.1.1/parity.wasm");
    answers_as_event_by_event(std::fs::read(frozen).unwrap()).await;
}

async fn answers_as_event_by_event(component: Vec<u8>) {
    let filter = host().load("parity", component, &settings("parity", limits())).await.unwrap();
    let subscription = subscribe(&filter, limits(), &[("salt", "7")]).await;
    let same = subscribe(&filter, limits(), &[("salt", "7")]).await;
    let (alone, batched) = (filter.matcher(), filter.matcher());
    let (alone, batched) = (RefCell::new(alone), RefCell::new(batched));
    let mut runner = TestRunner::new(Config { failure_persistence: None, cases: 64, ..Config::default() });
    let events = vec(any_event(), 1..130);
    let outcome = runner.run(&events, |events| {
        let ask = |event| alone.borrow_mut().matches(&subscription, event).unwrap();
        let one_by_one: Vec<bool> = events.iter().map(ask).collect();
        let events: Vec<&Event> = events.iter().collect();
        prop_assert_eq!(batched.borrow_mut().matches_batch(&same, &events).unwrap(), one_by_one);
        Ok(())
    });
    outcome.unwrap();
}

#[tokio::test]
async fn a_filter_that_exports_no_batches_is_not_asked_for_them() {
    let (matcher, _) = asked("match-type", &[]).await;
    assert!(!matcher.takes_batches());
}

/// Bits past the last event mean nothing.
#[tokio::test]
async fn only_the_bits_of_events_count() {
    let (mut matcher, subscription) = asked("batch-liar", &[]).await;
    let (yes, no) = (event(r#"{"yes":1}"#), event("{}"));
    let answers = matcher.matches_batch(&subscription, &[&yes, &no, &yes]).unwrap();
    assert_eq!(answers, [true, false, true]);
}

/// A break says nothing of any event, and the next question is answered by a fresh instance.
#[tokio::test]
async fn a_batch_that_breaks_is_no_answer() {
    for (mode, reason, detail) in [
        ("short", BreakReason::BadOutput, "it answered with 0 numbers of 64 bits for 2 events"),
        ("long", BreakReason::BadOutput, "it answered with 2 numbers of 64 bits for 2 events"),
        ("trap", BreakReason::Trap, "unreachable"),
        ("loop", BreakReason::CpuDeadline, "interrupt"),
        ("hog", BreakReason::Memory, ""),
    ] {
        let (mut matcher, subscription) = asked("batch-liar", &[("mode", mode)]).await;
        let (yes, no) = (event(r#"{"yes":1}"#), event("{}"));
        let Err(MatchError::Fault(CallFault::Broke(broken))) = matcher.matches_batch(&subscription, &[&yes, &no])
        else {
            panic!("`{mode}` should break");
        };
        assert_eq!((broken.reason, broken.call), (reason, "matches-batch"), "{mode}: {}", broken.detail);
        assert!(broken.detail.contains(detail), "{mode}: {}", broken.detail);
        assert!(matcher.matches(&subscription, &yes).unwrap());
        assert!(!matcher.matches(&subscription, &no).unwrap());
    }
}

/// It would cost an instance every time; a single bad event does not count as much.
#[tokio::test]
async fn batches_that_break_again_and_again_are_given_up() {
    let (mut matcher, subscription) = asked("parity", &[]).await;
    let (good, bad) = (event("{}"), event(r#"{"trap":1}"#));
    for _ in 0..5 {
        matcher.matches_batch(&subscription, &[&good, &bad]).unwrap_err();
        matcher.matches_batch(&subscription, &[&good, &bad]).unwrap_err();
        matcher.matches_batch(&subscription, &[&good, &good]).unwrap();
        assert!(matcher.takes_batches());
    }
    for _ in 0..3 {
        assert!(matcher.takes_batches());
        matcher.matches_batch(&subscription, &[&good, &bad]).unwrap_err();
    }
    assert!(!matcher.takes_batches());
}

const SETTINGS: &str = r#"
    [[source]]
    name = "events"
    type = "lines"
    path = "in.txt"

    [[sink]]
    name = "out"
    type = "stdout"

    [dead_letter]
    file = "dead.ndjson"
"#;

/// One lane.
fn keys(params: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "batched"
        subject = "events"
        order_by = "subject"
        filter = "filter"
        params = [{{ name = "mode", type = "string" }}, {{ name = "max", type = "int" }}]

        [[route]]
        key = "batched"
        params = {params}
        sinks = ["out"]
        "#
    )
}

/// What comes out of a router, and its dead letters, for lines that go in.
fn run(filter: &str, params: &str, lines: &[String]) -> (Vec<String>, Vec<String>) {
    let folder = Folder::new(SETTINGS).write("keys/keys.toml", &keys(params)).plugin("filter", filter);
    folder.put("in.txt", lines.join("\n").as_bytes());
    let output = folder.run();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let dead = folder.read("dead.ndjson");
    (lines_of(&String::from_utf8(output.stdout).unwrap()), lines_of(&dead))
}

fn lines_of(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// In mode `all` a batch wants what is not wanted alone: it is by batches that the router asks.
#[test]
fn a_router_asks_in_batches() {
    let lines: Vec<String> = (0..500).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let (out, dead) = run("batch-liar", r#"{ mode = "all" }"#, &lines);
    // A run of one event is asked about alone.
    assert!(out.len() > 400 && dead.is_empty(), "{} outputs", out.len());
}

/// However a batch breaks, its events come out as they would alone, in order.
#[test]
fn batches_that_break_lose_and_reorder_nothing() {
    let line = |n: usize| if n.is_multiple_of(3) { format!(r#"{{"yes":{n}}}"#) } else { format!(r#"{{"no":{n}}}"#) };
    let lines: Vec<String> = (0..500).map(line).collect();
    let wanted: Vec<String> = lines.iter().filter(|line| line.contains("yes")).cloned().collect();
    for mode in ["short", "long", "trap", "loop", "hog"] {
        let (out, dead) = run("batch-liar", &format!(r#"{{ mode = "{mode}" }}"#), &lines);
        assert_eq!((out, dead), (wanted.clone(), Vec::new()), "{mode}");
    }
}

/// `match-batch` is `match-type` that is asked in batches.
#[test]
fn a_router_lets_the_same_events_through_in_batches_as_alone() {
    let lines: Vec<String> = (0..2_000).map(|n| format!(r#"{{"n":"{}"}}"#, "é".repeat(n % 37))).collect();
    let (alone, _) = run("match-type", "{ max = \"40\" }", &lines);
    let (batched, _) = run("match-batch", "{ max = \"40\" }", &lines);
    assert!(alone.len() > 500 && alone.len() < 1_500, "{}", alone.len());
    assert_eq!(alone, batched);
}

/// A batch says nothing of who broke it: one by one the culprits become dead letters, and nobody
/// else.
#[test]
fn the_culprits_are_found() {
    let culprit = |n: usize| [100, 101, 333].contains(&n);
    let line = |n: usize| if culprit(n) { format!(r#"{{"trap":{n}}}"#) } else { format!(r#"{{"n":{n}}}"#) };
    let lines: Vec<String> = (0..500).map(line).collect();
    let (out, dead) = run("parity", "{}", &lines);
    assert!(out.len() > 150 && out.len() < 350, "{} outputs", out.len());
    assert!(out.is_sorted_by_key(|line| lines.iter().position(|known| known == line)));
    let letters: Vec<serde_json::Value> = dead.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(letters.len(), 3, "{dead:?}");
    for (letter, culprit) in letters.iter().zip([100, 101, 333]) {
        assert_eq!((&letter["reason"], &letter["payload"]["trap"]), (&"trap".into(), &culprit.into()), "{letter}");
    }
}

/// A component that takes batches and one that does not take each other's place while events flow.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_in_the_midst_of_batches_loses_and_doubles_nothing() {
    let server = NatsServer::start().await;
    let context = flow::connect(&server.url()).await;
    let settings = flow::settings(&server.url(), "", "message_id = false");
    let key =
        "[[key]]\nkey = \"k\"\nsubject = \"in.*\"\nfilter = \"filter\"\n[[route]]\nkey = \"k\"\nsinks = [\"out\"]\n";
    let folder = Folder::new(&settings).write("keys/keys.toml", key).plugin("filter", "match-batch");
    let mut router = folder.start();
    let load = Load::start(context.clone(), 7, Duration::ZERO);
    for turn in 0..8 {
        let mut component = component_bytes(["match-type", "match-batch"][turn % 2]);
        // A section that nothing reads, so that no two turns have the same content.
        component.extend([0, 3, 1, b't', turn as u8]);
        folder.put("plugins/filter.wasm", &component);
        router.wait_for("reloaded");
    }
    let published = load.stop().await;
    let outputs = outputs_until(&context, "all events", |outputs| outputs.len() >= published).await;
    assert_each_once(&outputs, published);
    assert!(router.stop().status.success());
}

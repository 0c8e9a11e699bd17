//! Guests built against WASI get it with nothing in it: no environment, no files, no network, and
//! in `matches` no time, no chance and no wait that lasts.

use crate::filter as rig;
use crate::log;

use std::time::{Duration, Instant};

use log::Log;
use rig::*;
use trommel::{
    config::GuestLimits,
    event::{Event, Headers},
    filter::{BreakReason, CallFault, Filter, MatchError, ProcessError, Verdict},
};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A filter made by hand for preview 1 of WASI, as C and Go make them. `matches` is the body of a
/// function that returns an `i32`, `process` one that returns nothing; both may use `$scratch`,
/// where the pages are zero.
fn guest(matches: &str, process: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "fd_prestat_get" (func $preopens (param i32 i32) (result i32)))
          (import "[export]trommel:filter/filter@0.1.0" "[resource-new]subscription" (func $new (param i32) (result i32)))
          (memory (export "memory") 32)
          (global $next (mut i32) (i32.const 65536))
          ;; hooks: matches and process
          (data (i32.const 24) "\0c")
          ;; the outcome `keep`
          (data (i32.const 132) "\01")
          ;; a line to print
          (data (i32.const 200) "\d0\00\00\00\06\00\00\00")
          (data (i32.const 208) "hello\0a")
          ;; a wait of ten seconds on the monotonic clock
          (data (i32.const 316) "\01")
          (data (i32.const 324) "\00\e4\0b\54\02")
          (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (local $at i32)
            (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
            (global.set $next (i32.add (local.get $at) (local.get 3)))
            (local.get $at))
          (func (export "trommel:filter/filter@0.1.0#describe") (result i32) (i32.const 0))
          (func (export "trommel:filter/filter@0.1.0#normalize-params") (param i32 i32 i32 i32) (result i32) unreachable)
          (func (export "trommel:filter/filter@0.1.0#[constructor]subscription") (param i32 i32 i32 i32) (result i32)
            (call $new (i32.const 1)))
          (func (export "trommel:filter/filter@0.1.0#[method]subscription.conditions") (param i32) (result i32) unreachable)
          (func (export "trommel:filter/filter@0.1.0#[method]subscription.matches") (param i32) (result i32)
            {matches})
          (func (export "trommel:filter/filter@0.1.0#[method]subscription.process") (param i32) (result i32)
            {process}
            (i32.const 128)))"#
    );
    let mut module = wat::parse_str(module).unwrap();
    let mut resolve = Resolve::default();
    let package = resolve.push_source("filter.wit", include_str!("../../wit/v0.1.0/filter.wit")).unwrap();
    let world = resolve.select_world(&[package], Some("filter-component")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    module
}

const WAIT: &str = "(drop (call $poll_oneoff (i32.const 300) (i32.const 400) (i32.const 1) (i32.const 500)))";
const PRINT: &str = "(drop (call $fd_write (i32.const 1) (i32.const 200) (i32.const 1) (i32.const 500)))";

fn limits() -> GuestLimits {
    GuestLimits {
        process_wall: Duration::from_millis(200),
        match_cpu: Duration::from_secs(1),
        ..GuestLimits::default()
    }
}

async fn load_guest(matches: &str, process: &str) -> Filter {
    host().load("wasi", guest(matches, process), &settings("wasi", limits())).await.unwrap()
}

async fn matches(body: &str) -> Result<bool, MatchError> {
    let filter = load_guest(body, "").await;
    let subscription = subscribe(&filter, limits(), &[]).await;
    let mut matcher = filter.matcher();
    let first = matcher.matches(&subscription, &event("{}"))?;
    assert_eq!(matcher.matches(&subscription, &event("{}")).unwrap(), first, "the same event, the same answer");
    Ok(first)
}

#[tokio::test]
async fn there_is_nothing_to_find() {
    let no_environment = "(drop (call $environ (i32.const 500) (i32.const 504))) (i32.eqz (i32.load (i32.const 500)))";
    assert!(matches(no_environment).await.unwrap());
    // 8 is the error that says that the descriptor is not open.
    let no_folders = "(i32.eq (call $preopens (i32.const 3) (i32.const 500)) (i32.const 8))";
    assert!(matches(no_folders).await.unwrap());
}

#[tokio::test]
async fn the_clock_of_matches_shows_when_the_event_was_seen() {
    let seen = event("{}").observed_at;
    let clock = |shows: u64| {
        format!(
            "(drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 504)))
            (i64.eq (i64.load (i32.const 504)) (i64.const {shows}))"
        )
    };
    assert!(matches(&clock(seen)).await.unwrap());
    assert!(!matches(&clock(0)).await.unwrap());
}

/// What is drawn is printed, over the `hello`, so that two instances can be compared.
#[tokio::test(flavor = "current_thread")]
async fn every_instance_draws_the_same() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let draw = format!("(drop (call $random_get (i32.const 208) (i32.const 5))) {PRINT} (i32.const 1)");
    let filter = load_guest(&draw, "").await;
    let subscription = subscribe(&filter, limits(), &[]).await;
    for _ in 0..2 {
        assert!(filter.matcher().matches(&subscription, &event("{}")).unwrap());
    }
    let log = log.text();
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    assert_eq!(lines[0], lines[1]);
    assert!(!log.contains("hello"), "{log}");
}

/// As Go's runtime does before it tells of a panic.
#[tokio::test]
async fn a_wait_in_matches_takes_no_time() {
    let start = Instant::now();
    assert!(matches(&format!("{WAIT} (i32.const 1)")).await.unwrap());
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[tokio::test]
async fn process_may_wait_no_longer_than_its_wall_limit() {
    let filter = load_guest("(i32.const 1)", WAIT).await;
    let subscription = subscribe(&filter, limits(), &[]).await;
    let start = Instant::now();
    let Err(ProcessError::Broke(broken)) = filter.process(&subscription, &event("{}"), 1).await else {
        panic!("it should break");
    };
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(
        (broken.reason, &*broken.detail),
        (BreakReason::WallDeadline, "it took longer than 200ms, calls to the host included")
    );
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_printed_goes_to_the_log() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let filter = load_guest("(i32.const 1)", PRINT).await;
    let subscription = subscribe(&filter, limits(), &[]).await;
    assert_eq!(filter.process(&subscription, &event("{}"), 1).await.unwrap(), Verdict::Keep);
    assert_eq!(log.text().trim(), r#"INFO filter: hello filter="wasi" key="key" event="id-1" stream="stdout""#);
}

/// A break is told with what was printed before it, which is a warning where it is an error's text.
#[tokio::test(flavor = "current_thread")]
async fn the_last_words_of_a_broken_call_are_told() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let to_stderr = PRINT.replace("(i32.const 1) (i32.const 200)", "(i32.const 2) (i32.const 200)");
    let filter = load_guest(&format!("{to_stderr} unreachable"), &format!("{PRINT} {to_stderr} unreachable")).await;
    let subscription = subscribe(&filter, limits(), &[]).await;
    let event = Event { headers: traced(), ..event("{}") };
    let Err(MatchError::Fault(CallFault::Broke(broken))) = filter.matcher().matches(&subscription, &event) else {
        panic!("it traps")
    };
    assert!(broken.detail.ends_with("\nits last lines:\nhello"), "{broken}");
    let Err(ProcessError::Broke(broken)) = filter.process(&subscription, &event, 1).await else { panic!("it traps") };
    assert!(broken.detail.ends_with("\nits last lines:\nhello\nhello"), "{broken}");
    let of_call = r#"filter="wasi" key="key" event="id-1" trace="0af7651916cd43dd8448eb211c80319c""#;
    let expected = [("WARN", "stderr"), ("INFO", "stdout"), ("WARN", "stderr")];
    let expected = expected.map(|(level, stream)| format!("{level} filter: hello {of_call} stream=\"{stream}\""));
    assert_eq!(log.text().lines().map(str::trim).collect::<Vec<_>>(), expected);
}

fn traced() -> Headers {
    let mut headers = Headers::default();
    headers.push("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    headers
}

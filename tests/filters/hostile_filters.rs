//! A filter that misbehaves harms nobody but itself: each kind of break has its own type and
//! reason, ends in time, and the host and the other filters go on.

use crate::crafted;
use crate::filter as rig;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crafted::{Trick, WAIT};
use rig::*;
use trommel::{
    config::GuestLimits,
    filter::{
        BreakReason, BrokenCall, CallError, CallFault, CodeCache, CodeQuality, Failure, FailureKind, Filter, Host,
        LoadError, MATCHER_STACK, MatchError, ProcessError, RouteSubscription, Verdict,
    },
};

/// A host with the compiler that this module, which is there for each, is about.
fn host() -> Host {
    let quality = if module_path!().ends_with("quickly") { CodeQuality::Quick } else { CodeQuality::Optimised };
    Host::new(CodeCache { folder: None, quality }, None, Arc::default()).unwrap()
}

/// With CPU time enough for a slow machine to come to the limit that a test is about.
fn limits() -> GuestLimits {
    GuestLimits {
        match_cpu: Duration::from_secs(1),
        process_cpu: Duration::from_secs(1),
        process_wall: Duration::from_secs(30),
        load: Duration::from_millis(300),
        memory: 16 << 20,
        ..GuestLimits::default()
    }
}

async fn misbehave(mode: &str) -> (Filter, Arc<RouteSubscription>) {
    let filter = load(&host(), "misbehave", limits()).await;
    let subscription = subscribe(&filter, limits(), &[("mode", mode)]).await;
    (filter, subscription)
}

/// How `process` breaks in a mode, and that the filter goes on afterwards.
async fn process_breaks(mode: &str) -> BrokenCall {
    let (filter, bad) = misbehave(mode).await;
    let good = subscribe(&filter, limits(), &[("mode", "ok")]).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else {
        panic!("`{mode}` should break");
    };
    assert_eq!(filter.process(&good, &event("{}"), 1).await.unwrap(), Verdict::Keep);
    assert_eq!((&*broken.filter, &*broken.digest, broken.call), ("misbehave", filter.digest(), "process"));
    broken
}

/// How `matches` breaks in a mode, and that the matcher goes on afterwards.
async fn matches_breaks(mode: &str) -> BrokenCall {
    let (filter, bad) = misbehave(mode).await;
    let good = subscribe(&filter, limits(), &[("mode", "ok")]).await;
    let mut matcher = filter.matcher();
    let Err(MatchError::Fault(CallFault::Broke(broken))) = matcher.matches(&bad, &event("{}")) else {
        panic!("`{mode}` should break");
    };
    assert!(matcher.matches(&good, &event("{}")).unwrap());
    assert_eq!(broken.call, "matches");
    broken
}

/// How taking a route into service breaks in a mode.
async fn subscribe_breaks(mode: &str) -> BrokenCall {
    let filter = load(&host(), "misbehave", limits()).await;
    let call_limits = trommel::filter::CallLimits::new(&limits(), &Default::default());
    match filter.subscribe("key", params(&[("mode", mode)]), call_limits).await {
        Err(CallError::Broke(broken)) => broken,
        other => panic!("`{mode}` should break, not {other:?}"),
    }
}

#[tokio::test]
async fn a_trap_says_where() {
    let broken = process_breaks("trap-process").await;
    assert_eq!(broken.reason, BreakReason::Trap);
    assert!(broken.detail.contains("unreachable"), "{}", broken.detail);
    assert!(broken.detail.contains(", in "), "{}", broken.detail);
    assert!(broken.detail.ends_with("\nits last lines:\nabout to trap"), "{}", broken.detail);
    assert_eq!(matches_breaks("trap-matches").await.reason, BreakReason::Trap);
    let broken = subscribe_breaks("trap-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", BreakReason::Trap));
    let broken = subscribe_breaks("trap-conditions").await;
    assert_eq!((broken.call, broken.reason), ("conditions", BreakReason::Trap));
}

#[tokio::test]
async fn a_loop_ends_with_its_budget() {
    let start = Instant::now();
    assert_eq!(matches_breaks("loop-matches").await.reason, BreakReason::CpuDeadline);
    assert_eq!(process_breaks("loop-process").await.reason, BreakReason::CpuDeadline);
    let broken = subscribe_breaks("loop-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", BreakReason::CpuDeadline));
    let broken = subscribe_breaks("loop-conditions").await;
    assert_eq!((broken.call, broken.reason), ("conditions", BreakReason::CpuDeadline));
    let filter = load(&host(), "misbehave", limits()).await;
    let Err(CallError::Broke(broken)) = filter.normalize_params("key", params(&[("mode", "loop-normalize")])).await
    else {
        panic!("it should break");
    };
    assert!(matches!(broken.reason, BreakReason::CpuDeadline | BreakReason::WallDeadline), "{broken}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_loop_in_describe_refuses_the_component() {
    let host = host();
    let start = Instant::now();
    let looping = host.load("loop-describe", file("loop-describe"), &settings("loop-describe", limits())).await;
    let Err(LoadError::Broke(broken)) = looping else { panic!("it should break") };
    assert_eq!((broken.call, broken.reason), ("describe", BreakReason::CpuDeadline));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    load(&host, "misbehave", limits()).await;
}

/// On one thread nothing else would run if the filter did not let it.
#[tokio::test(flavor = "current_thread")]
async fn a_loop_in_process_lets_others_run() {
    let (filter, bad) = misbehave("loop-process").await;
    let ticks = async {
        let mut ticks = 0;
        let mut interval = tokio::time::interval(Duration::from_millis(5));
        loop {
            interval.tick().await;
            ticks += 1;
            if ticks == 10 {
                return;
            }
        }
    };
    let event = event("{}");
    tokio::select! {
        biased;
        result = filter.process(&bad, &event, 1) => panic!("ended before ten ticks of 5 ms: {result:?}"),
        () = ticks => {}
    }
}

#[tokio::test]
async fn memory_is_limited() {
    let broken = process_breaks("hog-process").await;
    assert_eq!(broken.reason, BreakReason::Memory, "{broken}");
    assert_eq!(matches_breaks("hog-matches").await.reason, BreakReason::Memory);
}

#[tokio::test]
async fn output_is_limited_in_size_and_number() {
    let broken = process_breaks("huge-output").await;
    assert_eq!(broken.reason, BreakReason::Memory, "16 MiB of memory hold no 50 MB: {broken}");
    let filter = load(&host(), "misbehave", GuestLimits::default()).await;
    for (mode, detail) in [
        ("huge-output", "the payload has 50000000 bytes, more than the limit of 1048576"),
        ("many-emissions", "it returned 100000 emissions, more than the limit of 1000"),
    ] {
        let bad = subscribe(
            &filter,
            GuestLimits { process_cpu: Duration::from_secs(5), ..GuestLimits::default() },
            &[("mode", mode)],
        )
        .await;
        let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else {
            panic!("`{mode}` should break");
        };
        assert_eq!((broken.reason, &*broken.detail), (BreakReason::OutputTooLarge, detail));
    }
}

/// What is far over the limit is not even copied out of the guest.
#[tokio::test]
async fn far_too_large_output_is_not_copied() {
    let small = GuestLimits { output: 1 << 10, emissions: 10, ..GuestLimits::default() };
    let filter = load(&host(), "misbehave", small).await;
    let bad = subscribe(&filter, small, &[("mode", "huge-output")]).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else { panic!("should break") };
    assert_eq!(broken.reason, BreakReason::OutputTooLarge);
    assert!(broken.detail.contains("too much data"), "{broken}");
}

#[tokio::test]
async fn recursion_is_limited() {
    assert_eq!(process_breaks("recurse").await.reason, BreakReason::StackOverflow);
}

#[tokio::test]
async fn nothing_may_be_called_where_only_computing_is_allowed() {
    let broken = matches_breaks("call-in-matches").await;
    assert_eq!(broken.reason, BreakReason::Impure);
    assert_eq!(
        broken.detail.split(", in ").next().unwrap(),
        "it called `trommel:filter/state@0.1.0.get`, but `matches`, `describe`, `conditions` and the constructor may call nothing but `log` and `telemetry`"
    );
    let broken = subscribe_breaks("call-in-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", BreakReason::Impure));
}

#[tokio::test]
async fn calls_to_the_host_are_limited() {
    let broken = process_breaks("host-call-storm").await;
    assert_eq!(broken.reason, BreakReason::HostCalls);
    assert!(broken.detail.starts_with("it called the host 33 times"), "{broken}");
}

#[tokio::test]
async fn a_dropped_call_leaves_no_trace() {
    let (filter, bad) = misbehave("loop-process").await;
    let good = subscribe(&filter, limits(), &[("mode", "ok")]).await;
    let event = event("{}");
    let dropped = tokio::time::timeout(Duration::from_millis(10), filter.process(&bad, &event, 1)).await;
    assert!(dropped.is_err());
    assert_eq!(filter.process(&good, &event, 1).await.unwrap(), Verdict::Keep);
}

#[tokio::test]
async fn other_filters_do_not_notice() {
    let host = host();
    let (bad, good) = (load(&host, "misbehave", limits()).await, load(&host, "match-type", limits()).await);
    let looping = subscribe(&bad, limits(), &[("mode", "loop-matches")]).await;
    let sound = subscribe(&good, limits(), &[]).await;
    let (mut bad, mut good) = (bad.matcher(), good.matcher());
    for _ in 0..3 {
        assert!(matches!(bad.matches(&looping, &event("{}")), Err(MatchError::Fault(CallFault::Broke(_)))));
        assert!(good.matches(&sound, &event("{}")).unwrap());
    }
}

#[tokio::test]
async fn what_the_guest_says_is_no_break() {
    let filter = load(&host(), "misbehave", limits()).await;
    for (mode, expected) in [
        ("malformed", Failure::new(FailureKind::Malformed, "never to be processed".to_owned())),
        ("retry", Failure::new(FailureKind::Retry(Duration::from_millis(50)), "not now".to_owned())),
        ("failed", Failure::new(FailureKind::Failed, "did not work".to_owned())),
        ("broken", Failure::new(FailureKind::Broken, "cannot go on".to_owned())),
    ] {
        let subscription = subscribe(&filter, limits(), &[("mode", mode)]).await;
        match filter.process(&subscription, &event("{}"), 1).await {
            Err(ProcessError::Said(failure)) => assert_eq!(failure, expected),
            other => panic!("`{mode}` gave {other:?}"),
        }
    }
    match filter.normalize_params("key", params(&[("mode", "refuse-params")])).await {
        Err(CallError::Said(Failure { kind: FailureKind::Malformed, cause })) => {
            assert_eq!(cause.detail, "these params are refused")
        }
        other => panic!("{other:?}"),
    }
}

async fn craft(trick: Trick<'_>, limits: GuestLimits) -> (Filter, Arc<RouteSubscription>) {
    let filter = host().load("crafted", crafted::filter(trick), &settings("crafted", limits)).await.unwrap();
    let subscription = subscribe(&filter, limits, &[]).await;
    (filter, subscription)
}

/// As a lane does: each event is tried twice. Returns how many events it takes until the filter is
/// quarantined.
async fn events_until_quarantine(filter: &Filter, subscription: &Arc<RouteSubscription>) -> (usize, BrokenCall) {
    for events in 1..100 {
        let Err(ProcessError::Broke(_)) = filter.process(subscription, &event("{}"), 1).await else { panic!("first") };
        let second = filter.process(subscription, &event("{}"), 1).await;
        let Err(ProcessError::Broke(broken)) = second else { panic!("second") };
        if filter.record_break(&broken) || filter.is_quarantined() {
            return (events, broken);
        }
    }
    panic!("100 events, and the filter is still in service");
}

/// Its first instance only computes; those for `process` see that time goes by.
#[tokio::test]
async fn start_code_that_waits_ends_and_is_counted() {
    let (filter, subscription) = craft(Trick { start: WAIT, ..Trick::default() }, GuestLimits::default()).await;
    tokio::time::pause();
    let (events, broken) = events_until_quarantine(&filter, &subscription).await;
    assert_eq!((broken.call, broken.reason), ("instantiate", BreakReason::WallDeadline));
    assert_eq!(events, 2);
}

#[tokio::test]
async fn waiting_for_ever_is_quarantined_after_a_few_events() {
    let (filter, subscription) = craft(Trick { process: WAIT, ..Trick::default() }, GuestLimits::default()).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let (events, broken) = events_until_quarantine(&filter, &subscription).await;
    assert_eq!((broken.call, broken.reason), ("process", BreakReason::WallDeadline));
    assert_eq!((events, began.elapsed().as_secs()), (2, 20));
}

/// Without WASI, `matches` runs on the stack of the thread that calls it.
#[test]
fn recursion_in_matches_is_limited() {
    let recurse = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let broken = runtime.block_on(matches_breaks("recurse-matches"));
        assert_eq!(broken.reason, BreakReason::StackOverflow, "{broken}");
    };
    std::thread::Builder::new().stack_size(MATCHER_STACK).spawn(recurse).unwrap().join().unwrap();
}

/// One that traps at once costs others nothing but the trouble.
#[tokio::test]
async fn trapping_is_quarantined_with_the_fifth_event() {
    let (filter, subscription) =
        craft(Trick { process: "unreachable", ..Trick::default() }, GuestLimits::default()).await;
    assert_eq!(events_until_quarantine(&filter, &subscription).await.0, 5);
}

/// Wherever a guest can put text, no more of it is passed on than fits a log line and a dead
/// letter.
#[tokio::test]
async fn what_a_guest_says_is_cut() {
    let long = "n".repeat(100_000);
    let call = format!("(call ${long})");
    let function = format!("(func ${long} unreachable)");
    let trap = Trick { process: &call, more: &function, ..Trick::default() };
    // One emission, of nothing, with zeros for a subject.
    let emit = |length: usize| {
        format!(
            "(i32.store (i32.const 4100) (i32.const 3)) (i32.store (i32.const 4104) (i32.const 8192))
             (i32.store (i32.const 4108) (i32.const 1)) (i32.store8 (i32.const 8200) (i32.const 1))
             (i32.store (i32.const 8204) (i32.const 70000)) (i32.store (i32.const 8208) (i32.const {length}))"
        )
    };
    let (longer, longest) = (emit(100_000), emit(2_000_000));
    for (trick, reason) in [
        (trap, BreakReason::Trap),
        (Trick { process: &longer, ..Trick::default() }, BreakReason::BadOutput),
        (Trick { process: &longest, ..Trick::default() }, BreakReason::OutputTooLarge),
    ] {
        let (filter, subscription) = craft(trick, GuestLimits::default()).await;
        let Err(ProcessError::Broke(broken)) = filter.process(&subscription, &event("{}"), 1).await else {
            panic!("{reason:?} should break")
        };
        assert_eq!(broken.reason, reason, "{}", broken.detail);
        assert!(broken.detail.len() < 2_000, "{} bytes", broken.detail.len());
    }
}

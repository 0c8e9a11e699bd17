//! A filter that misbehaves harms nobody but itself: each kind of break has its own type and reason, ends in time, and
//! the host and the other filters go on.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on should say where")]

#[path = "common/filter.rs"]
#[allow(dead_code, reason = "shared by several tests")]
mod rig;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rig::*;
use trommel::{
    config::Limits,
    filter::{Broken, CallError, Failure, Fault, Filter, LoadError, ProcessError, Reason, Subscription, Verdict},
};

/// With CPU time enough for a slow machine to come to the limit that a test is about.
fn limits() -> Limits {
    Limits {
        match_cpu: Duration::from_secs(1),
        process_cpu: Duration::from_secs(1),
        process_wall: Duration::from_secs(2),
        load: Duration::from_millis(300),
        memory: 16 << 20,
        ..Limits::default()
    }
}

async fn misbehave(mode: &str) -> (Filter, Arc<Subscription>) {
    let filter = load(&host(), "misbehave", limits()).await;
    let subscription = subscribe(&filter, limits(), &[("mode", mode)]).await;
    (filter, subscription)
}

/// How `process` breaks in a mode, and that the filter goes on afterwards.
async fn process_breaks(mode: &str) -> Broken {
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
async fn matches_breaks(mode: &str) -> Broken {
    let (filter, bad) = misbehave(mode).await;
    let good = subscribe(&filter, limits(), &[("mode", "ok")]).await;
    let mut matcher = filter.matcher();
    let Err(Fault::Broke(broken)) = matcher.matches(&bad, &event("{}")) else {
        panic!("`{mode}` should break");
    };
    assert!(matcher.matches(&good, &event("{}")).unwrap());
    assert_eq!(broken.call, "matches");
    broken
}

/// How taking a route into service breaks in a mode.
async fn subscribe_breaks(mode: &str) -> Broken {
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
    assert_eq!(broken.reason, Reason::Trap);
    assert!(broken.detail.contains("unreachable"), "{}", broken.detail);
    assert!(broken.detail.contains(", in "), "{}", broken.detail);
    assert_eq!(matches_breaks("trap-matches").await.reason, Reason::Trap);
    let broken = subscribe_breaks("trap-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", Reason::Trap));
    let broken = subscribe_breaks("trap-conditions").await;
    assert_eq!((broken.call, broken.reason), ("conditions", Reason::Trap));
}

#[tokio::test]
async fn a_loop_ends_with_its_budget() {
    let start = Instant::now();
    assert_eq!(matches_breaks("loop-matches").await.reason, Reason::CpuDeadline);
    assert_eq!(process_breaks("loop-process").await.reason, Reason::CpuDeadline);
    let broken = subscribe_breaks("loop-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", Reason::CpuDeadline));
    let broken = subscribe_breaks("loop-conditions").await;
    assert_eq!((broken.call, broken.reason), ("conditions", Reason::CpuDeadline));
    let filter = load(&host(), "misbehave", limits()).await;
    let Err(CallError::Broke(broken)) = filter.normalize_params("key", params(&[("mode", "loop-normalize")])).await
    else {
        panic!("it should break");
    };
    assert!(matches!(broken.reason, Reason::CpuDeadline | Reason::WallDeadline), "{broken}");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_loop_in_describe_refuses_the_component() {
    let host = host();
    let start = Instant::now();
    let looping = host.load("loop-describe", file("loop-describe"), &settings("loop-describe", limits())).await;
    let Err(LoadError::Broke(broken)) = looping else { panic!("it should break") };
    assert_eq!((broken.call, broken.reason), ("describe", Reason::CpuDeadline));
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
    assert_eq!(broken.reason, Reason::Memory, "{broken}");
    assert_eq!(matches_breaks("hog-matches").await.reason, Reason::Memory);
}

#[tokio::test]
async fn output_is_limited_in_size_and_number() {
    let broken = process_breaks("huge-output").await;
    assert_eq!(broken.reason, Reason::Memory, "16 MiB of memory hold no 50 MB: {broken}");
    let filter = load(&host(), "misbehave", Limits::default()).await;
    for (mode, detail) in [
        ("huge-output", "the payload has 50000000 bytes, more than the limit of 1048576"),
        ("many-emissions", "it returned 100000 emissions, more than the limit of 1000"),
    ] {
        let bad =
            subscribe(&filter, Limits { process_cpu: Duration::from_secs(5), ..Limits::default() }, &[("mode", mode)])
                .await;
        let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else {
            panic!("`{mode}` should break");
        };
        assert_eq!((broken.reason, &*broken.detail), (Reason::OutputTooLarge, detail));
    }
}

/// What is far over the limit is not even copied out of the guest.
#[tokio::test]
async fn far_too_large_output_is_not_copied() {
    let small = Limits { output: 1 << 10, emissions: 10, ..Limits::default() };
    let filter = load(&host(), "misbehave", small).await;
    let bad = subscribe(&filter, small, &[("mode", "huge-output")]).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else { panic!("should break") };
    assert_eq!(broken.reason, Reason::OutputTooLarge);
    assert!(broken.detail.contains("too much data"), "{broken}");
}

#[tokio::test]
async fn recursion_is_limited() {
    assert_eq!(process_breaks("recurse").await.reason, Reason::StackOverflow);
}

#[tokio::test]
async fn nothing_may_be_called_where_only_computing_is_allowed() {
    let broken = matches_breaks("call-in-matches").await;
    assert_eq!(broken.reason, Reason::Impure);
    assert_eq!(
        broken.detail.split(", in ").next().unwrap(),
        "it called `trommel:filter/log@0.1.0.write`, but `matches`, `describe`, `conditions` and the constructor may call nothing"
    );
    let broken = subscribe_breaks("call-in-constructor").await;
    assert_eq!((broken.call, broken.reason), ("constructor", Reason::Impure));
}

#[tokio::test]
async fn calls_to_the_host_are_limited() {
    let broken = process_breaks("host-call-storm").await;
    assert_eq!(broken.reason, Reason::HostCalls);
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
        assert!(matches!(bad.matches(&looping, &event("{}")), Err(Fault::Broke(_))));
        assert!(good.matches(&sound, &event("{}")).unwrap());
    }
}

#[tokio::test]
async fn what_the_guest_says_is_no_break() {
    let filter = load(&host(), "misbehave", limits()).await;
    for (mode, expected) in [
        ("malformed", Failure::Malformed("never to be processed".to_owned())),
        ("retry", Failure::Retry(Duration::from_millis(50), "not now".to_owned())),
        ("failed", Failure::Failed("did not work".to_owned())),
        ("broken", Failure::Broken("cannot go on".to_owned())),
    ] {
        let subscription = subscribe(&filter, limits(), &[("mode", mode)]).await;
        match filter.process(&subscription, &event("{}"), 1).await {
            Err(ProcessError::Said(failure)) => assert_eq!(failure, expected),
            other => panic!("`{mode}` gave {other:?}"),
        }
    }
    match filter.normalize_params("key", params(&[("mode", "refuse-params")])).await {
        Err(CallError::Said(Failure::Malformed(why))) => assert_eq!(why, "these params are refused"),
        other => panic!("{other:?}"),
    }
}

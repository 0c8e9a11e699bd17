//! What all components of a router have together: who works finds memory before who is idle, and
//! who finds none is not to blame.

use crate::crafted;
use crate::filter as rig;

use std::{sync::Arc, time::Duration};

use crafted::Trick;
use rig::*;
use trommel::{
    config::{ComponentMemory, GuestLimits, LimitOverrides},
    filter::{
        BreakReason, CallFault, CallLimits, Filter, Host, LoadError, MatchError, ProcessError, RouteSubscription,
        Verdict,
    },
};

const MIB: usize = 1 << 20;

fn limits() -> GuestLimits {
    let long = Duration::from_secs(20);
    GuestLimits {
        match_cpu: long,
        process_cpu: long,
        process_wall: long,
        load: long,
        memory: 64 * MIB,
        ..GuestLimits::default()
    }
}

fn memory(all: usize, kept: usize, outputs: usize) -> ComponentMemory {
    ComponentMemory { all: all * MIB, kept: kept * MIB, outputs: outputs * MIB, output: outputs * MIB }
}

async fn crafted(host: &Host, name: &str, process: &str) -> Filter {
    let file = crafted::filter(Trick { process, ..Trick::default() });
    host.load(name, file, &settings(name, limits())).await.unwrap()
}

/// An instance grows to 40 MiB, and keeps its event.
async fn growing(host: &Host, name: &str) -> Filter {
    let grows = "(if (i32.lt_u (memory.size) (i32.const 640)) (then
        (if (i32.eq (memory.grow (i32.sub (i32.const 640) (memory.size))) (i32.const -1)) (then unreachable))))";
    crafted(host, name, grows).await
}

async fn route(filter: &Filter, key: &str) -> Arc<RouteSubscription> {
    let limits = CallLimits::new(&limits(), &LimitOverrides::default());
    filter.subscribe(key, Vec::new(), limits).await.unwrap()
}

/// Idle instances of other keys, and of other components, make room for one that works.
#[tokio::test]
async fn idle_instances_make_room() {
    let host = host_with(memory(100, 90, 0));
    let filters = [growing(&host, "one").await, growing(&host, "other").await];
    for n in 0..10 {
        let filter = &filters[n % 2];
        let route = route(filter, &format!("key-{n}")).await;
        assert_eq!(filter.process(&route, &event("{}"), 1).await.unwrap(), Verdict::Keep, "{n}");
    }
}

/// Instances that would leave too little to others are not kept: of lanes that ask each a `matches`
/// of its own, too.
#[tokio::test]
async fn where_memory_is_short_instances_are_not_kept() {
    let host = host_with(memory(20, 10, 0));
    let filter = crafted(&host, "small", "").await;
    let route = route(&filter, "key").await;
    let mut lanes: Vec<_> = (0..20).map(|_| filter.matcher()).collect();
    for lane in &mut lanes {
        assert!(lane.matches(&route, &event("{}")).unwrap());
    }
    assert_eq!(filter.process(&route, &event("{}"), 1).await.unwrap(), Verdict::Keep);
}

/// Who gets no memory that its own limit allows did not break.
#[tokio::test]
async fn the_host_is_to_blame_for_what_it_lacks() {
    let host = host_with(memory(30, 30, 0));
    let filter = load(&host, "misbehave", limits()).await;
    let bad = subscribe(&filter, limits(), &[("mode", "hog-process")]).await;
    let error = match filter.process(&bad, &event("{}"), 1).await {
        Err(ProcessError::Host(error)) => format!("{error:#}"),
        other => panic!("{other:?}"),
    };
    assert!(error.starts_with("the components have used up their part of `[limits] memory`"), "{error}");
    let bad = subscribe(&filter, limits(), &[("mode", "hog-matches")]).await;
    assert!(matches!(filter.matcher().matches(&bad, &event("{}")), Err(MatchError::Fault(CallFault::Host(_)))));
    // Its own limit is its own matter.
    let little = GuestLimits { memory: 8 * MIB, ..limits() };
    let filter = load(&host, "misbehave", little).await;
    let bad = subscribe(&filter, little, &[("mode", "hog-process")]).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&bad, &event("{}"), 1).await else {
        panic!("it should break")
    };
    assert_eq!(broken.reason, BreakReason::Memory);
    let good = subscribe(&filter, little, &[("mode", "ok")]).await;
    assert_eq!(filter.process(&good, &event("{}"), 1).await.unwrap(), Verdict::Keep);
}

/// What a guest has let out counts for as long as somebody holds it.
#[tokio::test]
async fn outputs_that_nobody_takes_hold_up_further_ones() {
    let host = host_with(memory(60, 8, 4));
    let replaces = "(i32.store (i32.const 4100) (i32.const 2)) (i32.store (i32.const 4104) (i32.const 65536))
        (i32.store (i32.const 4108) (i32.const 1000000))";
    let filter = crafted(&host, "large", replaces).await;
    let route = route(&filter, "key").await;
    let mut held = Vec::new();
    let error = loop {
        match filter.process(&route, &event("{}"), 1).await {
            Ok(verdict) => held.push(verdict),
            Err(error) => break error,
        }
        assert!(held.len() < 13, "they count for nothing");
    };
    assert!(matches!(error, ProcessError::Host(_)), "{error:?}");
    assert!(held.len() >= 4, "{}", held.len());
    held.pop();
    assert!(filter.process(&route, &event("{}"), 1).await.is_ok());
}

/// No output is larger than what sinks hold.
#[tokio::test]
async fn an_output_that_no_sink_could_hold_is_refused() {
    let host = host_with(memory(200, 100, 16));
    let roomy = GuestLimits { output: 64 * MIB, ..limits() };
    let filter = load(&host, "misbehave", roomy).await;
    let huge = subscribe(&filter, roomy, &[("mode", "huge-output")]).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&huge, &event("{}"), 1).await else {
        panic!("it should break")
    };
    assert_eq!(broken.reason, BreakReason::OutputTooLarge);
}

#[tokio::test]
async fn a_component_whose_code_has_no_room_is_refused() {
    let host = host_with(ComponentMemory { all: 4 * MIB, kept: 0, outputs: 0, output: 0 });
    let loaded = host.load("misbehave", file("misbehave"), &settings("misbehave", limits())).await;
    let Err(error @ LoadError::Host(_)) = loaded else { panic!("it has no room") };
    assert!(chain(error).contains("`[limits] memory`"));
}

//! A guest that only computes is called on its lane's own stack while it is quick. It is limited
//! there as on a fiber, and once it is slow it lets others run again.

use std::{cell::Cell, sync::Arc, time::Duration};

use crate::crafted::{self, Trick};
use crate::filter::*;

use trommel::{
    config::GuestLimits,
    filter::{BreakReason, Filter, Host, MATCHER_STACK, ProcessError, RouteSubscription, Verdict},
    telemetry::StageSpan,
};

/// With time enough for many ticks.
fn limits() -> GuestLimits {
    GuestLimits { process_cpu: Duration::from_millis(200), process_wall: Duration::from_secs(60), ..Default::default() }
}

/// A filter whose instances behave at their first event, for which they make their objects, and not
/// afterwards.
async fn from_the_second_event(trick: &str, more: &str) -> (Filter, Arc<RouteSubscription>) {
    let process = format!("(if (global.get $asked) (then {trick})) (global.set $asked (i32.const 1))");
    let more = format!("(global $asked (mut i32) (i32.const 0)) {more}");
    let file = crafted::filter(Trick { process: &process, more: &more, ..Trick::default() });
    let host = Host::new(None, None, Arc::default()).unwrap();
    let filter = host.load("crafted", file, &settings("crafted", limits())).await.unwrap();
    let subscription = subscribe(&filter, limits(), &[]).await;
    (filter, subscription)
}

/// Asks about an event as a lane does. Also returns how often another task could run meanwhile.
async fn ask(filter: &Filter, subscription: &Arc<RouteSubscription>) -> (Result<Verdict, ProcessError>, u32) {
    let (is_over, turns) = (Cell::new(false), Cell::new(0));
    let asked = async {
        let answer = filter.process_on_lane(subscription, &event("{}"), 1, &mut StageSpan::none()).await;
        is_over.set(true);
        answer
    };
    let other = async {
        while !is_over.get() {
            turns.set(turns.get() + 1);
            tokio::task::yield_now().await;
        }
    };
    let (answer, ()) = tokio::join!(asked, other);
    (answer, turns.get())
}

fn reason((answer, _): (Result<Verdict, ProcessError>, u32)) -> BreakReason {
    let Err(ProcessError::Broke(broken)) = answer else { panic!("{answer:?}") };
    broken.reason
}

#[tokio::test]
async fn a_slow_guest_holds_its_thread_once_and_lets_others_run_from_then_on() {
    let (filter, subscription) = from_the_second_event("(loop (br 0))", "").await;
    assert_eq!(ask(&filter, &subscription).await.0.unwrap(), Verdict::Keep);
    let (first, turns) = ask(&filter, &subscription).await;
    assert_eq!((reason((first, 0)), turns), (BreakReason::CpuDeadline, 0), "it was quick so far");
    // A new instance, and its object.
    assert_eq!(ask(&filter, &subscription).await.0.unwrap(), Verdict::Keep);
    let (second, turns) = ask(&filter, &subscription).await;
    assert_eq!(reason((second, 0)), BreakReason::CpuDeadline);
    assert!(turns > 10, "others ran {turns} times in 200 ms");
}

#[test]
fn recursion_in_process_is_limited_on_the_stack_of_a_lane() {
    let recurse = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let deep = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
            let (filter, subscription) = from_the_second_event("(drop (call $deep (i32.const 1)))", deep).await;
            assert_eq!(ask(&filter, &subscription).await.0.unwrap(), Verdict::Keep);
            assert_eq!(reason(ask(&filter, &subscription).await), BreakReason::StackOverflow);
            assert_eq!(ask(&filter, &subscription).await.0.unwrap(), Verdict::Keep, "it goes on");
        });
    };
    std::thread::Builder::new().stack_size(MATCHER_STACK).spawn(recurse).unwrap().join().unwrap();
}

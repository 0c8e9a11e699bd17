//! The first one to enter a subscription has it subscribed upstream, the last one to leave has it
//! cleaned up, whoever that is and whatever happens in between (L47 to L51, X9, L19); tokens
//! outlive the router.

use crate::filter as rig;
use crate::log::Log;
use crate::tenure;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rig::{host, load, params};
use tenure::*;
use tracing::Level;
use trommel::{
    config::GuestLimits,
    filter::{BreakReason, CallError},
    registry::{EnterError, Tenures},
};

fn tenures(folder: &Path) -> Tenures {
    Tenures::in_folder(folder).unwrap()
}

/// What a router that is killed leaves undone.
fn kill<T>(held: T) {
    std::mem::forget(held);
}

/// L47
#[tokio::test]
async fn the_first_one_subscribes_and_the_others_share() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let first = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    let second = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    let other = tenures.enter(entrant(&filter, "sent", "")).await.unwrap();
    assert_eq!([&first, &second, &other].map(|tenure| tenure.is_first()), [true, false, true]);
    assert_eq!(calls(&filter).await, ["pre-consume folder=inbox -> token-1", "pre-consume folder=sent -> token-2"]);
}

/// X9, L50: it is not for the one who subscribed to clean up.
#[tokio::test]
async fn the_last_one_cleans_up_whoever_that_is() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let first = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    let last = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    first.leave().await;
    assert_eq!(calls(&filter).await.len(), 1);
    last.leave().await;
    assert_eq!(calls(&filter).await, ["pre-consume folder=inbox -> token-1", "cleanup folder=inbox token-1"]);
    assert!(tenures.enter(entrant(&filter, "inbox", "")).await.unwrap().is_first());
    assert_eq!(
        until_calls(&filter, 4).await[2..],
        ["pre-consume folder=inbox -> token-2", "cleanup folder=inbox token-2"]
    );
}

/// L50: without a token there is nothing to clean up, and whoever is first again subscribes again.
#[tokio::test]
async fn without_a_token_nothing_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    for _ in 0..2 {
        let tenure = tenures.enter(entrant(&filter, "inbox", "none")).await.unwrap();
        assert!(tenure.is_first());
        tenure.leave().await;
    }
    assert_eq!(calls(&filter).await, ["pre-consume folder=inbox -> none"; 2]);
}

#[tokio::test]
async fn filters_without_hooks_are_entered_and_left_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let tenures = tenures(folder.path());
    let plain = load(&host(), "match-type", GuestLimits::default()).await;
    assert!(!plain.has_lifecycle());
    let first = tenures.enter(entrant(&plain, "inbox", "")).await.unwrap();
    let second = tenures.enter(entrant(&plain, "inbox", "")).await.unwrap();
    assert!(first.is_first() && !second.is_first());
    first.leave().await;
    second.leave().await;
    assert!(tenures.enter(entrant(&plain, "inbox", "")).await.unwrap().is_first());
}

/// L28, L47: an error aborts the entry that met it, and the next one tries anew.
#[tokio::test]
async fn a_refusal_aborts_that_entry_only() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let refused = tenures.enter(entrant(&filter, "inbox", "refuse")).await.unwrap_err();
    assert_eq!(
        chain(refused),
        "key `mail.received` could not be subscribed upstream: `pre-consume` said no: it failed: the quota is used up"
    );
    tenures.enter(entrant(&filter, "sent", "refuse-once")).await.unwrap_err();
    assert!(tenures.enter(entrant(&filter, "sent", "refuse-once")).await.unwrap().is_first());
}

#[tokio::test]
async fn a_hook_that_breaks_is_stopped_at_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let tenures = tenures(folder.path());
    let limits = GuestLimits { load: Duration::from_millis(200), ..GuestLimits::default() };
    let filter = load(&host(), "lifecycle", limits).await;
    for (mode, reasons) in
        [("trap", &[BreakReason::Trap][..]), ("loop", &[BreakReason::CpuDeadline, BreakReason::WallDeadline])]
    {
        match tenures.enter(entrant(&filter, "inbox", mode)).await {
            Err(EnterError::PreConsume { key, source: CallError::Broke(broken) }) => {
                assert_eq!((key.as_str(), broken.call), (KEY, "pre-consume"));
                assert!(reasons.contains(&broken.reason), "{broken}");
            }
            other => panic!("{other:?}"),
        }
    }
    let cleanup = filter.cleanup(KEY, &params(&[("mode", "loop-cleanup")]), "token").await;
    assert!(matches!(cleanup, Err(CallError::Broke(broken)) if broken.call == "cleanup"));
}

/// L49: each hook has an instance of its own.
#[tokio::test]
async fn a_filter_that_breaks_is_cleaned_up_after() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let tenure = tenures.enter(entrant(&filter, "inbox", "")).await.unwrap();
    trap(&filter).await;
    tenure.leave().await;
    assert_eq!(calls(&filter).await, ["pre-consume folder=inbox -> token-1", "cleanup folder=inbox token-1"]);
}

/// L48: a cleanup that fails is tried once, and ends the subscription all the same.
#[tokio::test]
async fn a_failed_cleanup_holds_nobody_up() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let (log, _guard) = Log::start(Level::WARN);
    for (round, mode) in ["refuse-cleanup", "trap-cleanup"].into_iter().enumerate() {
        let tenure = tenures.enter(entrant(&filter, "inbox", mode)).await.unwrap();
        assert!(tenure.is_first());
        tenure.leave().await;
        assert_eq!(calls(&filter).await.len(), 2 * (round + 1));
        let log = log.text();
        let warnings: Vec<_> =
            log.lines().filter(|line| line.contains("WARN") && line.contains("cleanup failed")).collect();
        assert_eq!(warnings.len(), round + 1, "{log}");
        assert!(warnings[0].contains("the upstream side is away"), "{log}");
    }
    assert_eq!(saved(folder.path()), serde_json::json!([]));
}

/// L51: nobody subscribes while it is cleaned up.
#[tokio::test]
async fn who_enters_waits_for_the_cleanup() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let tenure = tenures.enter(entrant(&filter, "inbox", "slow")).await.unwrap();
    let (_, next) = tokio::join!(tenure.leave(), tenures.enter(entrant(&filter, "inbox", "slow")));
    assert!(next.as_ref().unwrap().is_first());
    let calls = calls(&filter).await;
    assert_eq!(calls[1..], ["cleanup folder=inbox token-1", "pre-consume folder=inbox -> token-2"]);
}

/// L19
#[tokio::test]
async fn the_only_consumer_that_there_may_be_is_named_to_the_second() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let single = || trommel::registry::TenureRequest { is_single: true, ..entrant(&filter, "inbox", "slow") };
    let only = tenures.enter(single()).await.unwrap();
    let refused = tenures.enter(single()).await.unwrap_err();
    insta::assert_snapshot!(chain(refused), @"subscription `mail.received:0Qe8JXcPRKY5MMvA` has room for one consumer, and route `test` holds it");
    let (_, next) = tokio::join!(only.leave(), tenures.enter(single()));
    assert!(next.unwrap().is_first(), "it waits for the cleanup of the one before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_enter_and_leave_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    let folders: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let entering = (0..200).map(|number| tenures.enter(entrant(&filter, &folders[number % 10], "")));
    let held = futures_util::future::join_all(entering).await;
    let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
    assert_eq!(held.iter().filter(|tenure| tenure.is_first()).count(), 10);
    assert_eq!(saved(folder.path()).as_array().unwrap().len(), 10);
    futures_util::future::join_all(held.into_iter().map(trommel::registry::Tenure::leave)).await;
    assert_eq!(calls(&filter).await.len(), 20);
    // Now each leaves as soon as it is in.
    let visits = (0..200).map(async |number| {
        tenures.enter(entrant(&filter, &folders[number % 10], "")).await.unwrap().leave().await;
    });
    futures_util::future::join_all(visits).await;
    let calls = calls(&filter).await;
    for folder in &folders {
        let of_it = calls.iter().filter(|call| call.contains(&format!("folder={folder} ")));
        for (position, call) in of_it.enumerate() {
            let expected = if position % 2 == 0 { "pre-consume" } else { "cleanup" };
            assert!(call.starts_with(expected), "{folder}: {calls:?}");
        }
    }
    assert_eq!(saved(folder.path()), serde_json::json!([]));
}

/// Who is gone without a word leaves all the same, and what is left at the end is cleaned up.
#[tokio::test]
async fn dropping_loses_no_cleanup() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, filter) = (tenures(folder.path()), filter().await);
    drop(tenures.enter(entrant(&filter, "inbox", "")).await.unwrap());
    assert_eq!(until_calls(&filter, 2).await[1], "cleanup folder=inbox token-1");
    // Given up while the filter subscribes.
    let entering = tenures.enter(entrant(&filter, "sent", "slow"));
    assert!(tokio::time::timeout(Duration::ZERO, entering).await.is_err());
    assert_eq!(until_calls(&filter, 4).await[3], "cleanup folder=sent token-2");
    let held = tenures.enter(entrant(&filter, "drafts", "slow")).await.unwrap();
    let dropped = tenures.enter(entrant(&filter, "spam", "slow")).await.unwrap();
    drop(dropped);
    tenures.close().await;
    let mut last = calls(&filter).await[6..].to_vec();
    last.sort();
    assert_eq!(last, ["cleanup folder=drafts token-3", "cleanup folder=spam token-4"]);
    held.leave().await;
    assert_eq!(calls(&filter).await.len(), 8);
    assert!(matches!(tenures.enter(entrant(&filter, "inbox", "")).await, Err(EnterError::Stopping)));
}

/// After a reload the hooks of the component that is in service are called.
#[tokio::test]
async fn the_current_filter_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let (tenures, old, new) = (tenures(folder.path()), filter().await, filter().await);
    tenures.set_filters([old.clone()], Default::default());
    let tenure = tenures.enter(entrant(&old, "inbox", "")).await.unwrap();
    tenures.set_filters([new.clone()], Default::default());
    tenure.leave().await;
    assert_eq!(calls(&new).await, ["cleanup folder=inbox token-1"]);
    // Once its last key is gone, a filter is in service no more.
    let tenure = tenures.enter(entrant(&new, "inbox", "")).await.unwrap();
    tenures.set_filters([], Default::default());
    tenure.leave().await;
    assert_eq!(calls(&new).await.len(), 3);
}

/// What the file has.
fn saved(folder: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(folder.join("tenures.json")).unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_outlives_the_router() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let (before, filter_before) = (tenures(&state), filter().await);
    kill(before.enter(entrant(&filter_before, "inbox", "")).await.unwrap());
    kill(before);
    let mode = |name: &str| fs::metadata(state.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("tenures.json")), (0o700, 0o600));

    let (after, filter) = (tenures(&state), filter().await);
    after.set_filters([filter.clone()], Default::default());
    let tenure = after.enter(entrant(&filter, "inbox", "")).await.unwrap();
    after.clear().await;
    assert!(!tenure.is_first());
    assert!(calls(&filter).await.is_empty(), "it is held already");
    tenure.leave().await;
    assert_eq!(calls(&filter).await, ["cleanup folder=inbox token-1"]);
    assert_eq!(saved(&state), serde_json::json!([]));
}

#[tokio::test]
async fn what_nobody_enters_again_is_cleaned_up() {
    let folder = tempfile::tempdir().unwrap();
    let (before, filter_before) = (tenures(folder.path()), filter().await);
    kill(before.enter(entrant(&filter_before, "inbox", "")).await.unwrap());
    kill(before);

    // Its filter is not in service: perhaps it is at the next start.
    let without = tenures(folder.path());
    without.clear().await;
    drop(without);
    let (after, filter) = (tenures(folder.path()), filter().await);
    after.set_filters([filter.clone()], Default::default());
    after.clear().await;
    assert_eq!(calls(&filter).await, ["cleanup folder=inbox token-1"]);
    assert_eq!(saved(folder.path()), serde_json::json!([]));
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tenures.json"), "{").unwrap();
    let refused = chain(Tenures::in_folder(folder.path()).unwrap_err());
    assert!(refused.contains("tenures.json` is not what trommel wrote: mend it, or move it away"), "{refused}");
    assert_eq!(fs::read_to_string(folder.path().join("tenures.json")).unwrap(), "{");
}

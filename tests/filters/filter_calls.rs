//! The ordinary contract between the router and a filter.

use crate::crafted::{self, Trick};
use crate::filter as rig;
use crate::log;

use std::sync::Arc;

use log::Log;
use rig::*;
use trommel::{
    condition::EventFacts,
    config::{FilterSettings, Grant, GuestLimits, InstanceScope},
    filter::{CallError, CallLimits, Emission, Failure, FailureKind, Filter, ProcessError, Verdict},
    metrics::Metrics,
};

const LIMITS: GuestLimits = GuestLimits {
    match_cpu: std::time::Duration::from_secs(1),
    process_cpu: std::time::Duration::from_secs(1),
    process_wall: std::time::Duration::from_secs(10),
    load: std::time::Duration::from_secs(10),
    memory: 64 << 20,
    output: 1 << 20,
    emissions: 10,
    host_calls: 2,
    log_lines: 3,
    component: 64 << 20,
    compile_memory: 512 << 20,
    compile_cpu: std::time::Duration::from_secs(60),
    state: 256 << 20,
};

async fn process(filter: &Filter, mode: &[(&str, &str)]) -> Result<Verdict, ProcessError> {
    let subscription = subscribe(filter, LIMITS, mode).await;
    filter.process(&subscription, &event("{}"), 7).await
}

#[tokio::test]
async fn a_filter_tells_what_it_is() {
    let host = host();
    let select = load(&host, "select", LIMITS).await;
    let manifest = select.manifest();
    assert_eq!((select.name(), &*manifest.name), ("select", "select"));
    assert_eq!(select.digest().len(), 64);
    assert!(manifest.hooks.conditions && manifest.hooks.process);
}

/// Both kinds of file are filters: a component, and a core module that carries its WIT.
#[tokio::test]
async fn components_and_core_modules_load() {
    let host = host();
    let (component, module) = (file("redact"), file("match-type"));
    assert_eq!((component[4], module[4]), (0x0d, 1));
    load(&host, "redact", LIMITS).await;
    load(&host, "match-type", LIMITS).await;
}

#[tokio::test]
async fn a_filter_is_handed_what_it_reads_and_no_more() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    let subscription = subscribe(&filter, LIMITS, &[("mode", "echo-projection")]).await;
    assert!(filter.matcher().matches(&subscription, &event("{}")).unwrap(), "only the payload, in `matches`");
    let verdict = filter.process(&subscription, &event("{}"), 1).await.unwrap();
    assert_eq!(verdict, Verdict::Replace("id,headers,payload".into()));
}

#[tokio::test]
async fn every_verdict_comes_back() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    assert_eq!(process(&filter, &[("mode", "ok")]).await.unwrap(), Verdict::Keep);
    assert_eq!(process(&filter, &[("mode", "drop")]).await.unwrap(), Verdict::Drop);
    assert_eq!(process(&filter, &[("mode", "replace")]).await.unwrap(), Verdict::Replace("replaced".into()));
    assert_eq!(process(&filter, &[("mode", "emit"), ("n", "0")]).await.unwrap(), Verdict::Drop);
    let emission = |index: &str| Emission {
        subject: Some(format!("misbehave.{index}").into()),
        headers: vec![("index".into(), Some(index.into()))],
        ..Emission::new(index.to_owned())
    };
    let expected = Verdict::Emit(vec![emission("0"), emission("1")]);
    assert_eq!(process(&filter, &[("mode", "emit"), ("n", "2")]).await.unwrap(), expected);
}

#[tokio::test]
async fn matches_decides_by_the_event_and_the_params() {
    let filter = load(&host(), "match-type", LIMITS).await;
    let created = subscribe(&filter, LIMITS, &[("type", "created")]).await;
    let small = subscribe(&filter, LIMITS, &[("max", "2")]).await;
    assert!(created.has_matches() && !created.has_process());
    let mut matcher = filter.matcher();
    for _ in 0..3 {
        assert!(matcher.matches(&created, &event("12345")).unwrap());
        assert!(!matcher.matches(&small, &event("12345")).unwrap());
        assert!(matcher.matches(&small, &event("12")).unwrap());
    }
}

/// L43
#[tokio::test]
async fn what_a_filter_says_of_a_failure_is_cut_at_a_character() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    let mode = "ä".repeat(100_000);
    let refused = filter.normalize_params("key", params(&[("mode", &mode)])).await;
    let Err(CallError::Said(Failure { kind: FailureKind::Malformed, cause })) = refused else { panic!("{refused:?}") };
    assert_eq!(cause.detail, format!("`{}…", "ä".repeat(499)));
}

/// A hook that the manifest does not name is never called.
#[tokio::test]
async fn absent_hooks_do_nothing() {
    let filter = load(&host(), "match-type", LIMITS).await;
    let unsorted = params(&[("b", "1"), ("a", "2")]);
    assert_eq!(filter.normalize_params("key", unsorted.clone()).await.unwrap(), unsorted);
    let subscription = subscribe(&filter, LIMITS, &[]).await;
    assert!(subscription.conditions().is_empty());
    assert_eq!(filter.process(&subscription, &event("{}"), 1).await.unwrap(), Verdict::Keep);
}

#[tokio::test]
async fn params_are_normalised_and_sorted() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    let answer = filter.normalize_params("key", params(&[("n", "1"), ("mode", "ok")])).await.unwrap();
    assert_eq!(answer, params(&[("mode", "ok"), ("n", "1")]));
    let refused = filter.normalize_params("key", params(&[("mode", "no such")])).await;
    let Err(CallError::Said(Failure { kind: FailureKind::Malformed, cause })) = refused else { panic!("{refused:?}") };
    assert_eq!(cause.detail, "`no such` is no mode of `misbehave`");
}

#[tokio::test]
async fn conditions_are_tested_without_the_guest() {
    let filter = load(&host(), "select", LIMITS).await;
    let written = filter.normalize_params("key", params(&[("where", "/order/amount > 100")])).await.unwrap();
    let limits = CallLimits::new(&LIMITS, &Default::default());
    let subscription = filter.subscribe("key", written, limits).await.unwrap();
    for (payload, expected) in
        [(r#"{"order":{"amount":100.5}}"#, true), (r#"{"order":{"amount":100}}"#, false), ("{}", false)]
    {
        let event = event(payload);
        assert_eq!(subscription.conditions().test(&mut EventFacts::new(&event)), Ok(expected), "{payload}");
    }
    let event = event("no JSON");
    assert!(subscription.conditions().test(&mut EventFacts::new(&event)).is_err());
}

#[tokio::test]
async fn state_is_kept_per_key_and_outlives_a_reload() {
    let host = host();
    let limits = CallLimits::new(&LIMITS, &Default::default());
    let count = async |filter: &Filter, key: &str| {
        let subscription = filter.subscribe(key, params(&[("mode", "count")]), limits).await.unwrap();
        filter.process(&subscription, &event("{}"), 1).await.unwrap()
    };
    let first = load(&host, "misbehave", LIMITS).await;
    assert_eq!(count(&first, "a").await, Verdict::Replace("1".into()));
    assert_eq!(count(&first, "a").await, Verdict::Replace("2".into()));
    assert_eq!(count(&first, "b").await, Verdict::Replace("1".into()));
    drop(first);
    let second = load(&host, "misbehave", LIMITS).await;
    assert_eq!(count(&second, "a").await, Verdict::Replace("3".into()));
    let other = host.load("other", file("misbehave"), &settings("other", LIMITS)).await.unwrap();
    assert_eq!(count(&other, "a").await, Verdict::Replace("1".into()));
}

/// Past its budget of calls a guest is told so; it may go on without.
#[tokio::test]
async fn a_few_calls_too_many_are_refused_not_punished() {
    let three = GuestLimits { host_calls: 60_000, ..LIMITS };
    let filter = load(&host(), "misbehave", three).await;
    let subscription = subscribe(&filter, three, &[("mode", "host-call-storm")]).await;
    let verdict = filter.process(&subscription, &event("{}"), 1).await.unwrap();
    assert_eq!(verdict, Verdict::Replace("40000 refused".into()));
}

#[tokio::test(flavor = "current_thread")]
async fn log_lines_have_a_budget_and_name_filter_and_key() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let filter = load(&host(), "misbehave", LIMITS).await;
    process(&filter, &[("mode", "log")]).await.unwrap();
    process(&filter, &[("mode", "log-storm")]).await.unwrap();
    process(&filter, &[("mode", "log")]).await.unwrap();
    let log = log.text();
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| line.contains(" filter: ")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    INFO filter: attempt 7 filter="misbehave" key="key" event="id-1"
    INFO filter: line 0 filter="misbehave" key="key" event="id-1"
    INFO filter: line 1 filter="misbehave" key="key" event="id-1"
    INFO filter: line 2 filter="misbehave" key="key" event="id-1"
    WARN filter: log lines over the budget of one event were dropped filter="misbehave" key="key" event="id-1" dropped=99997
    INFO filter: attempt 7 filter="misbehave" key="key" event="id-1"
    "#);
}

/// What is logged where nothing may be called is logged all the same.
#[tokio::test(flavor = "current_thread")]
async fn matches_and_the_constructor_may_log() {
    let (log, _guard) = Log::start(tracing::Level::INFO);
    let filter = load(&host(), "misbehave", LIMITS).await;
    let subscription = subscribe(&filter, LIMITS, &[("mode", "log-in-matches")]).await;
    assert!(filter.matcher().matches(&subscription, &event("{}")).unwrap());
    subscribe(&filter, LIMITS, &[("mode", "log-in-constructor")]).await;
    let log = log.text();
    insta::assert_snapshot!(log.lines().map(str::trim).collect::<Vec<_>>().join("\n"), @r#"
    INFO filter: logged in matches filter="misbehave" key="key" event="id-1"
    "#);
}

/// Toolchains import all that a world has. What was neither wished for nor granted is denied when
/// it is called.
#[tokio::test]
async fn an_import_that_is_not_granted_is_denied() {
    let trick = Trick {
        imports: r#"(import "trommel:filter/state@0.1.1" "delete" (func $delete (param i32 i32 i32)))"#,
        // Drops the event if the answer is an error, and that is `denied`, the first of them.
        process: "(call $delete (i32.const 16) (i32.const 7) (i32.const 5000))
            (i32.store (i32.const 4100) (i32.or
                (i32.eqz (i32.load8_u (i32.const 5000))) (i32.ne (i32.load8_u (i32.const 5004)) (i32.const 0))))",
        ..Trick::default()
    };
    for (grants, expected) in [(vec![], Verdict::Drop), (vec![Grant::State], Verdict::Keep)] {
        let settings = FilterSettings { grants, ..settings("crafted", LIMITS) };
        let filter = host().load("crafted", crafted::filter(trick), &settings).await.unwrap();
        let subscription = subscribe(&filter, LIMITS, &[]).await;
        assert_eq!(filter.process(&subscription, &event("{}"), 1).await.unwrap(), expected);
    }
}

/// Without WASI, by the hook of the kit for Rust.
#[tokio::test]
async fn a_panic_says_its_message_and_place() {
    let filter = load(&host(), "subscriber", LIMITS).await;
    let params = [("min_amount", "0"), ("region", "nowhere")];
    let subscription = subscribe(&filter, LIMITS, &params).await;
    let Err(ProcessError::Broke(broken)) = filter.process(&subscription, &event(r#"{"amount":1}"#), 1).await else {
        panic!("it should break")
    };
    let (_, said) = broken.detail.split_once("its last lines:\n").unwrap();
    assert!(said.starts_with("panicked at ") && said.contains("src/lib.rs:"), "{said}");
    assert!(said.ends_with("no such region: nowhere"), "{said}");
}

#[tokio::test]
async fn calls_and_breaks_are_counted() {
    let metrics = Arc::new(Metrics::default());
    let host = trommel::filter::Host::new(None, None, Arc::clone(&metrics)).unwrap();
    let filter = load(&host, "misbehave", LIMITS).await;
    let subscription = subscribe(&filter, LIMITS, &[("mode", "trap-process")]).await;
    assert!(filter.matcher().matches(&subscription, &event("{}")).unwrap());
    for n in 1..=5 {
        let Err(ProcessError::Broke(broken)) = filter.process(&subscription, &event("{}"), 1).await else {
            panic!("it should break")
        };
        assert_eq!(filter.record_break(&broken), n == 5);
    }
    let counted = metrics.filter("misbehave");
    assert_eq!((counted.matches.get(), counted.processes.get(), counted.breaks.get()), (1, 5, 5));
    assert!(filter.is_quarantined());
    assert_eq!(counted.quarantined.get(), 1);
    filter.lift();
    assert_eq!(counted.quarantined.get(), 0);
}

#[tokio::test]
async fn compiled_code_is_kept_for_us_alone() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path().join("cache/code");
    let load = async || {
        let host = trommel::filter::Host::new(Some(cache.clone()), None, Arc::default()).unwrap();
        load(&host, "select", LIMITS).await;
    };
    let files = || walk(&cache).len();
    load().await;
    let kept = files();
    assert!(kept > 0);
    load().await;
    assert_eq!(files(), kept);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(cache.metadata().unwrap().permissions().mode() & 0o777, 0o700);
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// What a lane does may move between threads.
#[tokio::test(flavor = "multi_thread")]
async fn calls_may_move_between_threads() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    let subscription = subscribe(&filter, LIMITS, &[("mode", "slow"), ("n", "5")]).await;
    let calls = (0..8).map(|_| {
        let (filter, subscription) = (filter.clone(), Arc::clone(&subscription));
        tokio::spawn(async move {
            let mut matcher = filter.matcher();
            for _ in 0..3 {
                assert!(matcher.matches(&subscription, &event("{}")).unwrap());
                assert_eq!(filter.process(&subscription, &event("{}"), 1).await.unwrap(), Verdict::Keep);
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
}

#[tokio::test]
async fn a_key_may_set_its_own_limits() {
    let filter = load(&host(), "misbehave", LIMITS).await;
    let overrides = trommel::config::LimitOverrides { emissions: Some(1), ..Default::default() };
    let limits = CallLimits::new(&LIMITS, &overrides);
    let subscription = filter.subscribe("key", params(&[("mode", "emit"), ("n", "2")]), limits).await.unwrap();
    assert!(matches!(filter.process(&subscription, &event("{}"), 1).await, Err(ProcessError::Broke(_))));
    assert!(process(&filter, &[("mode", "emit"), ("n", "2")]).await.is_ok());
}

#[tokio::test]
async fn a_grant_is_needed_for_state() {
    let ungranted = FilterSettings { grants: Vec::new(), ..settings("misbehave", LIMITS) };
    assert!(host().load("misbehave", file("misbehave"), &ungranted).await.is_err());
}

/// What a guest keeps of one key's events in its memory, no other key sees, unless the keys are to
/// share.
#[tokio::test]
async fn memory_is_apart_for_each_key() {
    // Answers with the digit of how often the instance was called.
    let count = "(i32.store8 (i32.const 60000) (i32.add (i32.load8_u (i32.const 60000)) (i32.const 1)))
        (i32.store8 (i32.const 60001) (i32.add (i32.load8_u (i32.const 60000)) (i32.const 48)))
        (i32.store (i32.const 4100) (i32.const 2)) (i32.store (i32.const 4104) (i32.const 60001))
        (i32.store (i32.const 4108) (i32.const 1))";
    let counter = crafted::filter(crafted::Trick { process: count, ..Default::default() });
    for (instances, expected) in
        [(InstanceScope::Key, ["1", "1", "2", "2"]), (InstanceScope::Filter, ["1", "2", "3", "4"])]
    {
        let settings = FilterSettings { instances, ..settings("counter", LIMITS) };
        let filter = host().load("counter", counter.clone(), &settings).await.unwrap();
        let mut answers = Vec::new();
        for key in ["a", "b", "a", "b"] {
            let limits = CallLimits::new(&LIMITS, &Default::default());
            let subscription = filter.subscribe(key, params(&[]), limits).await.unwrap();
            match filter.process(&subscription, &event("{}"), 1).await.unwrap() {
                Verdict::Replace(answer) => answers.push(String::from_utf8(answer.to_vec()).unwrap()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answers, expected);
    }
}

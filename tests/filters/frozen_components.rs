//! Components that were built against any released version of the contract go on as on their first
//! day.

use crate::filter as rig;

use std::{fs, path::PathBuf, time::Duration};

use rig::*;
use trommel::{
    condition::EventFacts,
    config::{FilterSettings, Grant, GuestLimits},
    event::Event,
    filter::{BreakReason, CONTRACTS, Emission, Failure, FailureKind, Filter, ProcessError, Verdict},
};

fn folder(version: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/frozen", version].iter().collect()
}

async fn frozen(version: &str, name: &str) -> Filter {
    let file = fs::read(folder(version).join(format!("{name}.wasm"))).unwrap();
    host().load(name, file, &settings(name, GuestLimits::default())).await.unwrap()
}

async fn process(filter: &Filter, given: &[(&str, &str)]) -> Result<Verdict, ProcessError> {
    let subscription = subscribe(filter, GuestLimits::default(), given).await;
    filter.process(&subscription, &event(r#"{"id":"o-1","amount":700}"#), 1).await
}

/// Each says by the names of its exports what it was built for.
#[test]
fn every_released_version_has_its_components() {
    for version in CONTRACTS {
        let wit = [env!("CARGO_MANIFEST_DIR"), "wit", &format!("v{version}"), "filter.wit"].iter().collect::<PathBuf>();
        if fs::read_to_string(wit).unwrap().contains("/// A preview: until a release names this version") {
            continue;
        }
        let files: Vec<_> = fs::read_dir(folder(version)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!files.is_empty(), "nothing of {version} was frozen");
        for file in files {
            let bytes = fs::read(&file).unwrap();
            let export = format!("trommel:filter/filter@{version}");
            assert!(bytes.windows(export.len()).any(|bytes| bytes == export.as_bytes()), "{}", file.display());
        }
    }
}

#[tokio::test]
async fn conditions_and_outcomes_of_0_1_0() {
    let select = frozen("0.1.0", "select").await;
    let params = [("keep", "/id"), ("where", "/amount >= 500")];
    let subscription = subscribe(&select, GuestLimits::default(), &params).await;
    let passes = |payload| subscription.conditions().test(&mut EventFacts::new(&event(payload))).unwrap();
    assert!(passes(r#"{"amount":500}"#) && !passes(r#"{"amount":499}"#));
    assert_eq!(process(&select, &params).await.unwrap(), Verdict::Replace(r#"{"id":"o-1"}"#.into()));
    let refused = select.normalize_params("key", rig::params(&[("were", "/a")])).await.unwrap_err();
    assert!(format!("{:#}", anyhow::Error::from(refused)).contains("`select` has no param `were`"));

    let stamp = frozen("0.1.0", "stamp-v1").await;
    assert_eq!(process(&stamp, &[]).await.unwrap(), Verdict::Replace(r#"{"id":"id-1","stamp":"v1"}"#.into()));
}

#[tokio::test]
async fn every_kind_of_end_of_0_1_0() {
    let misbehave = frozen("0.1.0", "misbehave").await;
    assert_eq!(process(&misbehave, &[("mode", "ok")]).await.unwrap(), Verdict::Keep);
    assert_eq!(process(&misbehave, &[("mode", "drop")]).await.unwrap(), Verdict::Drop);
    let emission = |index: &str| Emission {
        subject: Some(format!("misbehave.{index}").into()),
        headers: vec![("index".into(), Some(index.into()))],
        ..Emission::new(index.to_owned())
    };
    let emitted = process(&misbehave, &[("mode", "emit"), ("n", "2")]).await.unwrap();
    assert_eq!(emitted, Verdict::Emit(vec![emission("0"), emission("1")]));
    assert_eq!(
        process(&misbehave, &[("mode", "echo-projection")]).await.unwrap(),
        Verdict::Replace("id,headers,payload".into())
    );
    let broke = process(&misbehave, &[("mode", "trap-process")]).await;
    assert!(matches!(&broke, Err(ProcessError::Broke(broken)) if broken.reason == BreakReason::Trap), "{broke:?}");
    let said = process(&misbehave, &[("mode", "malformed")]).await;
    assert!(matches!(said, Err(ProcessError::Said(Failure { kind: FailureKind::Malformed, .. }))), "{said:?}");
}

#[tokio::test]
async fn state_and_the_hooks_for_consumers_of_0_1_0() {
    let lifecycle = frozen("0.1.0", "lifecycle").await;
    let none = Vec::new();
    assert_eq!(lifecycle.pre_consume("key", &none).await.unwrap().as_deref(), Some("token-1"));
    lifecycle.cleanup("key", &none, "token-1").await.unwrap();
    let Verdict::Replace(calls) = process(&lifecycle, &[]).await.unwrap() else { panic!("no list") };
    assert_eq!(calls, "pre-consume key -> token-1\ncleanup key token-1");
}

#[tokio::test]
async fn batches_of_0_1_1() {
    let batched = frozen("0.1.1", "match-batch").await;
    let subscription = subscribe(&batched, GuestLimits::default(), &[("max", "4"), ("type", "created")]).await;
    let (short, long) = (event("1234"), event("12345"));
    let mut matcher = batched.matcher();
    assert!(matcher.takes_batches());
    assert!(matcher.matches(&subscription, &short).unwrap());
    assert!(!matcher.matches(&subscription, &long).unwrap());
    let events = [&short, &long, &short].repeat(50);
    assert_eq!(matcher.matches_batch(&subscription, &events).unwrap(), [true, false, true].repeat(50));
}

/// Conditions, params that are checked, `state`, `log` and the hooks for consumers, from the kit
/// for Rust.
#[tokio::test]
async fn all_else_of_0_1_1() {
    let subscriber = frozen("0.1.1", "subscriber").await;
    let given = [("min_amount", "500"), ("region", "eu")];
    assert_eq!(process(&subscriber, &given).await.unwrap(), Verdict::Replace(r#"{"amount":700,"seen":1}"#.into()));
    let Verdict::Emit(emitted) = process(&subscriber, &given).await.unwrap() else { panic!("the second is emitted") };
    let second = Emission {
        subject: Some("counted".into()),
        headers: vec![("region".into(), Some("eu".into()))],
        ..Emission::new(r#"{"amount":700,"seen":2}"#)
    };
    assert_eq!(emitted, [second]);
    let subscription = subscribe(&subscriber, GuestLimits::default(), &given).await;
    assert!(!subscription.conditions().test(&mut EventFacts::new(&event(r#"{"amount":1}"#))).unwrap());

    let params = params(&given);
    let token = subscriber.pre_consume("key", &params).await.unwrap().unwrap();
    assert_eq!(token, "key/eu");
    subscriber.cleanup("key", &params, &token).await.unwrap();
    subscriber.cleanup("key", &params, "key/us").await.unwrap_err();
    let refused = subscriber.normalize_params("key", rig::params(&[("min_amount", "much")])).await.unwrap_err();
    let refused = format!("{:#}", anyhow::Error::from(refused));
    assert!(refused.ends_with("param `min_amount` can't be `much`: invalid digit found in string"), "{refused}");
}

/// The filter of `examples/languages` in JavaScript: an interpreter, which imports all that its
/// world has.
#[tokio::test]
async fn an_interpreter_of_0_1_1() {
    let name = "conformance-js";
    let file = fs::read(folder("0.1.1").join("conformance-js.wasm")).unwrap();
    let limits = GuestLimits { match_cpu: Duration::from_secs(10), ..GuestLimits::default() };
    let settings = FilterSettings { grants: vec![Grant::Api, Grant::State], ..settings(name, limits) };
    let script = host().load(name, file, &settings).await.unwrap();
    let normal = script.normalize_params("key", rig::params(&[("threshold", " +007 ")])).await.unwrap();
    assert_eq!(normal, rig::params(&[("mode", "keep"), ("threshold", "7")]));
    let subscription = subscribe(&script, limits, &[("threshold", "7")]).await;
    let passes = |payload| subscription.conditions().test(&mut EventFacts::new(&event(payload))).unwrap();
    assert!(passes(r#"{"amount":7}"#) && !passes(r#"{"amount":6}"#));

    let kept = event(r#"{"do":"emit","n":2,"text":"größer"}"#);
    let skipped = Event { event_type: "skip".into(), ..kept.clone() };
    let mut matcher = script.matcher();
    assert!(matcher.takes_batches() && !script.processes_batches());
    assert_eq!(matcher.matches_batch(&subscription, &[&kept, &skipped, &kept]).unwrap(), [true, false, true]);
    let second = Emission {
        subject: Some("part.1".into()),
        headers: vec![("part".into(), Some("1".into())), ("text".into(), Some("größer".into()))],
        ..Emission::new("größer")
    };
    let emitted = script.process(&subscription, &kept, 1).await.unwrap();
    assert_eq!(emitted, Verdict::Emit(vec![Emission::new("größer"), second]));

    let state = event(r#"{"do":"state","n":5,"text":"x"}"#);
    for expected in ["5 none", "10 x"] {
        assert_eq!(script.process(&subscription, &state, 1).await.unwrap(), Verdict::Replace(expected.into()));
    }
    let said = script.process(&subscription, &event("nope"), 1).await;
    assert!(matches!(said, Err(ProcessError::Said(Failure { kind: FailureKind::Malformed, .. }))), "{said:?}");
}

//! What a filter is sent can't stop it: JSON that is nested deeper than its language can follow is
//! an answer about that event, like any other, and no break.

use trommel::filter::{FailureKind, Filter, ProcessError, Verdict};

use super::{
    LIMITS,
    rig::{event, subscribe},
};

/// Every hundredth event is poisonous; all others come out.
pub async fn goes_through_poison(filter: &Filter, language: &str) {
    let route = subscribe(filter, LIMITS, &[]).await;
    for n in 0..2_000 {
        if n % 100 == 99 {
            let (depth, open, close) = DEEP[n / 100 % DEEP.len()];
            let deep = format!("{}0{}", open.repeat(depth), close.repeat(depth));
            let payload = format!(r#"{{"do":"text","text":"x","deep":{deep}}}"#);
            match filter.process(&route, &event(&payload), 1).await {
                Ok(Verdict::Replace(text)) if text == "x" => {}
                Err(ProcessError::Said(failure)) if failure.kind == FailureKind::Malformed => {}
                other => panic!("{language}: {open} {depth} deep: {other:?}"),
            }
        } else {
            let verdict = filter.process(&route, &event(r#"{"do":"text","text":"y"}"#), 1).await;
            assert_eq!(verdict.unwrap(), Verdict::Replace("y".into()), "{language}: event {n}");
        }
    }
    assert!(!filter.is_quarantined());
}

/// How deep, and of what. The last are a megabyte.
const DEEP: [(usize, &str, &str); 10] = [
    (100, "[", "]"),
    (1_000, "[", "]"),
    (1_000, r#"{"a":"#, "}"),
    (3_000, "[", "]"),
    (3_000, r#"{"a":"#, "}"),
    (10_000, r#"[{"a":"#, "}]"),
    (100_000, "[", "]"),
    (100_000, r#"{"a":"#, "}"),
    (500_000, "[", "]"),
    (150_000, r#"{"a":"#, "}"),
];

//! Version 0.2 of the contract: fields that are read, edits, emissions, failures, batches, imports.

use std::sync::Arc;

use trommel::{
    config::{FilterSettings, Grant, GuestLimits, LimitOverrides},
    event::Event,
    filter::{
        BreakReason, CallLimits, Emission, EmissionFate, Failure, FailureCause, FailureKind, Filter, MatchError,
        ProcessError, RouteSubscription, Verdict,
    },
};

use crate::filter::{event, file, host, params};

async fn fields() -> Filter {
    let grants = vec![Grant::State];
    let settings = FilterSettings { grants, ..FilterSettings::new("fields".to_owned()) };
    host().load("fields", file("fields"), &settings).await.unwrap()
}

async fn try_subscribe(filter: &Filter, pairs: &[(&str, &str)]) -> Result<Arc<RouteSubscription>, String> {
    let limits = CallLimits::new(&GuestLimits::default(), &LimitOverrides::default());
    let made = filter.subscribe("key", params(pairs), limits).await;
    made.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

async fn process(pairs: &[(&str, &str)], event: &Event) -> Result<Verdict, ProcessError> {
    let filter = fields().await;
    let subscription = try_subscribe(&filter, pairs).await.unwrap();
    filter.process(&subscription, event, 1).await
}

fn emission(payload: &str) -> Emission {
    Emission::new(payload.to_owned())
}

#[tokio::test]
async fn the_manifest_says_what_the_filter_needs() {
    let filter = fields().await;
    let manifest = filter.manifest();
    assert_eq!((&*manifest.name, &*manifest.version), ("fields", "1.0.0"));
    assert!(manifest.hooks.matches_batch && manifest.hooks.process_batch);
    assert_eq!(manifest.capabilities, ["state"]);
    assert_eq!(manifest.needs.reasons["state"], "keeps values");
    assert_eq!(manifest.needs.memory, Some(16 << 20));
}

#[tokio::test]
async fn what_was_asked_for_is_handed_over_in_that_order() {
    let reads = "/b/c header:a subject /none attempt key sequence /b payload";
    let payload = r#"{"b":{"c":"\u00e9","c": 1.50},"d":null}"#;
    let echoed = process(&[("mode", "echo"), ("process_reads", reads)], &event(payload)).await.unwrap();
    let expected = format!("1.50\n1\norders.eu.created\n-\n1\nkey\n1\n{{\"c\":\"\\u00e9\",\"c\": 1.50}}\n{payload}");
    assert_eq!(echoed, Verdict::Replace(expected.into()));
    // Absent, `null` and empty are three things.
    let pairs = [("mode", "echo"), ("process_reads", "/a /b /c")];
    let echoed = process(&pairs, &event(r#"{"b":null,"c":""}"#)).await.unwrap();
    assert_eq!(echoed, Verdict::Replace("-\nnull\n\"\"".into()));
}

#[tokio::test]
async fn a_part_of_what_is_no_json_is_not_asked_for() {
    let filter = fields().await;
    let pairs = [("mode", "echo"), ("match_reads", "/a"), ("process_reads", "/a")];
    let subscription = try_subscribe(&filter, &pairs).await.unwrap();
    let text = event("plain text");
    let processed = filter.process(&subscription, &text, 1).await;
    assert!(matches!(&processed, Err(ProcessError::Unread(why)) if why.code() == "not_json"), "{processed:?}");
    let matched = filter.matcher().matches(&subscription, &text);
    assert!(matches!(&matched, Err(MatchError::Untested(why)) if why.code() == "not_json"), "{matched:?}");
    let whole = process(&[("mode", "echo"), ("process_reads", "payload")], &text).await.unwrap();
    assert_eq!(whole, Verdict::Replace("plain text".into()));
}

#[tokio::test]
async fn what_can_not_be_made_says_why_once() {
    let filter = fields().await;
    for (pairs, expected) in [
        (&[("refuse", "`mode` is too loud")][..], "the filter refused the params: malformed: `mode` is too loud"),
        (&[("where", "/a = 1")], "the filter's condition, line 1, column 4: `=` is not an operator, write `==`"),
        (&[("match_reads", "id amount")], "`matches` of the filter reads a field that there is not: `amount` is not"),
        (&[("process_reads", "header:")], "`process` of the filter reads a field that there is not: `header:` needs"),
    ] {
        let said = try_subscribe(&filter, pairs).await.unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}

#[tokio::test]
async fn edits_leave_the_rest_as_it_was_written() {
    let payload = r#"{ "amount": 12345678901234567890.10, "email":"a@b.c", "list":[1, 2] , "old":{"x":1} }"#;
    let edits = "/email set \"x\"\n/list/0 remove\n/old rename new\n/new/y set true";
    let edited = process(&[("mode", "edit"), ("argument", edits)], &event(payload)).await.unwrap();
    let expected = r#"{ "amount": 12345678901234567890.10, "email":"x", "list":[2] , "new":{"x":1,"y":true} }"#;
    assert_eq!(edited, Verdict::Replace(expected.into()));
    // A header or the subject makes it an emission.
    let edits = "header:a remove\nheader:b set 2\nsubject set other.place\n/n set 2";
    let edited = process(&[("mode", "edit"), ("argument", edits)], &event("{\"n\":1}")).await.unwrap();
    let headers = vec![("a".into(), None), ("b".into(), Some("2".into()))];
    let subject = Some("other.place".into());
    assert_eq!(edited, Verdict::Emit(vec![Emission { subject, headers, ..emission("{\"n\":2}") }]));
}

#[tokio::test]
async fn an_edit_that_can_not_be_made_is_the_events_end_or_the_filters_fault() {
    for (edits, payload, expected) in [
        ("/a/b set 1", r#"{"a":5}"#, "/a/b"),
        ("/a set 1", "plain text", "JSON"),
        ("/a set nope", r#"{"a":5}"#, "/a"),
        ("/l/7 set 1", r#"{"l":[]}"#, "/l/7"),
    ] {
        let said = process(&[("mode", "edit"), ("argument", edits)], &event(payload)).await;
        let Err(ProcessError::Said(Failure { kind: FailureKind::Malformed, cause })) = said else {
            panic!("{edits}: {said:?}")
        };
        assert!(cause.detail.contains(expected), "{edits}: {}", cause.detail);
    }
    for edits in ["id set 1", "payload set 1", "subject remove", "subject set a..b", "header:a rename b"] {
        let said = process(&[("mode", "edit"), ("argument", edits)], &event("{}")).await;
        let is_bad = |broken: &trommel::filter::BrokenCall| broken.reason == BreakReason::BadOutput;
        assert!(matches!(&said, Err(ProcessError::Broke(broken)) if is_bad(broken)), "{edits}: {said:?}");
    }
}

#[tokio::test]
async fn emissions_choose_their_sink_id_headers_and_fate() {
    let lines = "one alerts id-9 a.b x=1 -\ntwo - - - gone -\nthree - - - - no_rate!";
    let pairs = [("mode", "emit"), ("sinks", "alerts rest"), ("argument", lines)];
    let Verdict::Emit(emitted) = process(&pairs, &event("{}")).await.unwrap() else { panic!("no emissions") };
    let cause = FailureCause { code: Some("no_rate_".into()), detail: "no use".to_owned() };
    assert_eq!(
        emitted,
        [
            Emission {
                sink: Some("alerts".into()),
                id: Some("id-9".into()),
                subject: Some("a.b".into()),
                headers: vec![("x".into(), Some("1".into()))],
                ..emission("one")
            },
            Emission { headers: vec![("gone".into(), None)], ..emission("two") },
            Emission { fate: EmissionFate::Bury(cause), ..emission("three") },
        ]
    );
    for (line, expected) in [
        ("one elsewhere", "emission 0 is for the sink `elsewhere`, which is not among `sinks`"),
        ("one - -\ntwo - \u{7}", "emission 1 has an id that is empty, longer than"),
    ] {
        let said = process(&[("mode", "emit"), ("sinks", "alerts"), ("argument", line)], &event("{}")).await;
        let Err(ProcessError::Broke(broken)) = said else { panic!("{said:?}") };
        assert!(broken.detail.contains(expected), "{}", broken.detail);
    }
}

#[tokio::test]
async fn failures_carry_a_code_of_the_author() {
    let failed = process(&[("mode", "failed"), ("argument", "No-Rate for DKK")], &event("{}")).await;
    let Err(ProcessError::Said(failure)) = failed else { panic!("{failed:?}") };
    let cause = FailureCause { code: Some("no_rate".into()), detail: "for DKK".to_owned() };
    assert_eq!(failure, Failure { kind: FailureKind::Failed, cause });
}

#[tokio::test]
async fn the_store_compares_lists_and_counts() {
    let said = process(&[("mode", "state")], &event("{}")).await.unwrap();
    let lines = ["Ok(())", "Err(StateError::Conflict)", "Ok(())", "Ok(5)", "Ok([\"a\"])", "Ok([])"];
    assert_eq!(said, Verdict::Replace(lines.join("\n").into()));
}

#[tokio::test]
async fn a_batch_answers_as_its_events_alone_do() {
    let filter = fields().await;
    let pairs = [("match_reads", "/n"), ("wanted", "1"), ("mode", "echo"), ("process_reads", "/n id /none")];
    let subscription = try_subscribe(&filter, &pairs).await.unwrap();
    let events: Vec<Event> = (0..200).map(|n| event(&format!("{{\"n\":{}}}", n % 3))).collect();
    let all: Vec<&Event> = events.iter().collect();
    let mut matcher = filter.matcher();
    assert!(matcher.takes_batches());
    let alone: Vec<bool> = all.iter().map(|event| matcher.matches(&subscription, event).unwrap()).collect();
    assert_eq!(matcher.matches_batch(&subscription, &all).unwrap(), alone);
    let together = filter.process_batch(&subscription, &all).await.unwrap();
    for (event, answer) in all.iter().zip(together) {
        assert_eq!(answer.unwrap(), filter.process(&subscription, event, 1).await.unwrap());
    }
    let counted = try_subscribe(&filter, &[("mode", "count")]).await.unwrap();
    let answers = filter.process_batch(&counted, &all[..50]).await.unwrap();
    assert!(answers.iter().all(|answer| *answer == Ok(Verdict::Replace("50".into()))));
}

#[tokio::test]
async fn too_few_answers_of_a_batch_are_a_break() {
    let filter = fields().await;
    let subscription = try_subscribe(&filter, &[("mode", "short")]).await.unwrap();
    let one = event("{}");
    let said = filter.process_batch(&subscription, &[&one, &one]).await;
    let Err(ProcessError::Broke(broken)) = said else { panic!("{said:?}") };
    assert!(broken.detail.contains("it answered 0 of 2 events"), "{}", broken.detail);
    assert!(filter.processes_batches());
    for _ in 0..2 {
        assert!(filter.process_batch(&subscription, &[&one, &one]).await.is_err());
    }
    assert!(!filter.processes_batches(), "after three breaks in a row each event is processed alone");
}

/// The section is read without running the filter, so it must not say anything else.
#[tokio::test]
async fn a_section_with_the_manifest_says_the_same() {
    let load = async |text: &str| {
        let mut module = file("fields");
        let name = "trommel:manifest";
        let mut section = vec![u8::try_from(name.len()).unwrap()];
        section.extend_from_slice(name.as_bytes());
        section.extend_from_slice(text.as_bytes());
        // A custom section: 0, its length in LEB128, its content.
        module.push(0);
        let mut length = section.len();
        while length >= 0x80 {
            module.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        module.push(length as u8);
        module.extend(section);
        let settings = FilterSettings { grants: vec![Grant::State], ..FilterSettings::new("fields".to_owned()) };
        host().load("fields", module, &settings).await.map_err(|error| format!("{:#}", anyhow::Error::from(error)))
    };
    let source = include_str!("../guests/fields/src/lib.rs");
    let (_, rest) = source.split_once("const MANIFEST: &str = r#\"").unwrap();
    let (manifest, _) = rest.split_once("\"#").unwrap();
    assert!(load(manifest).await.is_ok());
    let other = manifest.replace("1.0.0", "1.0.1");
    assert!(load(&other).await.unwrap_err().contains("`trommel:manifest` differs from what `describe` says"));
    assert!(load("{").await.unwrap_err().contains("`trommel:manifest` can't be read: EOF"));
}

#[tokio::test]
async fn an_instance_gets_the_memory_that_it_asks_for() {
    let limits = GuestLimits { memory: 8 << 20, ..GuestLimits::default() };
    let settings = FilterSettings { grants: vec![Grant::State], limits, ..FilterSettings::new("fields".to_owned()) };
    let refused = host().load("fields", file("fields"), &settings).await.unwrap_err().to_string();
    assert!(refused.starts_with("its manifest asks for 16.0 MiB of memory, and its limit is 8.0 MiB"), "{refused}");
}

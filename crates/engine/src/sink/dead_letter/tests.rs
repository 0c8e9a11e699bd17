use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::{
    ack::{Acker, EventDelivery, Outcome},
    config::{OnFailure, RetryPolicy},
    event::Event,
    json::line,
    signature::{LetterProof, LetterSigner},
    sink::{
        Confirmation, Sink, SinkRefusal, Slot,
        double::output,
        outlet::{Outlet, OutletCapacity, OutletPolicy, RefusedDestination},
    },
    stop::stop,
};

/// Returns the record without its time, which must be valid.
fn record(letter: &Output) -> Value {
    let mut record: Value = serde_json::from_slice(&letter.payload).unwrap();
    let time = record.as_object_mut().unwrap().remove("time").unwrap();
    time.as_str().unwrap().parse::<Timestamp>().unwrap();
    record
}

/// X4: no undecodable event is dropped without a record.
#[test]
fn an_event_that_was_no_event_is_kept_as_far_as_it_is_known() {
    let letter = of_event(output("t", "e-1", &b"\xff"[..]).ticket, FailurePlace::default(), "not_json", "line 1");
    assert_eq!(
        record(&letter),
        json!({
            "reason": "not_json", "detail": "line 1",
            "id": "e-1", "uid": letter.ticket.event().uid.to_string(), "event_type": "t", "subject": "orders.eu",
            "source": "orders", "stream": "ORDERS", "sequence": 7, "attempts": 2,
            "payload_base64": "/w==",
        })
    );
    assert_eq!(letter.dead_letter, Some("not_json"));
}

#[test]
fn a_filter_that_failed_is_named() {
    let place =
        FailurePlace { key: "k", route: "r", filter: "f", filter_digest: "abc", tries: 3, ..FailurePlace::default() };
    let record = record(&of_event(output("t", "e-1", "text").ticket, place, "trap", "unreachable"));
    for (name, value) in [
        ("key", json!("k")),
        ("route", json!("r")),
        ("filter", json!("f")),
        ("filter_digest", json!("abc")),
        ("tries", json!(3)),
        ("payload_text", json!("text")),
    ] {
        assert_eq!(record[name], value, "{name}");
    }
}

/// The event as it came in, not what the filter made of it, so that it can be sent through again.
#[test]
fn an_output_that_its_sink_refused_keeps_its_event() {
    let refused = Output { payload: "made".into(), index: 4, ..output("t", "e-1", "{\n \"n\": 1}") };
    let letter = of_output(refused, "large", "too_large", "9 MiB");
    let record = record(&letter);
    assert_eq!(
        (&record["payload"], &record["sink"], &record["key"]),
        (&json!({"n": 1}), &json!("large"), &json!("key"))
    );
    let id = format!("{}:key:route/large/too_large:4", letter.ticket.event().uid);
    assert_eq!(letter.id().to_string(), id, "letters of several outputs stay apart");
    let mut lines = Vec::new();
    line::append(&mut lines, &letter.payload);
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 1);
}

/// Destination that takes nothing larger than so many bytes.
struct Small {
    most: usize,
    taken: mpsc::Sender<Value>,
    confirmed: Vec<Slot>,
}

impl Sink for Small {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        if output.payload.len() > self.most {
            return Err(SinkRefusal::Never("too_large", anyhow!("{} bytes", output.payload.len())));
        }
        assert_eq!(signer().verify(&output.payload), LetterProof::Proven, "however small it has become");
        self.taken.send(serde_json::from_slice(&output.payload).unwrap()).await.unwrap();
        self.confirmed.push(slot);
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        match self.confirmed.pop() {
            Some(slot) => Confirmation::One(slot),
            None => std::future::pending().await,
        }
    }
}

fn signer() -> LetterSigner {
    LetterSigner::new(vec!["secret".parse().unwrap()])
}

/// Returns the record at the letter's destination, the content of the file, and the event's
/// outcome.
async fn stored(most: usize, streams: &[&str], path: &Path) -> (Option<Value>, String, Outcome) {
    let event = output("t", "e-1", vec![0xff; 600]).ticket.event().clone();
    let mut headers = event.headers.clone();
    headers.push("Long", "h".repeat(600));
    let (settled, mut outcomes) = mpsc::channel(1);
    let delivery = EventDelivery { event: Event { headers, ..event }, acker: Acker::new(0, settled) };
    let letter =
        of_event(delivery.open(Arc::default(), None), FailurePlace::default(), "not_json", &"why ".repeat(5_000));
    assert!(letter.payload.len() < 8_000, "a detail is cut");
    let (taken, mut all) = mpsc::channel(1);
    let append = |path: PathBuf, record: &[u8]| Ok(std::fs::write(path, record)?);
    let last_resort =
        LastResort::new(streams.iter().map(|name| (*name).to_owned()).collect(), path.to_owned(), append, signer());
    let retry = RetryPolicy { min: Duration::ZERO, max: Duration::ZERO, patience: Duration::ZERO };
    let policy =
        OutletPolicy { on_failure: OnFailure::Retry, retry, refused: RefusedDestination::LastResort(last_resort) };
    let small = Small { most, taken, confirmed: Vec::new() };
    let (queue, outlet) =
        Outlet::new(small, "dead-letters", OutletCapacity { outputs: 4, bytes: 32 << 20 }, policy, Arc::default());
    queue.send(letter).await;
    drop(queue);
    outlet.run(stop().1).await.unwrap();
    let (_, outcome) = outcomes.recv().await.unwrap();
    (all.try_recv().ok(), std::fs::read_to_string(path).unwrap_or_default(), outcome)
}

/// Any dead letter is stored, whatever its destination takes; only without a place does its event
/// come again.
#[tokio::test]
async fn every_letter_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let dead = Outcome::Dead("not_json");

    let (whole, rest, outcome) = stored(1 << 20, &["orders"], &file("1")).await;
    let whole = whole.unwrap();
    assert!(whole["payload_base64"].is_string() && whole["headers"].is_array());
    assert_eq!((&*rest, outcome), ("", dead));

    let (reference, rest, outcome) = stored(5_500, &["orders"], &file("2")).await;
    let reference = reference.unwrap();
    assert_eq!((&reference["payload_bytes"], &reference["payload_base64"]), (&json!(600), &Value::Null));
    assert!(reference["headers"].is_array() && reference["payload_sha256"].is_string(), "{reference}");
    assert_eq!((&*rest, outcome), ("", dead));

    let (cut, rest, outcome) = stored(1_000, &["orders"], &file("3")).await;
    let cut = cut.unwrap();
    assert_eq!((&cut["cut"], &cut["headers"], &cut["sequence"]), (&json!(true), &Value::Null, &json!(7)));
    assert_eq!((&*rest, outcome), ("", dead));

    // No stream has what a line or a request held.
    let (nothing, rest, outcome) = stored(5_500, &["others"], &file("4")).await;
    let line: Value = serde_json::from_str(&rest).unwrap();
    assert!(nothing.is_none() && line["payload_base64"].is_string(), "{rest}");
    assert_eq!(outcome, dead);
    assert_eq!(signer().verify(rest.as_bytes()), LetterProof::Proven, "{rest}");

    let (nothing, _, outcome) = stored(0, &["orders"], Path::new("/dev/null/nowhere")).await;
    assert_eq!((nothing, outcome), (None, Outcome::Retry(Duration::ZERO)));
}

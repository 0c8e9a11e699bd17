//! Tests of outputs that have a time.

use jiff::Timestamp;

use super::*;
use crate::{ack::Outcome, fate::Fate};

fn event(number: u64) -> Event {
    let origin = Origin { source: "s".to_owned(), stream: "S".to_owned() };
    Event {
        id: number.to_string().into(),
        uid: Uid::at(&origin, number, 0),
        event_type: "t".into(),
        subject: "s".into(),
        source_time: None,
        observed_at: u64::try_from(Timestamp::now().as_nanosecond()).unwrap(),
        attempt: 1,
        headers: Headers::default(),
        payload: "{}".into(),
        origin: Arc::new(origin),
        sequence: number,
    }
}

/// A rig whose filter makes these outputs of each event, and an intake with one event open.
async fn rig(argument: &str) -> (ClockRig, Intake<u64>) {
    let rig = ClockRig::start(&[("mode", "later"), ("argument", argument)]).await;
    rig.reload(true, None).await;
    let mut intake = rig.pipeline.intake(Default::default());
    intake.push(event(1), 1);
    (rig, intake)
}

fn load(rig: &ClockRig) -> u64 {
    rig.snapshots.borrow().key("k").unwrap().load.bytes()
}

#[tokio::test(start_paused = true)]
async fn an_output_waits_for_its_time_and_the_others_do_not() {
    let (mut rig, mut intake) = rig("late 60000\nnow -\nsoon 20000\npast -60000\nsoon_too 20000").await;
    let settled = tokio::spawn(async move { (intake.settled().await, intake) });
    let began = Instant::now();
    for (expected, least) in [("now", 0), ("past", 0), ("soon", 19), ("soon_too", 19), ("late", 59)] {
        let output = rig.output().await;
        assert_eq!((text(&output), began.elapsed().as_secs().max(least) - least < 2), (expected, true), "{expected}");
        assert!(!settled.is_finished());
        assert!(expected == "late" || load(&rig) > 0, "it takes part of the budget while it waits");
        output.ticket.settle(Fate::Emitted);
    }
    assert_eq!(settled.await.unwrap().0, (1, Outcome::Done));
    assert_eq!(load(&rig), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_gives_waiting_outputs_back() {
    let (mut rig, mut intake) = rig("now -\nlate 3600000").await;
    let stopper = rig.stopper.clone();
    let settled = tokio::spawn(async move {
        let first = intake.settled().await;
        // A further one does not wait either.
        intake.push(event(2), 2);
        (first, intake.settled().await)
    });
    rig.output().await.ticket.settle(Fate::Emitted);
    let began = Instant::now();
    stopper.drain();
    rig.output().await.ticket.settle(Fate::Emitted);
    let (first, second) = settled.await.unwrap();
    assert_eq!((first, second), ((1, Outcome::Retry(Duration::ZERO)), (2, Outcome::Retry(Duration::ZERO))));
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_time_too_far_away_is_refused_in_words() {
    let (mut rig, mut intake) = rig("now -\nnever 90000000").await;
    let settled = tokio::spawn(async move { intake.settled().await });
    let letter = timeout(HOUR, rig.letters.recv()).await.unwrap().unwrap();
    let record: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    let detail = record["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("output 1 is not to be sent before ") && detail.contains("for a day at most"),
        "{detail}"
    );
    letter.ticket.dead("not_before_too_far");
    assert_eq!(settled.await.unwrap(), (1, Outcome::Dead("not_before_too_far")));
    assert!(rig.outputs.try_recv().is_err(), "all outputs are checked before the first is sent");
}

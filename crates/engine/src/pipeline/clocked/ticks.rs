//! Tests of the driver of ticks.

use serde_json::Value;

use super::*;
use crate::fate::Fate;

fn number(output: &Output, name: &str) -> u64 {
    serde_json::from_str::<Value>(text(output)).unwrap()[name].as_u64().unwrap()
}

fn milliseconds(from: u64) -> u64 {
    from - DAWN / 1_000_000
}

#[tokio::test(start_paused = true)]
async fn ticks_come_at_whole_intervals_and_each_has_its_id() {
    let mut rig = ClockRig::start(&[]).await;
    rig.reload(true, None).await;
    let driver = rig.drive();
    let mut ids = std::collections::BTreeSet::new();
    for tick in 1..=5 {
        let output = rig.output().await;
        assert_eq!((number(&output, "tick"), milliseconds(number(&output, "now"))), (tick, 50 + (tick - 1) * 100));
        assert_eq!((&*output.ticket.event().origin.source, &**output.subject()), ("filter ticks", "k"));
        assert!(ids.insert(output.id().to_string()));
        output.ticket.settle(Fate::Emitted);
    }
    let counted = rig.metrics.source("filter ticks");
    assert_eq!((counted.emitted.get(), rig.metrics.filter("ticker").ticks.get()), (5, 5));
    rig.last.notify_one();
    timeout(HOUR, driver).await.expect("the driver goes on").unwrap();
}

#[tokio::test(start_paused = true)]
async fn no_tick_comes_before_the_outputs_of_the_last_have_arrived() {
    let mut rig = ClockRig::start(&[]).await;
    rig.reload(true, None).await;
    rig.drive();
    let first = rig.output().await;
    assert!(timeout(HOUR, rig.outputs.recv()).await.is_err(), "a second tick");
    let arrived = Instant::now();
    first.ticket.settle(Fate::Emitted);
    let second = rig.output().await;
    assert!(arrived.elapsed() < INTERVAL / 2, "the next one follows at once");
    second.ticket.settle(Fate::Emitted);
    // What was missed is not made up for.
    let began = Instant::now();
    for _ in 0..3 {
        rig.output().await.ticket.settle(Fate::Emitted);
    }
    assert!(began.elapsed() > INTERVAL * 2 && began.elapsed() <= INTERVAL * 3, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_tick_whose_outputs_are_dropped_is_called_again_under_its_id() {
    let mut rig = ClockRig::start(&[]).await;
    rig.reload(true, None).await;
    rig.drive();
    let first = rig.output().await;
    let (id, now) = (first.id().to_string(), number(&first, "now"));
    drop(first);
    let again = rig.output().await;
    assert_eq!((again.id().to_string(), number(&again, "now"), again.ticket.event().attempt), (id.clone(), now, 2));
    again.ticket.settle(Fate::Emitted);
    assert_ne!(rig.output().await.id().to_string(), id);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_fails_is_called_again_and_leaves_no_dead_letter() {
    let mut rig = ClockRig::start(&[("mode", "failed")]).await;
    rig.reload(true, None).await;
    rig.drive();
    let output = rig.output().await;
    assert_eq!((number(&output, "tick"), output.ticket.event().attempt), (3, 3));
    assert!(rig.letters.try_recv().is_err());
    assert_eq!(rig.metrics.source("filter ticks").failed.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_tick_that_breaks_for_good_quarantines_its_filter() {
    let mut rig = ClockRig::start(&[("mode", "broken")]).await;
    rig.reload(true, None).await;
    rig.drive();
    assert!(timeout(HOUR, rig.outputs.recv()).await.is_err());
    assert!(rig.filter.is_quarantined());
    assert_eq!(rig.metrics.filter("ticker").ticks.get(), 1);
    rig.filter.lift();
    rig.params = Vec::new();
    rig.reload(true, None).await;
    assert_eq!(number(&rig.output().await, "tick"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_ends_though_its_filter_is_quarantined() {
    let rig = ClockRig::start(&[("mode", "broken")]).await;
    rig.reload(true, None).await;
    let driver = rig.drive();
    tokio::time::sleep(INTERVAL).await;
    assert!(rig.filter.is_quarantined());
    rig.last.notify_one();
    timeout(HOUR, driver).await.expect("the driver goes on").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_route_that_goes_ends_its_ticks_and_one_that_returns_waits_for_the_last() {
    let mut rig = ClockRig::start(&[]).await;
    rig.reload(false, None).await;
    rig.drive();
    assert!(timeout(HOUR, rig.outputs.recv()).await.is_err(), "there is no route");
    rig.reload(true, None).await;
    let first = rig.output().await;
    rig.reload(false, None).await;
    rig.reload(true, None).await;
    assert!(timeout(HOUR, rig.outputs.recv()).await.is_err(), "two at once");
    first.ticket.settle(Fate::Emitted);
    rig.output().await.ticket.settle(Fate::Emitted);
    rig.reload(false, None).await;
    tokio::time::sleep(INTERVAL).await;
    while let Ok(output) = rig.outputs.try_recv() {
        output.ticket.settle(Fate::Emitted);
    }
    assert!(timeout(HOUR, rig.outputs.recv()).await.is_err(), "the route is gone");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_the_schema_is_kept_as_it_was_made() {
    let mut rig = ClockRig::start(&[("mode", "text")]).await;
    rig.reload(true, Some(r#"{ "type": "object" }"#)).await;
    rig.drive();
    let letter = timeout(HOUR, rig.letters.recv()).await.unwrap().unwrap();
    let record: Value = serde_json::from_slice(&letter.payload).unwrap();
    assert_eq!(
        [&record["reason"], &record["payload_text"], &record["source"], &record["key"]],
        ["schema_mismatch", "no JSON", "filter ticks", "k"]
    );
    letter.ticket.dead("schema_mismatch");
    // That is an end of the tick.
    assert!(timeout(HOUR, rig.letters.recv()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_tick() {
    let mut rig = ClockRig::start(&[]).await;
    rig.reload(true, None).await;
    let driver = rig.drive();
    let output = rig.output().await;
    rig.stopper.drain();
    tokio::time::sleep(HOUR).await;
    assert!(!driver.is_finished(), "what is under way may arrive");
    rig.stopper.end();
    timeout(HOUR, driver).await.expect("the driver goes on").unwrap();
    drop(output);
}

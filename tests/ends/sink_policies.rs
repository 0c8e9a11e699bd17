//! What an outlet does when its sink refuses: retries in place and in order, patience, and each
//! policy.

use crate::events;

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use events::Ends;
use tokio::{sync::mpsc, task::JoinHandle};
use trommel::{
    ack::Outcome,
    config::{OnFailure, RetryPolicy},
    metrics::SinkMetrics,
    sink::{
        Confirmation, Output, Sink, SinkRefusal, Slot,
        outlet::{Outlet, OutletCapacity, OutletEnd, OutletPolicy, RefusedDestination, SinkQueue},
    },
    stop::{Stopper, stop},
};

const RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(1), patience: Duration::from_secs(10) };

/// A sink whose destination is the test.
struct Remote {
    writes: mpsc::Sender<(Slot, String)>,
    confirmations: mpsc::Receiver<Confirmation>,
}

impl Sink for Remote {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let payload = String::from_utf8(output.payload.to_vec()).unwrap();
        self.writes.send((slot, payload)).await.unwrap();
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        match self.confirmations.recv().await {
            Some(confirmation) => confirmation,
            None => std::future::pending().await,
        }
    }
}

struct Rig {
    queue: SinkQueue,
    writes: mpsc::Receiver<(Slot, String)>,
    confirm: mpsc::Sender<Confirmation>,
    metrics: Arc<SinkMetrics>,
    stopper: Stopper,
    run: JoinHandle<anyhow::Result<OutletEnd>>,
}

fn rig(on_failure: OnFailure, dead_letters: Option<SinkQueue>) -> Rig {
    let (write, writes) = mpsc::channel(1000);
    let (confirm, confirmations) = mpsc::channel(1000);
    let metrics = Arc::<SinkMetrics>::default();
    let refused = dead_letters.map_or(RefusedDestination::Nowhere, RefusedDestination::DeadLetters);
    let policy = OutletPolicy { on_failure, retry: RETRY, refused };
    let sink = Remote { writes: write, confirmations };
    let (queue, outlet) =
        Outlet::new(sink, "remote", OutletCapacity { outputs: 100, bytes: 32 << 20 }, policy, Arc::clone(&metrics));
    let (stopper, stop) = stop();
    Rig { queue, writes, confirm, metrics, stopper, run: tokio::spawn(outlet.run(stop)) }
}

impl Rig {
    async fn written(&mut self) -> (Slot, String) {
        self.writes.recv().await.unwrap()
    }

    async fn refuse(&self, slot: Slot) {
        self.confirm.send(Confirmation::Refused(slot, SinkRefusal::Later(anyhow!("away")))).await.unwrap();
    }

    async fn refuse_for_good(&self, slot: Slot) {
        self.confirm
            .send(Confirmation::Refused(slot, SinkRefusal::Never("too_large", anyhow!("9 MiB"))))
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_settled_only_when_its_sink_confirmed() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    for slot in 0..3 {
        rig.queue.send(ends.output(slot)).await;
        rig.written().await;
    }
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ends.so_far(), [], "nothing was confirmed yet");
    rig.confirm.send(Confirmation::One(1)).await.unwrap();
    assert_eq!(ends.next().await, (1, Outcome::Done));
    rig.confirm.send(Confirmation::Through(2)).await.unwrap();
    assert_eq!([ends.next().await, ends.next().await], [(0, Outcome::Done), (2, Outcome::Done)]);
    assert_eq!(rig.metrics.written.get(), 3);
    drop(rig.queue);
    assert_eq!(rig.run.await.unwrap().unwrap(), OutletEnd::Drained);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_written_again_in_order_and_before_what_is_new() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    for slot in 0..3 {
        rig.queue.send(ends.output(slot)).await;
        rig.written().await;
    }
    for slot in [2, 0, 1] {
        rig.refuse(slot).await;
    }
    // Let the refusals arrive before what is new does.
    tokio::time::sleep(Duration::from_millis(1)).await;
    rig.queue.send(ends.output(3)).await;
    for expected in 0..4 {
        assert_eq!(rig.written().await, (expected, expected.to_string()));
    }
    rig.confirm.send(Confirmation::Through(3)).await.unwrap();
    for expected in 0..4 {
        assert_eq!(ends.next().await, (expected, Outcome::Done));
    }
    assert_eq!(rig.metrics.retried.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_try_confirms_is_not_written_again() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    for slot in 0..2 {
        rig.queue.send(ends.output(slot)).await;
        rig.written().await;
    }
    rig.refuse(0).await;
    rig.confirm.send(Confirmation::One(1)).await.unwrap();
    assert_eq!(ends.next().await, (1, Outcome::Done));
    assert_eq!(rig.written().await, (0, "0".to_owned()));
    rig.confirm.send(Confirmation::One(0)).await.unwrap();
    assert_eq!(ends.next().await, (0, Outcome::Done));
    assert!(rig.writes.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn retry_outlasts_its_patience() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    let began = tokio::time::Instant::now();
    rig.queue.send(ends.output(0)).await;
    while began.elapsed() < RETRY.patience * 3 {
        rig.written().await;
        rig.refuse(0).await;
    }
    rig.written().await;
    rig.confirm.send(Confirmation::One(0)).await.unwrap();
    assert_eq!(ends.next().await, (0, Outcome::Done));
    let tries = rig.metrics.retried.get();
    assert!((20..200).contains(&tries), "{tries} tries in 30 s: waits must grow to a second and no further");
}

#[tokio::test(start_paused = true)]
async fn dead_letter_waits_for_patience_and_settles_when_it_is_stored() {
    let (dead_letters, mut stored) = SinkQueue::double("dead-letters", 10);
    let (mut rig, mut ends) = (rig(OnFailure::DeadLetter, Some(dead_letters)), Ends::new());
    let began = tokio::time::Instant::now();
    rig.queue.send(ends.output(0)).await;
    let letter = loop {
        tokio::select! {
            _ = rig.writes.recv() => rig.refuse(0).await,
            letter = stored.recv() => break letter.unwrap(),
        }
    };
    assert!(began.elapsed() >= RETRY.patience, "only {:?} of patience", began.elapsed());
    let record: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    assert_eq!((&record["reason"], &record["sink"]), (&"sink_unavailable".into(), &"remote".into()));
    assert_eq!((&record["id"], &record["key"], &record["payload"]), (&"e0".into(), &"key".into(), &0.into()));
    assert!(record["detail"].as_str().unwrap().contains("away"), "{record}");
    assert_eq!(ends.so_far(), [], "not settled before the dead letter is stored");
    letter.ticket.dead("sink_unavailable");
    assert_eq!(ends.next().await, (0, Outcome::Dead("sink_unavailable")));
}

#[tokio::test(start_paused = true)]
async fn what_can_never_be_taken_is_a_dead_letter_at_once() {
    let (dead_letters, mut stored) = SinkQueue::double("dead-letters", 10);
    let (mut rig, ends) = (rig(OnFailure::Retry, Some(dead_letters)), Ends::new());
    let began = tokio::time::Instant::now();
    rig.queue.send(ends.output(0)).await;
    rig.written().await;
    rig.refuse_for_good(0).await;
    assert_eq!(stored.recv().await.unwrap().dead_letter, Some("too_large"));
    assert!(began.elapsed() < RETRY.min);
    assert_eq!(rig.metrics.dead_lettered.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_dead_letters_a_refused_event_goes_back_to_its_source() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    rig.queue.send(ends.output(0)).await;
    rig.written().await;
    rig.refuse_for_good(0).await;
    assert!(matches!(ends.next().await, (0, Outcome::Retry(_))));
    assert_eq!(rig.metrics.returned.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn skip_counts_and_goes_on() {
    let (mut rig, mut ends) = (rig(OnFailure::Skip, None), Ends::new());
    for slot in 0..2 {
        rig.queue.send(ends.output(slot)).await;
        rig.written().await;
    }
    rig.refuse_for_good(0).await;
    rig.confirm.send(Confirmation::One(1)).await.unwrap();
    assert_eq!([ends.next().await, ends.next().await], [(0, Outcome::Done), (1, Outcome::Done)]);
    assert_eq!((rig.metrics.skipped.get(), rig.metrics.written.get()), (1, 1));
    assert_eq!((ends.metrics.skipped.get(), ends.metrics.emitted.get()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn stop_ends_the_run_and_acknowledges_nothing() {
    let (mut rig, mut ends) = (rig(OnFailure::Stop, None), Ends::new());
    for slot in 0..2 {
        rig.queue.send(ends.output(slot)).await;
        rig.written().await;
    }
    rig.refuse_for_good(0).await;
    let error = rig.run.await.unwrap().unwrap_err();
    assert!(format!("{error:#}").contains("sink `remote` stops the router"), "{error:#}");
    assert!(format!("{error:#}").contains("9 MiB"), "{error:#}");
    assert!(matches!([ends.next().await, ends.next().await], [(_, Outcome::Retry(_)), (_, Outcome::Retry(_))]));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_left_ends_the_outlet_in_good_order() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    rig.queue.send(ends.output(0)).await;
    rig.written().await;
    rig.confirm.send(Confirmation::Refused(0, SinkRefusal::Closed)).await.unwrap();
    assert_eq!(rig.run.await.unwrap().unwrap(), OutletEnd::ReaderLeft);
    assert!(matches!(ends.next().await, (0, Outcome::Retry(_))), "what nobody took is not acknowledged");
}

#[tokio::test(start_paused = true)]
async fn a_full_window_holds_the_queue_and_no_more() {
    let (mut rig, ends) = (rig(OnFailure::Retry, None), Ends::new());
    let queue = rig.queue.clone();
    let outputs: Vec<_> = (0..300).map(|slot| ends.output(slot)).collect();
    let feeding = tokio::spawn(async move {
        for output in outputs {
            queue.send(output).await;
        }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!feeding.is_finished(), "100 under way and 100 queued are the bound");
    assert_eq!(rig.metrics.queued.get(), 200);
    for slot in 0..300 {
        assert_eq!(rig.written().await.0, slot);
        rig.confirm.send(Confirmation::One(slot)).await.unwrap();
    }
    feeding.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn giving_up_returns_what_is_open() {
    let (mut rig, mut ends) = (rig(OnFailure::Retry, None), Ends::new());
    rig.queue.send(ends.output(0)).await;
    rig.written().await;
    rig.stopper.drain();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ends.so_far(), [], "a drain waits");
    rig.stopper.end();
    assert!(matches!(ends.next().await, (0, Outcome::Retry(_))));
}

use std::{sync::mpsc as blocking, time::Duration};

use super::*;
use crate::sink::double::output;

/// Destination whose every batch waits until the test sets its result.
struct Scripted {
    seen: blocking::Sender<Vec<Slot>>,
    results: blocking::Receiver<Result<(), StoppedBatch>>,
}

impl BlockingDestination for Scripted {
    type Item = ();

    fn item(_output: &Output) {}

    fn store(&mut self, batch: &[(Slot, ())]) -> Result<(), StoppedBatch> {
        self.seen.send(batch.iter().map(|(slot, ())| *slot).collect()).unwrap();
        self.results.recv().unwrap()
    }
}

struct Rig {
    sink: BlockingSink<Scripted>,
    seen: blocking::Receiver<Vec<Slot>>,
    results: blocking::Sender<Result<(), StoppedBatch>>,
}

fn rig() -> Rig {
    let (seen, see) = blocking::channel();
    let (results, result) = blocking::channel();
    Rig { sink: BlockingSink::new(Scripted { seen, results: result }).unwrap(), seen: see, results }
}

impl Rig {
    async fn write(&mut self, slots: std::ops::Range<Slot>) {
        for slot in slots {
            self.sink.write(slot, &output("t", "1", "")).await.unwrap();
        }
    }

    /// Polls for a report while there is none, which starts the pending batch.
    async fn start(&mut self) {
        assert!(tokio::time::timeout(Duration::from_millis(1), self.sink.confirm()).await.is_err());
    }

    /// Returns the next report, with `Through` as `Ok` and `Refused` as `Err`.
    async fn word(&mut self) -> Result<Slot, Slot> {
        match self.sink.confirm().await {
            Confirmation::Through(slot) => Ok(slot),
            Confirmation::Refused(slot, SinkRefusal::Later(_)) => Err(slot),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_written_meanwhile_is_the_next_batch() {
    let mut rig = rig();
    rig.write(0..2).await;
    rig.start().await;
    rig.write(2..5).await;
    rig.start().await;
    rig.results.send(Ok(())).unwrap();
    assert_eq!(rig.word().await, Ok(1));
    rig.results.send(Ok(())).unwrap();
    assert_eq!(rig.word().await, Ok(4));
    assert_eq!([rig.seen.recv(), rig.seen.recv()], [Ok(vec![0, 1]), Ok(vec![2, 3, 4])]);
}

/// Refused outputs must not be overtaken by those that came after them.
#[tokio::test]
async fn a_refusal_gives_back_everything_behind_it() {
    let mut rig = rig();
    rig.write(0..3).await;
    rig.start().await;
    rig.write(3..5).await;
    rig.results.send(Err(StoppedBatch::at(1, SinkRefusal::Later(anyhow!("full"))))).unwrap();
    let mut words = Vec::new();
    for _ in 0..5 {
        words.push(rig.word().await);
    }
    assert_eq!(words, [Ok(0), Err(1), Err(2), Err(3), Err(4)]);
    rig.write(1..5).await;
    rig.results.send(Ok(())).unwrap();
    assert_eq!(rig.word().await, Ok(4));
    assert_eq!([rig.seen.recv(), rig.seen.recv()], [Ok(vec![0, 1, 2]), Ok(vec![1, 2, 3, 4])]);
}

/// A destination of several parts may refuse in one of them alone.
#[tokio::test]
async fn what_is_stored_behind_a_refusal_is_not_given_back() {
    let mut rig = rig();
    rig.write(0..5).await;
    rig.start().await;
    rig.write(5..6).await;
    let why = SinkRefusal::Later(anyhow!("full"));
    rig.results.send(Err(StoppedBatch { at: 1, why, stored_behind: vec![2, 4] })).unwrap();
    let mut words = Vec::new();
    for _ in 0..6 {
        words.push(match rig.sink.confirm().await {
            Confirmation::One(slot) | Confirmation::Known(slot) => (slot, "stored"),
            Confirmation::Through(slot) => (slot, "through"),
            Confirmation::Refused(slot, SinkRefusal::Later(why)) if why.to_string() == "full" => (slot, "full"),
            Confirmation::Returned(slot) | Confirmation::Refused(slot, _) => (slot, "behind"),
        });
    }
    assert_eq!(words, [(0, "through"), (2, "stored"), (4, "stored"), (1, "full"), (3, "behind"), (5, "behind")]);
}

/// A panic that ends the thread ends the sink: nothing would ever be written again. Its outputs go
/// back.
#[tokio::test]
async fn a_panic_of_the_thread_is_the_sinks() {
    let mut rig = rig();
    rig.write(0..2).await;
    rig.start().await;
    drop(rig.results);
    let Rig { mut sink, .. } = rig;
    let ended = tokio::spawn(async move { sink.confirm().await }).await;
    assert!(ended.unwrap_err().is_panic());
}

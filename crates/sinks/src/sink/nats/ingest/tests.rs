//! The state machine against a double of the server that drops, refuses, forgets, stalls and
//! answers late, for many seeds.

use std::collections::{BTreeSet, VecDeque};

use fastrand::Rng;

use super::*;

#[derive(Debug)]
enum Answer {
    Flow { through: u64, every: u64 },
    Ended { count: u64 },
    Refused,
    Gone,
}

/// Faults that a run may have.
#[derive(Clone, Copy, Default)]
struct FaultPlan {
    /// Messages of batches that do not arrive, or are refused for the moment.
    gaps: bool,
    /// Outputs that are never taken.
    oversized: bool,
    /// Messages that are counted, refused and not stored, as with a disk that fails.
    unstored: bool,
    /// Batches that are forgotten, as by a restart, and the setting that comes and goes.
    forgets: bool,
    /// Answers that are lost.
    silence: bool,
    /// A share of the flow that changes, as beside other publishers.
    slower: bool,
}

struct OpenBatch {
    number: u64,
    last: u64,
    flowed: u64,
    every: u64,
}

/// Stream of one server, as nats-server 2.15 was seen to behave.
struct StreamDouble {
    rng: Rng,
    faults: FaultPlan,
    batch: Option<OpenBatch>,
    enabled: bool,
    stored: Vec<Slot>,
    answers: VecDeque<(BatchPlace, Answer)>,
}

const FLOW: u64 = 16;

impl StreamDouble {
    fn is_oversized(&self, slot: Slot) -> bool {
        self.faults.oversized && slot % 37 == 5
    }

    fn odds(&mut self, fault: bool, one_in: u32) -> bool {
        fault && self.rng.u32(..one_in) == 0
    }

    fn answer(&mut self, place: BatchPlace, answer: Answer) {
        if !self.odds(self.faults.silence, 40) {
            self.answers.push_back((place, answer));
        }
    }

    fn receive(&mut self, place: BatchPlace, slot: Option<Slot>) {
        if self.odds(self.faults.forgets, 60) {
            self.batch = None;
            self.enabled = self.rng.bool();
        }
        if self.odds(self.faults.gaps, 50) && place.operation != BatchOperation::End {
            // With or without an answer that tells.
            if self.rng.bool() {
                self.answer(place, Answer::Refused);
            }
            return;
        }
        if slot.is_some_and(|slot| self.is_oversized(slot)) {
            return self.answer(place, Answer::Refused);
        }
        if !self.enabled {
            return self.answer(place, Answer::Gone);
        }
        if self.batch.as_ref().is_none_or(|batch| batch.number != place.batch) {
            if place.sequence != 1 || place.operation != BatchOperation::Start {
                return self.answer(place, Answer::Gone);
            }
            let every = if self.faults.slower { self.rng.u64(1..=FLOW) } else { FLOW };
            self.batch = Some(OpenBatch { number: place.batch, last: 0, flowed: 0, every });
            self.answer(place, Answer::Flow { through: 0, every });
        }
        let Some(batch) = &mut self.batch else { return };
        if place.sequence != batch.last + 1 || place.operation == BatchOperation::End {
            let count = batch.last;
            self.batch = None;
            return self.answer(place, Answer::Ended { count });
        }
        batch.last += 1;
        let last = batch.last;
        if self.odds(self.faults.unstored, 50) {
            // Never lost: a later flow ack covers the message, so that this is all that tells.
            self.answers.push_back((place, Answer::Refused));
            return;
        }
        self.stored.extend(slot);
        if place.operation == BatchOperation::Commit {
            self.batch = None;
            return self.answer(place, Answer::Ended { count: last });
        }
        let slower = self.faults.slower.then(|| self.rng.u64(1..=FLOW));
        if let Some(batch) = &mut self.batch
            && last >= batch.flowed + batch.every
        {
            batch.flowed = last;
            batch.every = slower.unwrap_or(batch.every);
            let every = batch.every;
            self.answer(place, Answer::Flow { through: last, every });
        }
    }
}

/// Publisher with a window, as the sink and its outlet are one.
struct IngestRun {
    ingest: FastIngest<()>,
    stream: StreamDouble,
    fast: bool,
    settled: BTreeSet<Slot>,
    again: BTreeSet<Slot>,
}

impl IngestRun {
    fn settle(&mut self, slot: Slot, seed: u64) {
        assert!(self.settled.insert(slot), "seed {seed}: output {slot} is settled twice");
    }

    fn publish(&mut self, seed: u64) -> bool {
        let Some(step) = self.ingest.next(self.fast) else { return false };
        match step {
            PublishStep::Alone => {
                let (slot, ()) = self.ingest.take().unwrap();
                if !self.stream.is_oversized(slot) {
                    self.stream.stored.push(slot);
                }
                self.settle(slot, seed);
            }
            PublishStep::InBatch(place) => {
                let slot = (place.operation != BatchOperation::End).then(|| self.ingest.take().unwrap().0);
                self.ingest.sent(place, slot);
                self.stream.receive(place, slot);
                let batch = self.ingest.batch.as_ref().unwrap();
                let bound = batch.every.map_or(1, |every| DUE * every.max(FLOW) + 1);
                assert!(batch.sent.len() as u64 <= bound, "seed {seed}: {} under way", batch.sent.len());
            }
        }
        true
    }

    fn answered(&mut self, seed: u64) -> bool {
        let Some((place, answer)) = self.stream.answers.pop_front() else { return false };
        let mut reports = Vec::new();
        match answer {
            Answer::Flow { through, every } => self.ingest.flow(place.batch, through, every, &mut reports),
            Answer::Ended { count } => self.fast &= self.ingest.ended(place.batch, count, &mut reports),
            Answer::Refused if place.operation != BatchOperation::End => {
                self.fast = false;
                if let Some(slot) = self.ingest.refused(place.batch, place.sequence) {
                    if self.stream.is_oversized(slot) {
                        self.settle(slot, seed);
                    } else {
                        self.again.insert(slot);
                    }
                }
            }
            Answer::Refused | Answer::Gone => self.fast &= !self.ingest.gone(place.batch, &mut reports),
        }
        for report in reports {
            match report {
                IngestReport::Stored(slot) => {
                    assert!(self.stream.stored.contains(&slot), "seed {seed}: {slot} is confirmed and not stored");
                    self.settle(slot, seed);
                }
                IngestReport::Returned(slot) => assert!(self.again.insert(slot), "seed {seed}: {slot} returned twice"),
            }
        }
        true
    }
}

fn run(seed: u64, faults: FaultPlan) -> (Vec<Slot>, bool) {
    let mut rng = Rng::with_seed(seed);
    let (outputs, window) = (rng.u64(1..400), rng.usize(1..60));
    let stream = StreamDouble {
        rng: rng.fork(),
        faults,
        batch: None,
        enabled: true,
        stored: Vec::new(),
        answers: VecDeque::new(),
    };
    let (settled, again) = (BTreeSet::new(), BTreeSet::new());
    let mut run = IngestRun { ingest: FastIngest::default(), stream, fast: true, settled, again };
    let (mut next, mut expired) = (0, false);
    while run.settled.len() < usize::try_from(outputs).unwrap() {
        let mut moved = false;
        if rng.u32(..3) == 0 {
            // All that came back is written first, in order.
            for slot in std::mem::take(&mut run.again) {
                run.ingest.push(slot, ());
                moved = true;
            }
            for _ in 0..rng.usize(..20) {
                if next < outputs && usize::try_from(next).unwrap() - run.settled.len() < window {
                    run.ingest.push(next, ());
                    (next, moved) = (next + 1, true);
                }
            }
        }
        for _ in 0..rng.usize(..30) {
            moved |= run.publish(seed);
        }
        for _ in 0..rng.usize(..4) {
            moved |= run.answered(seed);
        }
        if rng.u32(..200) == 0 {
            run.fast = true;
        }
        let idle = run.stream.answers.is_empty() && run.ingest.next(run.fast).is_none() && run.again.is_empty();
        let may_take_in = next < outputs && usize::try_from(next).unwrap() - run.settled.len() < window;
        if !moved && idle && !may_take_in {
            assert!(faults.silence || faults.gaps || faults.unstored, "seed {seed}: stuck");
            // As with the deadline of an output.
            run.fast = false;
            expired = true;
            let drained = run.ingest.drain();
            assert!(!drained.is_empty(), "seed {seed}: nothing is under way");
            // One that was refused for the moment may have come again already.
            assert!(faults.gaps || faults.unstored || drained.is_sorted(), "seed {seed}: {drained:?}");
            run.again.extend(drained);
        }
    }
    assert!(run.ingest.is_idle() || run.ingest.batch.is_some(), "seed {seed}: something is left");
    for slot in (0..outputs).filter(|slot| !run.stream.is_oversized(*slot)) {
        assert!(run.stream.stored.contains(&slot), "seed {seed}: {slot} is lost");
    }
    (run.stream.stored, expired)
}

/// Returns the slots in the order in which each was stored first.
fn firsts(stored: &[Slot]) -> Vec<Slot> {
    let mut seen = BTreeSet::new();
    stored.iter().copied().filter(|slot| seen.insert(*slot)).collect()
}

#[test]
fn a_stream_that_works_stores_all_once_and_in_order() {
    for seed in 0..600 {
        let faults = FaultPlan { slower: seed % 2 == 0, ..FaultPlan::default() };
        let (stored, _) = run(seed, faults);
        assert!(stored.iter().copied().eq(0..stored.len() as u64), "seed {seed}: {stored:?}");
    }
}

#[test]
fn an_oversized_output_takes_none_of_its_neighbours_along() {
    for seed in 0..600 {
        let (stored, expired) = run(seed, FaultPlan { oversized: true, ..FaultPlan::default() });
        assert!(stored.is_sorted_by(|one, next| one < next) && !expired, "seed {seed}: {stored:?}");
    }
}

#[test]
fn a_batch_that_is_forgotten_is_repeated_in_order() {
    for seed in 0..600 {
        let (stored, expired) = run(seed, FaultPlan { forgets: true, oversized: true, ..FaultPlan::default() });
        assert!(firsts(&stored).is_sorted() && !expired, "seed {seed}: {stored:?}");
    }
}

#[test]
fn nothing_is_lost_whatever_the_server_does() {
    for seed in 0..1_280 {
        let faults = FaultPlan {
            gaps: seed & 1 > 0,
            unstored: seed & 2 > 0,
            silence: seed & 4 > 0,
            forgets: seed & 8 > 0,
            oversized: seed & 16 > 0,
            slower: seed & 32 > 0,
        };
        run(seed, faults);
    }
}

#[test]
fn few_outputs_go_alone_and_many_in_a_batch() {
    let mut ingest = FastIngest::default();
    (0..SMALLEST as u64 - 1).for_each(|slot| ingest.push(slot, ()));
    assert_eq!(ingest.next(true), Some(PublishStep::Alone));
    ingest.push(99, ());
    let start = BatchPlace { batch: 1, sequence: 1, operation: BatchOperation::Start };
    assert_eq!((ingest.next(true), ingest.next(false)), (Some(PublishStep::InBatch(start)), Some(PublishStep::Alone)));
}

#[test]
fn nothing_follows_the_first_message_before_its_answer() {
    let mut ingest = FastIngest::default();
    (0..20).for_each(|slot| ingest.push(slot, ()));
    let Some(PublishStep::InBatch(place)) = ingest.next(true) else { panic!() };
    let (slot, ()) = ingest.take().unwrap();
    ingest.sent(place, Some(slot));
    assert_eq!(ingest.next(true), None);
    ingest.flow(1, 0, 4, &mut Vec::new());
    let append = BatchPlace { batch: 1, sequence: 2, operation: BatchOperation::Append };
    assert_eq!(ingest.next(true), Some(PublishStep::InBatch(append)));
}

#[test]
fn the_tail_of_a_batch_is_committed_unless_a_flow_ack_is_due() {
    let mut ingest = FastIngest::default();
    (0..9).for_each(|slot| ingest.push(slot, ()));
    let mut operations = Vec::new();
    while let Some(PublishStep::InBatch(place)) = ingest.next(true) {
        operations.push(place.operation as u8);
        let slot = ingest.take().map(|(slot, ())| slot);
        ingest.sent(place, slot);
        if place.operation == BatchOperation::Start {
            ingest.flow(1, 0, 8, &mut Vec::new());
        }
    }
    // Eight are under way, so an ack for them will come; the ninth waits for company.
    assert_eq!(operations, [0, 1, 1, 1, 1, 1, 1, 1]);
    let mut reports = Vec::new();
    ingest.flow(1, 8, 8, &mut reports);
    assert_eq!(reports, (0..8).map(IngestReport::Stored).collect::<Vec<_>>());
    let commit = BatchPlace { batch: 1, sequence: 9, operation: BatchOperation::Commit };
    assert_eq!(ingest.next(true), Some(PublishStep::InBatch(commit)));
}

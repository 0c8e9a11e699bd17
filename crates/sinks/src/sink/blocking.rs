//! Sinks whose destination takes blocking calls, such as files and pipes. The calls run on a thread
//! of their own, so a slow disk or a pipe without a reader holds up neither the runtime nor the end
//! of the process.

use std::{
    collections::VecDeque,
    io,
    ops::RangeInclusive,
    panic,
    thread::{self, JoinHandle},
};

use anyhow::anyhow;
use tokio::sync::mpsc;

use super::{Confirmation, Output, Sink, SinkRefusal, Slot};

/// The blocking side of a sink.
pub trait BlockingDestination: Send + 'static {
    /// Part of an output that is kept until it is stored.
    type Item: Send + 'static;

    fn item(output: &Output) -> Self::Item;

    /// Stores a batch, in order where that shows. Refused items may be passed again, under the same
    /// slots.
    ///
    /// # Errors
    /// Returns an error with how far it came and why no further.
    fn store(&mut self, batch: &[(Slot, Self::Item)]) -> Result<(), StoppedBatch>;
}

/// Result of a batch that was not stored to its end.
#[derive(Debug)]
pub struct StoppedBatch {
    /// Index of the first item that is not stored.
    pub at: usize,
    pub why: SinkRefusal,
    /// Indices of the items behind it that are stored all the same, in order.
    pub stored_behind: Vec<usize>,
}

impl StoppedBatch {
    /// Result of a batch of which nothing is stored from this item on.
    pub fn at(at: usize, why: SinkRefusal) -> Self {
        Self { at, why, stored_behind: Vec::new() }
    }
}

/// Sink that drives a [`BlockingDestination`], one batch at a time: outputs that are written
/// meanwhile are the next batch.
pub struct BlockingSink<D: BlockingDestination> {
    pending: Vec<(Slot, D::Item)>,
    /// Slots that the thread works on.
    under_way: Option<RangeInclusive<Slot>>,
    batches: mpsc::Sender<SlotBatch<D>>,
    reports: mpsc::Receiver<BatchReport<D>>,
    /// `None` once the thread has ended.
    thread: Option<JoinHandle<()>>,
    /// Reports that [`Sink::confirm`] has still to return.
    words: VecDeque<Confirmation>,
}

type SlotBatch<D> = Vec<(Slot, <D as BlockingDestination>::Item)>;

struct BatchReport<D: BlockingDestination> {
    batch: SlotBatch<D>,
    result: Result<(), StoppedBatch>,
}

impl<D: BlockingDestination> BlockingSink<D> {
    /// # Errors
    /// Returns an error if the thread can't be started.
    pub fn new(mut destination: D) -> io::Result<Self> {
        let (batches, mut waiting) = mpsc::channel::<SlotBatch<D>>(1);
        let (done, reports) = mpsc::channel(1);
        let thread = thread::Builder::new().name("sink".into()).spawn(move || {
            while let Some(batch) = waiting.blocking_recv() {
                let result = destination.store(&batch);
                if done.blocking_send(BatchReport { batch, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self {
            pending: Vec::new(),
            under_way: None,
            batches,
            reports,
            thread: Some(thread),
            words: VecDeque::new(),
        })
    }

    fn start(&mut self) {
        let (Some((first, _)), Some((last, _))) = (self.pending.first(), self.pending.last()) else { return };
        self.under_way = Some(*first..=*last);
        // There is room, as nothing is under way. If the thread is gone, `confirm` finds out.
        let _ = self.batches.try_send(std::mem::take(&mut self.pending));
    }

    fn hear(&mut self, report: BatchReport<D>) {
        let stored = report.result.as_ref().map_or_else(|stopped| stopped.at, |()| report.batch.len());
        if let Some((last, _)) = report.batch[..stored].last() {
            self.words.push_back(Confirmation::Through(*last));
        }
        if let Err(StoppedBatch { at, why, stored_behind }) = report.result {
            let behind = report.batch.iter().enumerate().skip(at);
            let (kept, refused): (Vec<_>, Vec<_>) = behind.partition(|(at, _)| stored_behind.binary_search(at).is_ok());
            self.words.extend(kept.iter().map(|(_, (slot, _))| Confirmation::One(*slot)));
            let mut refused = refused.iter().map(|(_, (slot, _))| *slot);
            if let Some(slot) = refused.next() {
                self.words.push_back(Confirmation::Refused(slot, why));
            }
            self.give_back(refused, "an output before it was refused");
        }
    }

    /// Gives back these slots and all that came after them, so that none overtakes another.
    fn give_back(&mut self, slots: impl Iterator<Item = Slot>, why: &'static str) {
        let pending = self.pending.drain(..).map(|(slot, _)| slot);
        let refused = slots.chain(pending);
        self.words.extend(refused.map(|slot| Confirmation::Refused(slot, SinkRefusal::Later(anyhow!(why)))));
    }
}

impl<D: BlockingDestination> Sink for BlockingSink<D> {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        self.pending.push((slot, D::item(output)));
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        loop {
            if let Some(word) = self.words.pop_front() {
                return word;
            }
            if self.under_way.is_none() {
                self.start();
            }
            let report = self.reports.recv().await;
            let lost = self.under_way.take();
            match (report, lost) {
                (Some(report), _) => self.hear(report),
                (None, Some(lost)) => {
                    // It ends before us only by a panic, which is passed on: otherwise every output
                    // would be refused for ever.
                    if let Some(Err(panicked)) = self.thread.take().map(JoinHandle::join) {
                        panic::resume_unwind(panicked);
                    }
                    self.give_back(lost, "the thread that writes has ended");
                }
                // Only if nothing was written, and then the outlet does not call this.
                (None, None) => std::future::pending().await,
            }
        }
    }
}

#[cfg(test)]
mod tests;

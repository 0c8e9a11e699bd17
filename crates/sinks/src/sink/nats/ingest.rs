//! Fast ingest into one stream, as a state machine without input and output (ADR-50 of NATS).
//!
//! A batch is a run of messages that the stream stores in order, or ends at the first that it did
//! not get. Its acks cover all messages up to a sequence, so that most messages have none of their
//! own. The tail of a batch is acked only when the batch ends: the last message is held back until
//! there are more, and else sent as the one that commits. No batch begins before the last one has
//! ended, so that nothing overtakes what has to be repeated.

use std::collections::VecDeque;

use crate::sink::Slot;

/// Fewest outputs for which a batch begins: it costs two acks.
const SMALLEST: usize = 8;
/// Flow acks that may be due at once; the server is to work on one part while the next arrives.
const DUE: u64 = 2;

/// Operation of a message in a batch; the numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOperation {
    Start = 0,
    Append = 1,
    /// Stores the message and ends the batch.
    Commit = 2,
    /// Ends the batch without a message.
    End = 3,
}

/// Place of a message in the batches of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) batch: u64,
    /// From 1.
    pub(super) sequence: u64,
    pub(super) operation: BatchOperation,
}

/// The next message to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PublishStep {
    /// The first output that waits, acked on its own.
    Alone,
    /// The first output that waits or, with [`BatchOperation::End`], no output.
    InBatch(BatchPlace),
}

/// What has become of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IngestReport {
    Stored(Slot),
    /// To be published again: not stored, or nothing will tell.
    Returned(Slot),
}

/// Outputs for one stream, waiting and in a batch.
pub(super) struct FastIngest<M> {
    waiting: VecDeque<(Slot, M)>,
    batch: Option<OpenBatch>,
    /// Batches begun so far.
    begun: u64,
}

struct OpenBatch {
    number: u64,
    /// Messages up to this sequence are acked.
    acked: u64,
    /// Messages behind those. `None` for one that was refused.
    sent: VecDeque<Option<Slot>>,
    /// Messages for each flow ack; `None` before the server has answered the first message.
    every: Option<u64>,
    ending: BatchEnding,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BatchEnding {
    Open,
    /// To be ended with a message of this sequence, which the server has refused.
    Due(u64),
    /// The message that ends it is sent.
    Sent(u64),
}

impl<M> Default for FastIngest<M> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), batch: None, begun: 0 }
    }
}

impl<M> FastIngest<M> {
    pub(super) fn push(&mut self, slot: Slot, message: M) {
        self.waiting.push_back((slot, message));
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.batch.is_none()
    }

    /// Returns what is to be published next, if anything. Without `fast`, no batch begins, and one
    /// that is open ends.
    pub(super) fn next(&self, fast: bool) -> Option<PublishStep> {
        let Some(batch) = &self.batch else {
            return match self.waiting.len() {
                0 => None,
                SMALLEST.. if fast => Some(PublishStep::InBatch(BatchPlace {
                    batch: self.begun + 1,
                    sequence: 1,
                    operation: BatchOperation::Start,
                })),
                _ => Some(PublishStep::Alone),
            };
        };
        let place = |sequence, operation| PublishStep::InBatch(BatchPlace { batch: batch.number, sequence, operation });
        match batch.ending {
            BatchEnding::Open => {}
            BatchEnding::Due(sequence) => return Some(place(sequence, BatchOperation::End)),
            BatchEnding::Sent(_) => return None,
        }
        let (every, unacked) = (batch.every?, batch.sent.len() as u64);
        let sequence = batch.acked + unacked + 1;
        match self.waiting.len() {
            2.. if fast && unacked < DUE * every => Some(place(sequence, BatchOperation::Append)),
            // A flow ack is on its way, and more outputs may come before it.
            _ if unacked >= every => None,
            0 => Some(place(sequence, BatchOperation::End)),
            _ => Some(place(sequence, BatchOperation::Commit)),
        }
    }

    /// Takes the first output that waits.
    pub(super) fn take(&mut self) -> Option<(Slot, M)> {
        self.waiting.pop_front()
    }

    /// Notes that a message was published in a batch; `slot` is its output.
    pub(super) fn sent(&mut self, place: BatchPlace, slot: Option<Slot>) {
        let BatchPlace { batch: number, sequence, operation } = place;
        if operation == BatchOperation::Start {
            self.begun = number;
            let (sent, every, ending) = (VecDeque::new(), None, BatchEnding::Open);
            self.batch = Some(OpenBatch { number, acked: 0, sent, every, ending });
        }
        let Some(batch) = &mut self.batch else { return };
        if let BatchOperation::Commit | BatchOperation::End = operation {
            batch.ending = BatchEnding::Sent(sequence);
        }
        batch.sent.extend(slot.map(Some));
    }

    /// Takes a flow ack.
    pub(super) fn flow(&mut self, number: u64, through: u64, every: u64, reports: &mut Vec<IngestReport>) {
        if let Some(batch) = self.batch(number) {
            batch.every = Some(every.max(1));
            batch.acked_through(through, reports);
        }
    }

    /// Takes the ack at the end of a batch, which has stored `count` messages. Returns false if
    /// those are not all.
    pub(super) fn ended(&mut self, number: u64, count: u64, reports: &mut Vec<IngestReport>) -> bool {
        let Some(batch) = self.batch(number) else { return true };
        batch.acked_through(count, reports);
        if !batch.sent.iter().any(Option::is_some) {
            let whole = batch.ending != BatchEnding::Open;
            self.batch = None;
            return whole;
        }
        reports.extend(self.drain().into_iter().map(IngestReport::Returned));
        false
    }

    /// Takes the refusal of one message. Returns its output, if that is unsettled.
    pub(super) fn refused(&mut self, number: u64, sequence: u64) -> Option<Slot> {
        let batch = self.batch(number)?;
        let index = usize::try_from(sequence.checked_sub(batch.acked + 1)?).ok()?;
        let slot = batch.sent.get_mut(index)?.take();
        // The server ends a batch at the message behind the one that it refused.
        if batch.ending == BatchEnding::Open || batch.ending == BatchEnding::Sent(sequence) {
            batch.ending = BatchEnding::Due(sequence);
        }
        slot
    }

    /// Takes the word that the server does not know the batch any more. Returns false if that is
    /// not the one under way.
    pub(super) fn gone(&mut self, number: u64, reports: &mut Vec<IngestReport>) -> bool {
        let is_open = self.batch(number).is_some();
        if is_open {
            reports.extend(self.drain().into_iter().map(IngestReport::Returned));
        }
        is_open
    }

    /// Returns whether an output is here.
    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.waiting.iter().any(|(waiting, _)| *waiting == slot) || self.sequence(slot).is_some()
    }

    /// Takes an output out whose destination was denied.
    pub(super) fn forget(&mut self, slot: Slot) {
        self.waiting.retain(|(waiting, _)| *waiting != slot);
        if let Some(sequence) = self.sequence(slot) {
            self.refused(self.begun, sequence);
        }
    }

    /// Takes out everything, in order.
    pub(super) fn drain(&mut self) -> Vec<Slot> {
        let sent = self.batch.take().into_iter().flat_map(|batch| batch.sent).flatten();
        sent.chain(self.waiting.drain(..).map(|(slot, _)| slot)).collect()
    }

    fn sequence(&self, slot: Slot) -> Option<u64> {
        let batch = self.batch.as_ref()?;
        let index = batch.sent.iter().position(|sent| *sent == Some(slot))?;
        Some(batch.acked + index as u64 + 1)
    }

    fn batch(&mut self, number: u64) -> Option<&mut OpenBatch> {
        self.batch.as_mut().filter(|batch| batch.number == number)
    }
}

impl OpenBatch {
    fn acked_through(&mut self, sequence: u64, reports: &mut Vec<IngestReport>) {
        let count = sequence.saturating_sub(self.acked).min(self.sent.len() as u64);
        self.acked += count;
        // No more than there are, so it fits.
        let acked = self.sent.drain(..usize::try_from(count).unwrap_or(usize::MAX));
        reports.extend(acked.flatten().map(IngestReport::Stored));
    }
}

#[cfg(test)]
mod tests;

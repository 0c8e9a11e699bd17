//! Input without redelivery: events that come back unfinished are pushed again from here, and
//! everything before the watermark is done.

use std::{collections::VecDeque, sync::Arc};

use futures_util::FutureExt;
use tokio::{sync::mpsc, task::unconstrained};

use super::{again::RetryQueue, envelope::MalformedMessage};
use crate::{ack::Outcome, event::Event, pause::PauseSwitch, pipeline::Intake, stop::Stop, timer::sleep_until_due};

mod progress;
mod watermark;

pub use progress::InputProgress;
pub(super) use watermark::SettledPosition;
use watermark::{ItemIndex, Watermark};

/// Most items taken beyond one that is not settled.
const MAX_AHEAD: usize = 100_000;

/// Input of a finite source: opens its items and tracks how far they are done.
pub(super) trait FiniteInput {
    type Item: Send + 'static;

    /// True if a drain leaves items that were not pushed yet: they can be read again another time.
    /// Otherwise the input ends by itself on a drain, and all of it is pushed.
    const LEAVES_REST: bool;

    /// Opens an item. An error has the event as far as it is known, and the reason.
    fn open(&self, item: &Self::Item, attempt: u32) -> Result<Event, Box<(Event, MalformedMessage)>>;

    /// Position at which an item ends.
    fn position(item: &Self::Item) -> SettledPosition;

    /// Notes that this much more is done.
    fn advance(&self, amount: u64);
}

/// Items that are read together, or the error that ends the input.
pub(super) type InputBatch<T> = anyhow::Result<Vec<T>>;

/// Data that it takes to push an item again.
#[derive(Debug)]
pub struct ItemReceipt<T> {
    index: ItemIndex,
    item: T,
    attempt: u32,
}

/// Reads an input to its end and settles its events.
///
/// # Errors
/// Returns the error that ended the input early. Items read before it are settled all the same.
pub(super) async fn run<I: FiniteInput>(
    source: &str,
    input: I,
    items: mpsc::Receiver<InputBatch<I::Item>>,
    intake: Intake<ItemReceipt<I::Item>>,
    mut stop: Stop,
) -> anyhow::Result<()> {
    let mut run = FiniteRun {
        input,
        switch: Arc::clone(&intake.metrics().switch),
        intake,
        items: Some(items),
        read: VecDeque::new(),
        again: RetryQueue::default(),
        watermark: Watermark::default(),
        failure: None,
    };
    let mut ended = stop.clone();
    tokio::select! {
        biased;
        () = ended.ended() => {
            let number = run.watermark.reached().number;
            tracing::warn!(source, number, "given up: not everything after this one is done");
        }
        () = run.complete(&mut stop) => {}
    }
    run.failure.map_or(Ok(()), Err)
}

struct FiniteRun<I: FiniteInput> {
    input: I,
    /// While an operator has paused the source, only retries go on.
    switch: Arc<PauseSwitch>,
    intake: Intake<ItemReceipt<I::Item>>,
    /// `None` once nothing more is taken: the input has ended or the router drains.
    items: Option<mpsc::Receiver<InputBatch<I::Item>>>,
    /// Items read and not pushed yet.
    read: VecDeque<I::Item>,
    /// Items to be pushed again.
    again: RetryQueue<ItemReceipt<I::Item>>,
    watermark: Watermark,
    /// Error that ended the input early.
    failure: Option<anyhow::Error>,
}

impl<I: FiniteInput> FiniteRun<I> {
    /// Pushes and settles until nothing is left to do. Cancel safe.
    async fn complete(&mut self, stop: &mut Stop) {
        loop {
            // All settled events in one go: the pushes that follow then reach the lanes in one go,
            // too.
            while self.intake.open() > 0
                && let Some((receipt, outcome)) = unconstrained(self.intake.settled()).now_or_never()
            {
                self.settle(receipt, outcome);
            }
            self.push_all();
            if self.is_done() {
                return;
            }
            let (is_open, is_paused) = (self.intake.is_open(), self.switch.is_on());
            let wants_more = self.items.is_some() && self.read.is_empty() && self.has_room() && !is_paused;
            let due = self.again.due().filter(|_| is_open);
            tokio::select! {
                biased;
                // First: an input that always has more would keep the drain from being seen.
                () = stop.draining(), if I::LEAVES_REST && self.items.is_some() => {
                    self.items = None;
                    self.read.clear();
                }
                (receipt, outcome) = self.intake.settled(), if self.intake.open() > 0 => self.settle(receipt, outcome),
                batch = next_batch(&mut self.items), if wants_more => self.take(batch),
                () = self.switch.resumed(), if is_paused => {}
                () = sleep_until_due(due) => {}
            }
        }
    }

    /// Pushes as much as the intake takes now. Retries go before new items.
    fn push_all(&mut self) {
        while self.intake.is_open() {
            if let Some(receipt) = self.again.pop_due() {
                self.push(receipt);
                continue;
            }
            if self.switch.is_on() {
                return;
            }
            if self.read.is_empty()
                && self.has_room()
                && let Some(Ok(batch)) = self.items.as_mut().map(mpsc::Receiver::try_recv)
            {
                self.take(Some(batch));
            }
            let Some(item) = self.read.pop_front() else { return };
            let index = self.watermark.take(I::position(&item));
            self.push(ItemReceipt { index, item, attempt: 1 });
        }
    }

    fn push(&mut self, receipt: ItemReceipt<I::Item>) {
        match self.input.open(&receipt.item, receipt.attempt) {
            Ok(event) => self.intake.push(event, receipt),
            Err(refused) => {
                let (event, MalformedMessage { reason, detail }) = *refused;
                self.intake.refuse(event, receipt, reason, &detail);
            }
        }
    }

    fn take(&mut self, batch: Option<InputBatch<I::Item>>) {
        match batch {
            Some(Ok(items)) => self.read.extend(items),
            Some(Err(error)) => {
                self.failure = Some(error);
                self.items = None;
            }
            None => self.items = None,
        }
    }

    fn settle(&mut self, receipt: ItemReceipt<I::Item>, outcome: Outcome) {
        match outcome {
            Outcome::Done | Outcome::Dead(_) => {
                let before = self.watermark.reached();
                self.watermark.settle(receipt.index);
                self.input.advance(self.watermark.reached().amount - before.amount);
            }
            Outcome::Retry(wait) => {
                let again = ItemReceipt { attempt: receipt.attempt + 1, ..receipt };
                self.again.insert(again.index, receipt.attempt, wait, again);
            }
        }
    }

    /// Returns whether more may be taken: one item that never ends must not let the rest grow
    /// without bound.
    fn has_room(&self) -> bool {
        self.watermark.ahead() < MAX_AHEAD
    }

    fn is_done(&self) -> bool {
        self.items.is_none() && self.read.is_empty() && self.again.is_empty() && self.intake.open() == 0
    }
}

/// Receives the next batch; waits for ever without an input. Cancel safe.
async fn next_batch<T>(items: &mut Option<mpsc::Receiver<InputBatch<T>>>) -> Option<InputBatch<T>> {
    match items {
        Some(items) => items.recv().await,
        None => std::future::pending().await,
    }
}

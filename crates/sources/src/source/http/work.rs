//! Worker of the source: pushes events that were taken, settles them, and pushes again those that
//! came back.

use std::collections::VecDeque;

use futures_util::FutureExt;
use tokio::{
    sync::{mpsc, oneshot},
    task::unconstrained,
};

use super::door::EventPlace;
use crate::{
    ack::Outcome, event::Event, pipeline::Intake, source::again::RetryQueue, stop::Stop, timer::sleep_until_due,
};

/// Event that the source is responsible for. Dropping it gives it up.
pub struct TakenEvent {
    pub(super) event: Event,
    /// Channel to the request that waits for it to be settled: gets the reason code if it became a
    /// dead letter, and is just dropped if it was given up.
    pub(super) waits: Option<oneshot::Sender<Result<(), &'static str>>>,
    /// Its place at the door, given back once it is settled.
    pub(super) place: EventPlace,
}

/// Works until the drain has begun and nothing is left. Nothing arrives once `keeper` is dropped,
/// which happens when the drain begins. Cancel safe, though open events are given up.
pub(super) async fn work(
    intake: Intake<TakenEvent>,
    arriving: mpsc::Receiver<Vec<TakenEvent>>,
    keeper: mpsc::Sender<Vec<TakenEvent>>,
    stop: &mut Stop,
) {
    let keeper = Some(keeper);
    let mut work =
        HttpWorker { intake, arriving, keeper, is_over: false, arrived: VecDeque::new(), again: RetryQueue::default() };
    work.complete(stop).await;
}

struct HttpWorker {
    intake: Intake<TakenEvent>,
    arriving: mpsc::Receiver<Vec<TakenEvent>>,
    /// Strong sender of `arriving`. The drain drops it, and so closes the door.
    keeper: Option<mpsc::Sender<Vec<TakenEvent>>>,
    /// True once nothing more arrives.
    is_over: bool,
    /// Events not pushed yet.
    arrived: VecDeque<TakenEvent>,
    /// Events to be pushed again.
    again: RetryQueue<TakenEvent>,
}

impl HttpWorker {
    async fn complete(&mut self, stop: &mut Stop) {
        loop {
            // All settled events in one go: the pushes that follow then reach the lanes in one go,
            // too.
            while self.intake.open() > 0
                && let Some((taken, outcome)) = unconstrained(self.intake.settled()).now_or_never()
            {
                self.settle(taken, outcome);
            }
            self.push_all();
            if self.is_done() {
                return;
            }
            let is_open = self.intake.is_open();
            let due = self.again.due().filter(|_| is_open);
            tokio::select! {
                biased;
                // First: the door closes before anything else arrives.
                () = stop.draining(), if self.keeper.is_some() => self.keeper = None,
                (taken, outcome) = self.intake.settled(), if self.intake.open() > 0 => self.settle(taken, outcome),
                arrived = self.arriving.recv(), if is_open && !self.is_over => match arrived {
                    Some(arrived) => self.arrived.extend(arrived),
                    None => self.is_over = true,
                },
                () = sleep_until_due(due) => {}
            }
        }
    }

    /// Pushes as much as the intake takes now. Retries go before new events.
    fn push_all(&mut self) {
        while self.intake.is_open() {
            if self.arrived.is_empty()
                && let Ok(arrived) = self.arriving.try_recv()
            {
                self.arrived.extend(arrived);
            }
            let Some(taken) = self.again.pop_due().or_else(|| self.arrived.pop_front()) else { return };
            self.intake.push(taken.event.clone(), taken);
        }
    }

    fn settle(&mut self, mut taken: TakenEvent, outcome: Outcome) {
        let settled = match outcome {
            Outcome::Done => Ok(()),
            Outcome::Dead(reason) => Err(reason),
            Outcome::Retry(wait) => {
                let (number, attempt) = (taken.event.sequence, taken.event.attempt);
                taken.event.attempt = attempt.saturating_add(1);
                self.again.insert(number, attempt, wait, taken);
                return;
            }
        };
        if let Some(waits) = taken.waits {
            // The client may have left.
            let _ = waits.send(settled);
        }
        drop(taken.place);
    }

    fn is_done(&self) -> bool {
        self.is_over && self.arrived.is_empty() && self.again.is_empty() && self.intake.open() == 0
    }
}

//! Telling the server how its messages ended, and that work goes on with those that have not.

use std::{
    collections::{HashSet, VecDeque},
    time::Duration,
};

use async_nats::{Client, Subject, client::traits::Publisher, message::OutboundMessage};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    ack::Outcome,
    pipeline::Intake,
    source::jetstream::{
        Receipt,
        consumer::Pair,
        prefix::Prefix,
        pull::Pull,
        reading::{Purpose, Reading},
    },
};

/// One ack for the settled prefix is sent at the latest after this many messages or this time: later does not make it
/// cheaper, and a crash repeats what was not acknowledged.
const PREFIX_COUNT: usize = 256;
const PREFIX_DELAY: Duration = Duration::from_millis(20);
/// Waits before a redelivery: a quick one for what was a passing fault, longer ones for what keeps failing.
const MIN_RETRY: Duration = Duration::from_millis(100);
const MAX_RETRY: Duration = Duration::from_secs(30);
/// How long the server holds what was given back at the end, so that it does not come straight back to us.
const GIVE_BACK: Duration = Duration::from_millis(100);

/// How the consumer wants its messages acknowledged.
pub(super) enum Acks {
    Each,
    Prefix(Prefix<Receipt>),
}

pub(super) struct Settler {
    client: Client,
    pub(super) acks: Acks,
    /// Receipts of an earlier one are void.
    pub(super) incarnation: u32,
    /// Ticks after which the server wants to hear of an open message again.
    patience: u32,
    ack_due: Option<Instant>,
    /// With one ack for a prefix: events to be tried again, by the time at which they are.
    retries: VecDeque<(Instant, u64, u32)>,
    /// Unreadable messages that were taken already and lie above the ack floor.
    refused: HashSet<u64>,
}

impl Settler {
    pub(super) fn new(client: Client, acks: Acks, ack_wait: Duration, tick: Duration) -> Self {
        // A quarter of `ack_wait`: what arrived right after a tick waits one tick longer, still less than half.
        let patience = (ack_wait / 4).as_millis().checked_div(tick.as_millis()).unwrap_or(1);
        Self {
            client,
            acks,
            incarnation: 0,
            patience: u32::try_from(patience).unwrap_or(u32::MAX).max(1),
            ack_due: None,
            retries: VecDeque::new(),
            refused: HashSet::new(),
        }
    }

    /// A new consumer under the old name, acknowledged up to `floor`.
    pub(super) fn start_over(&mut self, floor: Pair) {
        self.incarnation += 1;
        self.ack_due = None;
        self.retries.clear();
        self.refused.clear();
        if let Acks::Prefix(prefix) = &mut self.acks {
            *prefix = Prefix::new(floor.sequence, floor.delivery);
        }
    }

    /// Up to where everything is settled, if that is known here.
    pub(super) fn floor(&self) -> Option<u64> {
        match &self.acks {
            Acks::Each => None,
            Acks::Prefix(prefix) => Some(prefix.floor()),
        }
    }

    pub(super) async fn settle(&mut self, receipt: Receipt, outcome: Outcome) -> anyhow::Result<()> {
        if receipt.incarnation != self.incarnation {
            return Ok(());
        }
        match (&mut self.acks, outcome) {
            (Acks::Each, Outcome::Done) => self.acknowledge(receipt.reply).await,
            (Acks::Each, Outcome::Dead(reason)) => self.publish(receipt.reply, format!("+TERM {reason}")).await,
            (Acks::Each, Outcome::Retry(wait)) => {
                self.publish(receipt.reply, nak(wait.max(retry_wait(receipt.attempt)))).await
            }
            // An ack of what follows would settle this one too, so it stays open here.
            (Acks::Prefix(_), Outcome::Retry(wait)) => {
                let due = Instant::now() + wait.max(retry_wait(receipt.attempt));
                self.retries.push_back((due, receipt.sequence, receipt.attempt + 1));
                Ok(())
            }
            (Acks::Prefix(prefix), Outcome::Done | Outcome::Dead(_)) => {
                prefix.settle(receipt.sequence, receipt);
                match prefix.settled() {
                    0 => Ok(()),
                    PREFIX_COUNT.. => self.ack_prefix().await,
                    _ => {
                        self.ack_due.get_or_insert_with(|| Instant::now() + PREFIX_DELAY);
                        Ok(())
                    }
                }
            }
        }
    }

    /// When [`Self::ack_prefix`] is due.
    pub(super) fn ack_due(&self) -> Option<Instant> {
        self.ack_due
    }

    pub(super) async fn ack_prefix(&mut self) -> anyhow::Result<()> {
        self.ack_due = None;
        match &mut self.acks {
            Acks::Prefix(prefix) => match prefix.take_settled() {
                Some(last) => self.acknowledge(last.reply).await,
                None => Ok(()),
            },
            Acks::Each => Ok(()),
        }
    }

    pub(super) async fn acknowledge(&self, reply: Subject) -> anyhow::Result<()> {
        self.publish(reply, Bytes::from_static(b"+ACK")).await
    }

    /// A message that was delivered to us and will not be taken.
    pub(super) async fn give_back(&self, reply: Option<Subject>) -> anyhow::Result<()> {
        match reply {
            Some(reply) => self.publish(reply, nak(GIVE_BACK)).await,
            None => Ok(()),
        }
    }

    /// Says it for all of which the server has not heard for a while.
    pub(super) async fn say_in_progress(
        &self,
        intake: &mut Intake<Receipt>,
        pull: &mut Pull,
        tick: u32,
    ) -> anyhow::Result<()> {
        let is_due = |told: &mut u32| {
            let is_due = tick.wrapping_sub(*told) >= self.patience;
            if is_due {
                *told = tick;
            }
            is_due
        };
        for receipt in intake.receipts() {
            if receipt.incarnation == self.incarnation && is_due(&mut receipt.told) {
                self.publish(receipt.reply.clone(), Bytes::from_static(b"+WPI")).await?;
            }
        }
        for (message, told) in pull.waiting() {
            if let Some(reply) = &message.reply
                && is_due(told)
            {
                self.publish(reply.clone(), Bytes::from_static(b"+WPI")).await?;
            }
        }
        Ok(())
    }

    /// The events that are to be tried again now.
    pub(super) fn due_retries(&mut self) -> Vec<Reading> {
        let now = Instant::now();
        let (due, later) = self.retries.drain(..).partition::<Vec<_>, _>(|(due, ..)| *due <= now);
        self.retries = later.into();
        due.into_iter()
            .map(|(_, sequence, attempt)| Reading {
                next: sequence,
                end: sequence + 1,
                purpose: Purpose::Retry { attempt },
            })
            .collect()
    }

    /// Notes a message as open whose delivery was lost. Says whether it is new.
    pub(super) fn enter_lost(&mut self, sequence: u64) -> bool {
        match &mut self.acks {
            Acks::Prefix(prefix) if sequence > prefix.seen() => {
                prefix.enter_lost(sequence);
                true
            }
            Acks::Prefix(_) | Acks::Each => false,
        }
    }

    /// The number of the delivery that brought an open message; 0 where the server does not go by it.
    pub(super) fn delivery_of(&self, sequence: u64) -> u64 {
        match &self.acks {
            Acks::Prefix(prefix) => prefix.delivery_of(sequence).unwrap_or_default(),
            Acks::Each => 0,
        }
    }

    /// Whether this unreadable message is met for the first time.
    pub(super) fn refuse_once(&mut self, sequence: u64) -> bool {
        self.refused.insert(sequence)
    }

    pub(super) fn forget_refused(&mut self, floor: u64) {
        self.refused.retain(|sequence| *sequence > floor);
    }

    async fn publish(&self, reply: Subject, what: impl Into<Bytes>) -> anyhow::Result<()> {
        let message = OutboundMessage { subject: reply, payload: what.into(), reply: None, headers: None };
        Ok(self.client.publish_message(message).await?)
    }
}

fn nak(wait: Duration) -> String {
    format!(r#"-NAK {{"delay": {}}}"#, wait.as_nanos())
}

fn retry_wait(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    (MIN_RETRY * 2_u32.pow(doublings)).min(MAX_RETRY)
}

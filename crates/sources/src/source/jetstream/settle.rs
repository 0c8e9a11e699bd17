//! Acks: tell the server how its messages ended, and that work goes on with the others.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_nats::{Client, Subject, client::traits::Publisher, message::OutboundMessage};
use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    ack::Outcome,
    backoff::Backoff,
    config,
    fence::Fence,
    nats::DeliveryPosition,
    pipeline::Intake,
    source::jetstream::{
        MessageReceipt,
        consumer::{ConsumerInfo, SequencePair},
        ledger::MessageLedger,
        prefix::{AckPrefix, PrefixFit},
        pull::MessagePull,
        reading::{Purpose, Reading},
    },
};

/// Limits after which one ack for the settled prefix is sent, by messages and by time: later does
/// not make it cheaper, and a crash repeats what was not acknowledged.
const PREFIX_COUNT: usize = 256;
const PREFIX_DELAY: Duration = Duration::from_millis(20);
/// Most sequences that are searched for lost acks after a cut. Beyond that, redeliveries show them.
const MOST_AGAIN: u64 = 1 << 16;
/// Waits before a redelivery: a short one for a passing fault, longer ones for what keeps failing.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// Time for which the server holds what was given back at the end, so that it does not come
/// straight back to us.
const GIVE_BACK: Duration = Duration::from_millis(100);

/// Ack mode of the consumer, with the messages that it tracks.
pub(super) enum AckState {
    Each(MessageLedger),
    Prefix(AckPrefix<MessageReceipt>),
}

pub(super) struct Settler {
    client: Client,
    /// Set if the stream has partitions. Once it has lapsed, the messages are another router's.
    pub(super) fence: Option<Arc<Fence>>,
    pub(super) acks: AckState,
    /// Number of the consumer. Receipts of an earlier one are void.
    pub(super) incarnation: u32,
    /// Ticks after which the server has to be told of an open message again.
    patience: u32,
    /// Time at which the ack of a settled prefix is due; `None` if none waits.
    ack_due: Option<Instant>,
    /// Events that only the stream can bring again, with the times at which they are retried.
    retries: VecDeque<(Instant, MessageReceipt)>,
    /// Messages that were read from the stream in place of their delivery and lie above the ack
    /// floor.
    read: HashSet<u64>,
}

impl Settler {
    pub(super) fn new(
        client: Client,
        fence: Option<Arc<Fence>>,
        acks: AckState,
        (ack_wait, tick): (Duration, Duration),
    ) -> Self {
        // A quarter of `ack_wait`: what arrived right after a tick waits one tick longer, still
        // less than half.
        let patience = (ack_wait / 4).as_millis().checked_div(tick.as_millis()).unwrap_or(1);
        Self {
            client,
            fence,
            acks,
            incarnation: 0,
            patience: u32::try_from(patience).unwrap_or(u32::MAX).max(1),
            ack_due: None,
            retries: VecDeque::new(),
            read: HashSet::new(),
        }
    }

    /// Returns false once another router may have the partition: then nothing is pulled any more, and
    /// the server is told nothing.
    pub(super) fn may_act(&self) -> bool {
        self.fence.as_ref().is_none_or(|fence| fence.holds())
    }

    /// Switches to another connection.
    pub(super) fn speak_through(&mut self, client: Client) {
        self.client = client;
    }

    /// Starts over with a new consumer of the old name, which has so much acknowledged and
    /// delivered.
    pub(super) fn start_over(&mut self, floor: SequencePair, delivered: SequencePair) {
        self.incarnation += 1;
        self.ack_due = None;
        self.retries.clear();
        self.read.clear();
        match &mut self.acks {
            AckState::Each(ledger) => *ledger = MessageLedger::new(floor, delivered),
            AckState::Prefix(prefix) => *prefix = AckPrefix::new(floor.sequence, floor.delivery),
        }
    }

    /// Last sequence up to which everything is settled, if that is known here.
    pub(super) fn floor(&self) -> Option<u64> {
        match &self.acks {
            AckState::Each(ledger) => ledger.floor(),
            AckState::Prefix(prefix) => Some(prefix.floor()),
        }
    }

    pub(super) async fn settle(&mut self, receipt: MessageReceipt, outcome: Outcome) {
        if receipt.incarnation != self.incarnation {
            return;
        }
        match (&mut self.acks, outcome) {
            (AckState::Each(ledger), Outcome::Done) => {
                ledger.settle(receipt.sequence);
                // Sent at once: what is settled together leaves in one write anyway, and a timer to
                // gather more takes more calls of the system than it saves.
                self.acknowledge(receipt.reply).await;
            }
            (AckState::Each(ledger), Outcome::Dead(reason)) => {
                ledger.settle(receipt.sequence);
                self.publish(receipt.reply, format!("+TERM {reason}")).await;
            }
            (AckState::Each(ledger), Outcome::Retry(wait)) if receipt.is_delivered => {
                ledger.give_back(receipt.sequence);
                self.publish(receipt.reply, nak(wait.max(RETRY.nth(receipt.attempt)))).await;
            }
            // With one ack for a prefix, that of later messages would settle this one too, so it
            // stays open here.
            (_, Outcome::Retry(wait)) => {
                let due = Instant::now() + wait.max(RETRY.nth(receipt.attempt));
                self.retries.push_back((due, receipt));
            }
            (AckState::Prefix(prefix), Outcome::Done | Outcome::Dead(_)) => {
                prefix.settle(receipt.sequence, receipt);
                match prefix.settled() {
                    0 => {}
                    PREFIX_COUNT.. => self.ack_prefix().await,
                    _ => {
                        self.ack_due.get_or_insert_with(|| Instant::now() + PREFIX_DELAY);
                    }
                }
            }
        }
    }

    /// Time at which [`Self::ack_prefix`] is due.
    pub(super) fn ack_due(&self) -> Option<Instant> {
        self.ack_due
    }

    pub(super) async fn ack_prefix(&mut self) {
        self.ack_due = None;
        if let AckState::Prefix(prefix) = &mut self.acks
            && let Some(last) = prefix.take_settled()
        {
            self.acknowledge(last.reply).await;
        }
    }

    /// Repeats acks that may have been lost in a cut. `info` has what the server has acknowledged,
    /// delivered and open.
    pub(super) async fn acknowledge_again(&self, settings: &config::JetStreamSource, info: &ConsumerInfo) {
        let floor = info.floor().sequence;
        match &self.acks {
            // The next ack covers it. Repeated after a restore from a backup, one would cover
            // messages that were never seen.
            AckState::Prefix(_) => {}
            // Given back, what is settled here is redelivered at once and acknowledged then. An ack
            // for a sequence that was perhaps another consumer's could remove its message from a
            // work queue.
            AckState::Each(ledger) if ledger.may_lack_acks(info) && ledger.seen() - floor < MOST_AGAIN => {
                let delivery = info.delivered.delivery;
                for sequence in
                    (floor + 1..=ledger.seen()).filter(|sequence| ledger.fit(*sequence, 0) == PrefixFit::AckLost)
                {
                    let position = DeliveryPosition { attempt: 1, sequence, delivery };
                    self.publish(position.reply(&settings.stream, &settings.durable), "-NAK").await;
                }
            }
            AckState::Each(_) => {}
        }
    }

    pub(super) async fn acknowledge(&self, reply: Subject) {
        self.publish(reply, Bytes::from_static(b"+ACK")).await;
    }

    /// Gives back a message that was delivered to us and will not be taken.
    pub(super) async fn give_back(&self, reply: Option<Subject>) {
        if let Some(reply) = reply {
            self.publish(reply, nak(GIVE_BACK)).await;
        }
    }

    /// Tells the server that work goes on with every message of which it was not told for a while.
    pub(super) async fn say_in_progress(
        &mut self,
        intake: &mut Intake<MessageReceipt>,
        pull: &mut MessagePull,
        tick: u32,
    ) {
        let (patience, incarnation) = (self.patience, self.incarnation);
        let is_due = |told: &mut u32| {
            let is_due = tick.wrapping_sub(*told) >= patience;
            if is_due {
                *told = tick;
            }
            is_due
        };
        let mut due = Vec::new();
        let retried = self.retries.iter_mut().map(|(_, receipt)| receipt);
        for receipt in intake.receipts().chain(retried) {
            if receipt.incarnation == incarnation && is_due(&mut receipt.told) {
                due.push(receipt.reply.clone());
            }
        }
        for (message, told) in pull.waiting() {
            if let Some(reply) = &message.reply
                && is_due(told)
            {
                due.push(reply.clone());
            }
        }
        for reply in due {
            self.publish(reply, Bytes::from_static(b"+WPI")).await;
        }
    }

    /// Events that are to be retried now.
    pub(super) fn due_retries(&mut self) -> Vec<Reading> {
        let now = Instant::now();
        let (due, later) = self.retries.drain(..).partition::<Vec<_>, _>(|(due, ..)| *due <= now);
        self.retries = later.into();
        let reading = |receipt: MessageReceipt| Reading {
            next: receipt.sequence,
            end: receipt.sequence + 1,
            purpose: Purpose::Retry { attempt: receipt.attempt + 1 },
        };
        due.into_iter().map(|(_, receipt)| reading(receipt)).collect()
    }

    /// Notes a message as open whose delivery was lost. Returns whether it is new.
    pub(super) fn enter_lost(&mut self, sequence: u64) -> bool {
        match &mut self.acks {
            AckState::Prefix(prefix) if sequence > prefix.seen() => prefix.enter_lost(sequence),
            AckState::Each(ledger) if sequence > ledger.seen() => ledger.enter_lost(sequence),
            AckState::Prefix(_) | AckState::Each(_) => return false,
        }
        true
    }

    /// Notes a message as open that was read from the stream because its delivery may never arrive.
    /// Returns whether it is to be taken: once, and not while it is worked on.
    pub(super) fn enter_read(&mut self, sequence: u64) -> bool {
        match &mut self.acks {
            AckState::Each(ledger) if !ledger.is_open(sequence) && self.read.insert(sequence) => {
                ledger.enter_lost(sequence)
            }
            AckState::Prefix(_) | AckState::Each(_) => return false,
        }
        true
    }

    /// Returns whether a message was settled here, as far as known.
    pub(super) fn has_settled(&self, sequence: u64) -> bool {
        match &self.acks {
            AckState::Prefix(prefix) => sequence <= prefix.floor(),
            AckState::Each(ledger) if ledger.is_alone() => ledger.fit(sequence, 0) == PrefixFit::AckLost,
            AckState::Each(ledger) => {
                self.read.contains(&sequence) && !ledger.is_open(sequence) && !ledger.is_given_back(sequence)
            }
        }
    }

    /// Notes that nothing is missing up to this sequence, and the delivery that brought it.
    pub(super) fn passed(&mut self, sequence: u64, delivery: u64) {
        match &mut self.acks {
            AckState::Prefix(prefix) => prefix.passed(sequence, delivery),
            AckState::Each(ledger) => ledger.passed(sequence, delivery),
        }
    }

    /// Number of the delivery that brought an open message; 0 where the server does not use it.
    pub(super) fn delivery_of(&self, sequence: u64) -> u64 {
        match &self.acks {
            AckState::Prefix(prefix) => prefix.delivery_of(sequence).unwrap_or_default(),
            AckState::Each(_) => 0,
        }
    }

    /// Notes that the server has everything up to `floor` settled.
    pub(super) fn know(&mut self, floor: SequencePair) {
        match &mut self.acks {
            AckState::Each(ledger) => {
                self.read.retain(|sequence| *sequence > floor.sequence);
                ledger.know(floor.sequence);
            }
            AckState::Prefix(prefix) => {
                // Another client may have settled what is tried again here.
                self.retries.retain(|(_, receipt)| receipt.sequence > floor.sequence);
                prefix.know(floor.sequence, floor.delivery);
            }
        }
    }

    /// Sends an ack. It fails only if the client has ended, which is noticed where messages come
    /// from, and the message is redelivered.
    async fn publish(&self, reply: Subject, what: impl Into<Bytes>) {
        if !self.may_act() {
            return;
        }
        let message = OutboundMessage { subject: reply, payload: what.into(), reply: None, headers: None };
        if let Err(error) = self.client.publish_message(message).await {
            tracing::debug!(%error, "can't tell the server how a message ended");
        }
    }
}

pub(super) fn nak(wait: Duration) -> String {
    format!(r#"-NAK {{"delay": {}}}"#, wait.as_nanos())
}

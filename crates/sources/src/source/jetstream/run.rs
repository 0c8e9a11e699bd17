//! The loop of a running source: messages in, events to the intake, settlements out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use async_nats::{Message, StatusCode};
use futures_util::{FutureExt, future::OptionFuture};
use tokio::{
    task::unconstrained,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    ack::Outcome,
    backoff::Backoff,
    config::{self, EnvelopeFormat},
    event::Origin,
    health::HealthLevel,
    nats::{Connection, DeliveryPosition, ReplyFields},
    pipeline::Intake,
    source::{
        envelope,
        jetstream::{
            JetStream, MessageReceipt,
            consumer::{AckPolicy, DurableConsumer},
            ledger::MessageLedger,
            messages,
            prefix::{AckPrefix, PrefixFit},
            pull::{MessagePull, PullStatus, is_status},
            reading::{Purpose, Reading},
            settle::{AckState, Settler},
            stream_state::StreamLandmark,
        },
    },
    stop::Stop,
};

mod clock;
mod cuts;
mod phase;
mod pinned;
mod recovery;
mod redeliveries;
mod stored;
mod takeover;

use clock::{CoarseClock, TickFinding};
use phase::AskReason;
use recovery::{ErrandReply, SourceRecovery};
use redeliveries::UnloggedRedeliveries;

/// Longest time that a drain waits for messages on their way. A later one is redelivered after
/// `ack_wait`.
const LAST_MESSAGES: Duration = Duration::from_secs(2);
/// Number of pulls refused in a row for the same reason that is an error of the run: log lines
/// alone would go unnoticed.
const REFUSALS: u32 = 10;
/// Waits between attempts to connect anew.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(2));

pub(super) struct JetStreamRun {
    consumer: DurableConsumer,
    connection: Connection,
    intake: Intake<MessageReceipt>,
    envelope: EnvelopeFormat,
    origin: Arc<Origin>,
    pull: MessagePull,
    settler: Settler,
    recovery: SourceRecovery,
    clock: CoarseClock,
    redeliveries: UnloggedRedeliveries,
    /// Messages that the server has still to deliver.
    lag: u64,
    /// Youngest message seen. A younger one at a seen sequence means that the stream was restored
    /// from a backup.
    landmark: StreamLandmark,
}

enum WakeReason {
    Settled(MessageReceipt, Outcome),
    Message(Option<Message>),
    Found(ErrandReply),
    Tick,
    AckDue,
    Noticed,
    Drain,
}

impl JetStreamRun {
    pub(super) async fn new(source: JetStream, intake: Intake<MessageReceipt>) -> anyhow::Result<Self> {
        let JetStream { consumer, envelope, origin, info, stream, fence } = source;
        let period = (consumer.settings.ack_wait / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
        let connection = consumer.connection.clone();
        let acks = match consumer.acks {
            AckPolicy::Each => AckState::Each(MessageLedger::new(info.floor(), info.delivered)),
            AckPolicy::Prefix | AckPolicy::PinnedPrefix => {
                AckState::Prefix(AckPrefix::new(info.floor().sequence, info.floor().delivery))
            }
        };
        let mut run = Self {
            pull: MessagePull::new(&consumer, info.limits()).await?,
            settler: Settler::new(
                connection.client().clone(),
                fence.clone(),
                acks,
                (consumer.settings.ack_wait, period),
            ),
            landmark: stream.landmark(),
            recovery: SourceRecovery::new(&connection, info.clone(), stream),
            connection,
            consumer,
            intake,
            envelope,
            origin,
            clock: CoarseClock::new(period),
            redeliveries: UnloggedRedeliveries::default(),
            lag: info.num_pending,
        };
        run.enter(info);
        Ok(run)
    }

    /// Takes and settles until the drain is over.
    pub(super) async fn until_drained(&mut self, stop: &mut Stop) -> anyhow::Result<()> {
        while self.settler.may_act() {
            self.settle_ready().await;
            self.take_ready().await?;
            if self.pull.has_ended() {
                tokio::select! {
                    renewed = self.renew() => renewed?,
                    () = stop.draining() => return self.drain().await,
                }
            }
            self.start_errand();
            let is_useful = !self.intake.is_paused() && !self.intake.is_catching_up();
            if self.pulls() && is_useful && self.connection.is_connected() {
                // Fails only if the client has ended, which is noticed above.
                let _ = self.pull.ask(self.intake.room(), self.intake.room_bytes()).await;
            }
            match self.wake(Some(stop)).await {
                WakeReason::Drain => return self.drain().await,
                WakeReason::Message(None) => {}
                // Paused while it waited for a message.
                WakeReason::Message(Some(message)) if self.intake.is_switched_off() => {
                    self.pull.put_back(message, self.clock.now);
                }
                WakeReason::Message(Some(message)) => self.take(message, now()).await?,
                WakeReason::Settled(receipt, outcome) => self.settle(receipt, outcome, now()).await,
                WakeReason::Found(found) => self.found(found).await?,
                WakeReason::Tick => self.tick().await,
                WakeReason::AckDue => self.settler.ack_prefix().await,
                WakeReason::Noticed => self.look_at_connection(),
            }
        }
        Ok(())
    }

    /// Goes on with a new client: the old one has ended over a message that it can't read, and
    /// would again. Cancel safe.
    async fn renew(&mut self) -> anyhow::Result<()> {
        tracing::warn!(source = self.origin.source, "the NATS client ended over what it was sent, connecting anew");
        self.intake.connected(false);
        let mut backoff = RECONNECT;
        let connection = loop {
            sleep(backoff.next_wait()).await;
            match self.connection.again().await {
                Ok(connection) => break connection,
                Err(error) => tracing::warn!(source = self.origin.source, %error, "can't connect to NATS yet"),
            }
        };
        let consumer = DurableConsumer { connection: connection.clone(), ..self.consumer.clone() };
        let mut pull = MessagePull::new(&consumer, self.recovery.limits()).await?;
        pull.inherit(&mut self.pull);
        self.settler.speak_through(connection.client().clone());
        (self.pull, self.consumer, self.connection) = (pull, consumer, connection);
        self.is_renewed();
        Ok(())
    }

    async fn wake(&mut self, stop: Option<&mut Stop>) -> WakeReason {
        let takes = self.takes();
        let hears = !self.recovery.has_readings() || self.intake.is_open() || self.intake.is_reading();
        let due = self.settler.ack_due();
        tokio::select! {
            // At any time: it makes the room for which all else may wait.
            (receipt, outcome) = self.intake.settled() => WakeReason::Settled(receipt, outcome),
            // Behind what the phase has to find out, take over or read: it must not overtake that.
            message = self.pull.next(), if takes => WakeReason::Message(message),
            // Not before the intake has room for what is to be read from the stream. Deferred events
            // have their room there; with nothing to be read at once, since it may stop the taking.
            Some(found) = OptionFuture::from(self.recovery.errand.as_mut()), if hears => WakeReason::Found(found),
            // The rest at any time and in any order: none of it moves a message, and the loop looks
            // at the phase again after it.
            _ = self.clock.interval.tick() => WakeReason::Tick,
            Some(()) = OptionFuture::from(due.map(sleep_until)) => WakeReason::AckDue,
            () = self.connection.noticed() => WakeReason::Noticed,
            Some(()) = OptionFuture::from(stop.map(Stop::draining)) => WakeReason::Drain,
        }
    }

    /// Returns whether a message may be taken now.
    fn takes(&self) -> bool {
        self.recovery.phase.takes_messages() && self.intake.is_open() && !self.intake.is_switched_off()
    }

    /// Returns whether messages may be asked for now.
    fn pulls(&self) -> bool {
        self.recovery.phase.pulls_messages()
            && self.intake.is_open()
            && !self.intake.is_switched_off()
            && self.settler.may_act()
    }

    /// Settles what is ready, without sleeping in between: acks that leave together are cheaper.
    /// There is no more of it than the budget allows, so nothing else starves.
    async fn settle_ready(&mut self) {
        let mut settled_at = None;
        while let Some((receipt, outcome)) = unconstrained(self.intake.settled()).now_or_never() {
            self.settle(receipt, outcome, *settled_at.get_or_insert_with(now)).await;
        }
    }

    async fn settle(&mut self, receipt: MessageReceipt, outcome: Outcome, now: u64) {
        if let (Outcome::Done | Outcome::Dead(_), Some(stored_at)) = (outcome, receipt.stored_at) {
            // Clocks that differ may make it less than nothing.
            let took = u64::try_from(now.cast_signed().saturating_sub(stored_at)).unwrap_or_default();
            self.intake.metrics().latency.observe(Duration::from_nanos(took));
        }
        self.settler.settle(receipt, outcome).await;
    }

    /// Takes messages that have arrived, likewise.
    async fn take_ready(&mut self) -> anyhow::Result<()> {
        let observed_at = now();
        while self.takes()
            && let Some(Some(message)) = unconstrained(self.pull.next()).now_or_never()
        {
            self.take(message, observed_at).await?;
        }
        Ok(())
    }

    async fn take(&mut self, mut message: Message, observed_at: u64) -> anyhow::Result<()> {
        self.clock.heard = true;
        if let (true, Some(code)) = (is_status(&message), message.status) {
            return self.hear(code, &message);
        }
        let reply = message.reply.take();
        let Some((reply, delivered)) =
            reply.and_then(|reply| ReplyFields::of(&reply).map(|delivered| (reply, delivered)))
        else {
            tracing::warn!(source = self.origin.source, subject = %message.subject, "not a JetStream message, ignored");
            return Ok(());
        };
        let ReplyFields { position, stored_at, pending } = delivered;
        let DeliveryPosition { sequence, delivery, attempt } = position;
        let is_repinned = self.note_pin(&message, delivery);
        self.lag = pending;
        if attempt > 1 {
            self.is_redelivered(sequence);
        }
        let fit = match &self.settler.acks {
            AckState::Prefix(prefix) => prefix.fit(sequence, delivery),
            AckState::Each(ledger) => ledger.fit(sequence, delivery),
        };
        match fit {
            PrefixFit::Open | PrefixFit::Settled | PrefixFit::AckLost if self.landmark.precedes(stored_at) => {
                self.rewind();
                return Ok(());
            }
            PrefixFit::AfterHole(next) if is_repinned || self.may_have_lost() => {
                if is_repinned {
                    // What is missing another router had, and may have settled.
                    self.recovery.doubt(AskReason::Reconnect);
                } else {
                    let purpose = Purpose::Hole { delivery: delivery.saturating_sub(1) };
                    self.recovery.plan(Reading { next, end: sequence, purpose });
                }
                message.reply = Some(reply);
                self.pull.put_back(message, self.clock.now);
                return Ok(());
            }
            PrefixFit::Next | PrefixFit::AfterHole(_) => match &mut self.settler.acks {
                AckState::Prefix(prefix) => prefix.enter(sequence, delivery),
                AckState::Each(ledger) => ledger.enter(sequence, delivery),
            },
            repeated => {
                match &mut self.settler.acks {
                    AckState::Prefix(prefix) => prefix.repeated(delivery),
                    AckState::Each(ledger) => ledger.repeated(delivery),
                }
                self.pull.received(message.length);
                if repeated == PrefixFit::AckLost {
                    self.settler.acknowledge(reply).await;
                }
                return Ok(());
            }
        }
        self.landmark.pass(sequence, stored_at);
        self.pull.received(message.length);
        self.clock.received = true;
        let receipt = self.receipt(reply, position, Some(stored_at), true);
        self.push(
            messages::received(message, delivered, (&self.origin, self.settler.fence.is_some()), observed_at),
            receipt,
        );
        Ok(())
    }

    /// Counts a message that was delivered before, and notes it for the log unless it was given
    /// back here.
    fn is_redelivered(&mut self, sequence: u64) {
        self.intake.metrics().redelivered.inc();
        if !matches!(&self.settler.acks, AckState::Each(ledger) if ledger.is_given_back(sequence)) {
            self.redeliveries.note(sequence);
        }
    }

    /// Handles a status of the server's on our pulls.
    fn hear(&mut self, code: StatusCode, message: &Message) -> anyhow::Result<()> {
        match self.pull.status(code, message) {
            PullStatus::Fine => {}
            PullStatus::Gone => self.lose("it was deleted"),
            PullStatus::Unpinned => self.is_unpinned(),
            PullStatus::NoResponders => self.recovery.doubt(AskReason::Routine),
            PullStatus::Refused(description, times) => {
                let source = &self.origin.source;
                tracing::error!(source, description, times, "server refuses to be pulled from");
                // The consumer may have got new limits that can be kept to.
                self.recovery.doubt(AskReason::Routine);
                if times >= REFUSALS {
                    let config::JetStreamSource { stream, durable, .. } = &*self.consumer.settings;
                    bail!(
                        "consumer `{durable}` of stream `{stream}` can't be pulled from: the server says \
                         `{description}`"
                    );
                }
            }
        }
        Ok(())
    }

    fn receipt(
        &self,
        reply: async_nats::Subject,
        position: DeliveryPosition,
        stored_at: Option<i64>,
        is_delivered: bool,
    ) -> MessageReceipt {
        MessageReceipt {
            reply,
            sequence: position.sequence,
            stored_at,
            attempt: position.attempt,
            told: self.clock.now,
            incarnation: self.settler.incarnation,
            is_delivered,
        }
    }

    fn push(&mut self, message: envelope::SourceMessage, receipt: MessageReceipt) {
        match envelope::open(&self.envelope, message) {
            Ok(event) => self.intake.push(event, receipt),
            Err(refused) => self.refuse(*refused, receipt),
        }
    }

    async fn tick(&mut self) {
        self.clock.now = self.clock.now.wrapping_add(1);
        self.look_at_connection();
        if !self.takes() {
            self.pull.set_aside(self.clock.now);
        }
        if self.connection.is_connected() {
            self.settler.say_in_progress(&mut self.intake, &mut self.pull, self.clock.now).await;
            self.pull.keep_pin().await;
        }
        self.ask_now_and_then();
        self.look_at_sinks();
        self.show_health();
        self.redeliveries.tell(&self.origin.source);
        let metrics = self.intake.metrics();
        metrics.lag.set(self.lag.try_into().unwrap_or(i64::MAX));
        metrics.ack_pending.set(self.recovery.info().num_ack_pending.try_into().unwrap_or(i64::MAX));
        for retry in self.settler.due_retries() {
            self.recovery.plan(retry);
        }
        let expects = self.pull.is_under_way() && self.pulls() && self.connection.is_connected();
        match self.clock.listen(expects) {
            TickFinding::Enough => {}
            TickFinding::Nothing => self.asked_in_vain(),
            TickFinding::NoMessage => self.recovery.doubt(AskReason::NoMessages),
        }
    }

    /// Returns whether there is a consumer that gives messages.
    fn is_fed(&self) -> bool {
        self.connection.is_connected() && !self.pull.is_refused() && !self.recovery.phase.is_lost()
    }

    /// Notes what keeps events from coming, if anything.
    fn show_health(&self) {
        let health = &self.intake.metrics().health;
        let config::JetStreamSource { stream, durable, .. } = &*self.consumer.settings;
        let (level, why, remedy) = if !self.connection.is_connected() {
            let why = format!("no connection to NATS at {}", self.connection.place());
            (HealthLevel::Down, why, "it is made again by itself when a server answers")
        } else if self.recovery.phase.is_lost() {
            let why = format!("consumer `{durable}` of stream `{stream}` is gone");
            (HealthLevel::Down, why, "make the stream again, as by `trommel streams ensure`: the consumer is made anew")
        } else if self.pull.is_refused() {
            let why = format!("the server refuses to be pulled from by consumer `{durable}` of stream `{stream}`");
            (HealthLevel::Down, why, "the log has what it says: mostly a limit of the consumer or a permission")
        } else if self.intake.is_paused() {
            let why = "no sink of any route takes anything, so nothing more is pulled".to_owned();
            (HealthLevel::Degraded, why, "the health of the sinks has the reason")
        } else {
            if let Some(lasted) = health.recover() {
                let after = format!("{} s", lasted.as_secs());
                tracing::info!(source = self.origin.source, after, "the source is well again");
            }
            return;
        };
        // What it is has been logged where it was seen.
        health.report(level, why, remedy);
    }

    fn look_at_sinks(&mut self) {
        let was_paused = self.intake.is_paused();
        let is_shared = self.is_shared();
        self.intake.look_at_sinks(is_shared);
        if is_shared {
            self.intake.give_deferred_back();
        }
        let source = &self.origin.source;
        match (was_paused, self.intake.is_paused()) {
            (false, true) => tracing::warn!(source, "no sink of any route takes anything: nothing more is pulled"),
            (true, false) => tracing::info!(source, "a sink takes outputs again: messages are pulled again"),
            _ => {}
        }
    }

    /// Settles what is open and gives back what was not taken.
    async fn drain(&mut self) -> anyhow::Result<()> {
        self.recovery.errand = None;
        self.intake.give_deferred_back();
        let mut is_open = self.connection.is_connected() && self.pull.end(self.clock.now).await.is_ok();
        let patience = Instant::now() + LAST_MESSAGES;
        while (is_open || self.intake.open() > 0) && self.settler.may_act() {
            let due = self.settler.ack_due();
            tokio::select! {
                Some(()) = OptionFuture::from(due.map(sleep_until)) => self.settler.ack_prefix().await,
                (receipt, outcome) = self.intake.settled() => self.settle(receipt, outcome, now()).await,
                message = self.pull.next(), if is_open => match message {
                    Some(message) if is_status(&message) => {}
                    Some(message) => self.settler.give_back(message.reply).await,
                    None => is_open = false,
                },
                _ = self.clock.interval.tick() => {
                    self.clock.now = self.clock.now.wrapping_add(1);
                    is_open &= Instant::now() < patience;
                    if self.connection.is_connected() {
                        self.settler.say_in_progress(&mut self.intake, &mut self.pull, self.clock.now).await;
                        self.pull.keep_pin().await;
                    }
                }
            }
        }
        Ok(())
    }

    /// Shows no trouble any more: the source of an isolated key or of a partition ends, and the router
    /// goes on.
    pub(super) fn show_end(&self) {
        let metrics = self.intake.metrics();
        metrics.health.recover();
        for gauge in [&metrics.consumer_missing, &metrics.lag, &metrics.ack_pending, &metrics.deferred, &metrics.paused]
        {
            gauge.set(0);
        }
    }

    /// Sends the ack that still waits, and lets others have the consumer.
    pub(super) async fn leave(&mut self) {
        self.settler.ack_prefix().await;
        self.unpin().await;
        // Fails only if the client has ended.
        let _ = self.connection.flush().await;
    }
}

/// Current time in Unix nanoseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

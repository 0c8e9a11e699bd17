//! The loop of a running source: messages in, events to the intake, settlements out.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use async_nats::Message;
use futures_util::{FutureExt, future::OptionFuture};
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until},
};

use crate::{
    ack::Outcome,
    config::{AckMode, Envelope},
    event::Origin,
    nats::{Connection, Delivered, Position},
    pipeline::Intake,
    source::{
        envelope,
        jetstream::{
            JetStream, Receipt,
            consumer::Consumer,
            messages,
            prefix::{Fit, Prefix},
            pull::{Pull, Status},
            reading::{Purpose, Reading},
            settle::{Acks, Settler},
        },
    },
    stop::Stop,
};

mod clock;
mod recovery;

use clock::{Clock, Heard};
use recovery::{Found, Recovery};

/// How long a drain waits for messages that are on their way. One that comes later is delivered again after `ack_wait`.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

pub(super) struct Run {
    consumer: Consumer,
    connection: Connection,
    intake: Intake<Receipt>,
    envelope: Envelope,
    origin: Arc<Origin>,
    pull: Pull,
    settler: Settler,
    recovery: Recovery,
    clock: Clock,
}

enum Wake {
    Settled(Receipt, Outcome),
    Message(Option<Message>),
    Found(Found),
    Tick,
    AckDue,
    Noticed,
    Drain,
}

impl Run {
    pub(super) async fn new(source: JetStream, intake: Intake<Receipt>) -> anyhow::Result<Self> {
        let JetStream { consumer, envelope, origin, info, stream_created } = source;
        let period = (consumer.settings.ack_wait / 8).clamp(Duration::from_millis(10), Duration::from_millis(500));
        let connection = consumer.connection.clone();
        let acks = match consumer.settings.ack {
            AckMode::Explicit => Acks::Each,
            AckMode::All => Acks::Prefix(Prefix::new(info.ack_floor.sequence, info.ack_floor.delivery)),
        };
        let mut run = Self {
            pull: Pull::new(&consumer).await?,
            settler: Settler::new(connection.client().clone(), acks, consumer.settings.ack_wait, period),
            recovery: Recovery::new(&connection, info.clone(), stream_created),
            connection,
            consumer,
            intake,
            envelope,
            origin,
            clock: Clock::new(period),
        };
        run.read_what_was_lost(info);
        Ok(run)
    }

    /// Takes and settles until the drain is over.
    pub(super) async fn until_drained(&mut self, stop: &mut Stop) -> anyhow::Result<()> {
        loop {
            self.settle_ready().await?;
            self.take_ready().await?;
            self.start_errand();
            if !self.recovery.lost && self.takes() && self.connection.is_connected() {
                self.pull.ask(self.intake.room()).await?;
            }
            match self.wake(Some(stop)).await {
                Wake::Drain => return self.drain().await,
                Wake::Message(None) => return Err(anyhow!("the connection to NATS has ended")),
                Wake::Message(Some(message)) => self.take(message, now()).await?,
                Wake::Settled(receipt, outcome) => self.settler.settle(receipt, outcome).await?,
                Wake::Found(found) => self.found(found).await?,
                Wake::Tick => self.tick().await?,
                Wake::AckDue => self.settler.ack_prefix().await?,
                Wake::Noticed => self.look_at_connection(),
            }
        }
    }

    async fn wake(&mut self, stop: Option<&mut Stop>) -> Wake {
        let takes = self.takes();
        // What is read from the stream goes into the intake.
        let hears = self.recovery.readings.is_empty() || self.intake.is_open();
        let due = self.settler.ack_due();
        tokio::select! {
            (receipt, outcome) = self.intake.settled() => Wake::Settled(receipt, outcome),
            message = self.pull.next(), if takes => Wake::Message(message),
            Some(found) = OptionFuture::from(self.recovery.errand.as_mut()), if hears => Wake::Found(found),
            _ = self.clock.interval.tick() => Wake::Tick,
            Some(()) = OptionFuture::from(due.map(sleep_until)) => Wake::AckDue,
            () = self.connection.noticed() => Wake::Noticed,
            Some(()) = OptionFuture::from(stop.map(Stop::draining)) => Wake::Drain,
        }
    }

    /// Whether a message may be taken now.
    fn takes(&self) -> bool {
        self.recovery.readings.is_empty() && self.intake.is_open()
    }

    /// What is settled already, without going to sleep in between: acks that leave together are cheaper. There is no more
    /// of it than the budget allows, so nothing else starves.
    async fn settle_ready(&mut self) -> anyhow::Result<()> {
        while let Some((receipt, outcome)) = unconstrained(self.intake.settled()).now_or_never() {
            self.settler.settle(receipt, outcome).await?;
        }
        Ok(())
    }

    /// What has arrived already, likewise.
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
        if let Some(code) = message.status {
            match self.pull.status(code, &message) {
                Status::Fine => {}
                Status::Gone => self.lose("it was deleted"),
                Status::NoResponders => self.recovery.unsure = true,
                Status::Refused(description) => {
                    tracing::error!(source = self.origin.source, description, "server refuses to be pulled from");
                }
            }
            return Ok(());
        }
        let reply = message.reply.take();
        let Some((reply, delivered)) =
            reply.and_then(|reply| Delivered::of(&reply).map(|delivered| (reply, delivered)))
        else {
            tracing::warn!(source = self.origin.source, subject = %message.subject, "not a JetStream message, ignored");
            return Ok(());
        };
        let position = delivered.position;
        if let Acks::Prefix(prefix) = &mut self.settler.acks {
            match prefix.fit(position.sequence, position.delivery) {
                Fit::Next => prefix.enter(position.sequence, position.delivery),
                Fit::AfterHole(next) => {
                    let purpose = Purpose::Hole { delivery: position.delivery.saturating_sub(1) };
                    self.recovery.readings.push_back(Reading { next, end: position.sequence, purpose });
                    message.reply = Some(reply);
                    self.pull.put_back(message, self.clock.now);
                    return Ok(());
                }
                repeated => {
                    prefix.repeated(position.delivery);
                    self.pull.received();
                    return match repeated {
                        Fit::AckLost => self.settler.acknowledge(reply).await,
                        _ => Ok(()),
                    };
                }
            }
        }
        self.pull.received();
        self.clock.received = true;
        let receipt = self.receipt(reply, position);
        self.push(messages::received(message, delivered, &self.origin, observed_at), receipt);
        Ok(())
    }

    fn receipt(&self, reply: async_nats::Subject, position: Position) -> Receipt {
        Receipt {
            reply,
            sequence: position.sequence,
            attempt: position.attempt,
            told: self.clock.now,
            incarnation: self.settler.incarnation,
        }
    }

    fn push(&mut self, message: envelope::Message, receipt: Receipt) {
        match envelope::open(&self.envelope, message) {
            Ok(event) => self.intake.push(event, receipt),
            Err(refused) => {
                let (event, malformed) = *refused;
                self.intake.refuse(event, receipt, malformed.reason, &malformed.detail);
            }
        }
    }

    async fn tick(&mut self) -> anyhow::Result<()> {
        self.clock.now = self.clock.now.wrapping_add(1);
        self.look_at_connection();
        if !self.takes() {
            self.pull.set_aside(self.clock.now);
        }
        if self.connection.is_connected() {
            self.settler.say_in_progress(&mut self.intake, &mut self.pull, self.clock.now).await?;
        }
        self.recovery.readings.extend(self.settler.due_retries());
        let expects = self.pull.is_under_way() && self.takes() && !self.recovery.lost && self.connection.is_connected();
        match self.clock.listen(expects) {
            Heard::Enough => {}
            Heard::Nothing => self.asked_in_vain(),
            Heard::NoMessage => self.recovery.watch(),
        }
        Ok(())
    }

    /// Settles what is open and gives back what was not taken.
    async fn drain(&mut self) -> anyhow::Result<()> {
        self.recovery.readings.clear();
        self.recovery.errand = None;
        let mut is_open = self.connection.is_connected();
        if is_open {
            self.pull.end(self.clock.now).await?;
        }
        let patience = Instant::now() + LAST_MESSAGES;
        while is_open || self.intake.open() > 0 {
            tokio::select! {
                (receipt, outcome) = self.intake.settled() => self.settler.settle(receipt, outcome).await?,
                message = self.pull.next(), if is_open => match message {
                    Some(message) if message.status.is_none() => self.settler.give_back(message.reply).await?,
                    Some(_) => {}
                    None => is_open = false,
                },
                _ = self.clock.interval.tick() => {
                    self.clock.now = self.clock.now.wrapping_add(1);
                    is_open &= Instant::now() < patience;
                    if self.connection.is_connected() {
                        self.settler.say_in_progress(&mut self.intake, &mut self.pull, self.clock.now).await?;
                    }
                }
            }
        }
        self.settler.ack_prefix().await
    }
}

/// Unix nanoseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

//! What to do when the server falls silent, restarts, or loses the consumer, and about deliveries that did not arrive.

use std::{collections::VecDeque, pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::{
    ack::Outcome,
    nats::{ApiError, Connection, Position, code},
    source::jetstream::{
        Receipt,
        consumer::{ConsumerError, Info},
        messages,
        reading::{Purpose, Reading},
        run::{Run, now},
        settle::Acks,
        stored::Stored,
    },
};

/// Two cuts within this time, or within a few `ack_wait`, are no accident.
const CUT_WINDOW: Duration = Duration::from_secs(10);
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(5);

pub(super) struct Recovery {
    /// What the server last said.
    info: Info,
    stream_created: String,
    /// The consumer is gone and has to be created again.
    pub(super) lost: bool,
    /// The server is to be asked how the consumer is doing.
    pub(super) unsure: bool,
    /// Because no message has come for a while.
    watching: bool,
    /// A question to the server, one at a time.
    pub(super) errand: Option<Errand>,
    /// No errand before this time: the last one failed.
    not_before: Option<Instant>,
    wait: Duration,
    /// Messages to read from the stream; the first is being read. Until then nothing else is taken.
    pub(super) readings: VecDeque<Reading>,
    epoch: u64,
    cuts: Cuts,
}

type Errand = Pin<Box<dyn Future<Output = Found> + Send>>;

pub(super) enum Found {
    Info(Result<Info, ApiError>),
    Consumer(Result<(Info, String), ConsumerError>),
    Stored(Result<Option<Stored>, ApiError>),
}

/// Disconnects that may be the fault of a message that the client can't read.
#[derive(Default)]
struct Cuts {
    server: String,
    last: Option<Instant>,
    suspicious: bool,
}

impl Recovery {
    pub(super) fn new(connection: &Connection, info: Info, stream_created: String) -> Self {
        Self {
            info,
            stream_created,
            lost: false,
            unsure: false,
            watching: false,
            errand: None,
            not_before: None,
            wait: MIN_WAIT,
            readings: VecDeque::new(),
            epoch: connection.epoch(),
            cuts: Cuts { server: connection.client().server_info().server_id, ..Cuts::default() },
        }
    }

    /// Asks the server whether there is anything that it should have delivered.
    pub(super) fn watch(&mut self) {
        (self.unsure, self.watching) = (true, true);
    }
}

impl Run {
    /// Nobody shows that our pulls are known.
    pub(super) fn asked_in_vain(&mut self) {
        // Once may be an accident.
        self.recovery.unsure |= self.clock.missed > 1;
        self.pull.forget();
        let subject = self.consumer.pull_subject();
        let denial = self.connection.denied_since(0, |denial| denial.subject == subject || !denial.publish);
        let reason = denial.map_or_else(|| "no heartbeat".to_owned(), |denial| denial.to_string());
        let missed = self.clock.missed;
        tracing::warn!(source = self.origin.source, reason, missed, "server is silent, asking again");
    }

    pub(super) fn look_at_connection(&mut self) {
        self.intake.connected(self.connection.is_connected());
        let epoch = self.connection.epoch();
        if epoch == self.recovery.epoch {
            return;
        }
        self.recovery.epoch = epoch;
        self.pull.forget();
        self.recovery.not_before = None;
        // The consumer may be gone, and with it what it had delivered.
        self.recovery.unsure = true;
        let server = self.connection.client().server_info().server_id;
        self.recovery.cuts.suspicious |= self.recovery.cuts.is_suspicious(server, self.consumer.settings.ack_wait);
    }

    pub(super) fn start_errand(&mut self) {
        if self.recovery.errand.is_some() || self.recovery.not_before.is_some_and(|time| time > Instant::now()) {
            return;
        }
        let consumer = self.consumer.clone();
        if self.recovery.lost {
            let (floor, stream_created) = (
                self.settler.floor().unwrap_or(self.recovery.info.ack_floor.sequence),
                self.recovery.stream_created.clone(),
            );
            self.recovery.errand =
                Some(Box::pin(async move { Found::Consumer(consumer.again(floor, &stream_created).await) }));
        } else if std::mem::take(&mut self.recovery.unsure) {
            self.recovery.errand = Some(Box::pin(async move { Found::Info(consumer.info().await) }));
        } else if let Some(reading) = self.recovery.readings.front() {
            let next = reading.next;
            self.recovery.errand = Some(Box::pin(async move {
                Found::Stored(Stored::next(&consumer.connection, &consumer.settings, next).await)
            }));
        }
    }

    pub(super) async fn found(&mut self, found: Found) -> anyhow::Result<()> {
        self.recovery.errand = None;
        match found {
            Found::Info(Ok(info)) => {
                self.succeeded();
                self.inform(info).await
            }
            Found::Info(Err(error)) => {
                if matches!(error.code(), Some(code::CONSUMER_NOT_FOUND | code::STREAM_NOT_FOUND)) {
                    self.lose("the server does not know it");
                } else {
                    self.recovery.unsure = true;
                    self.failed("can't ask after the consumer", error.into());
                }
                Ok(())
            }
            Found::Consumer(Ok((info, stream_created))) => {
                self.succeeded();
                self.recovery.stream_created = stream_created;
                self.recovery.lost = false;
                tracing::info!(source = self.origin.source, "consumer is there again");
                self.start_over(info).await
            }
            Found::Consumer(Err(error)) if error.is_passing() => {
                self.failed("can't have the consumer again", error.into());
                Ok(())
            }
            Found::Consumer(Err(error)) => Err(error.into()),
            Found::Stored(Ok(stored)) => {
                self.succeeded();
                self.read(stored).await
            }
            Found::Stored(Err(error)) => {
                let purpose = self.recovery.readings.front().map(|reading| reading.purpose);
                if purpose == Some(Purpose::Unreadable) && matches!(error, ApiError::NoPermission(_)) {
                    self.recovery.readings.pop_front();
                }
                self.failed("can't read a message that was lost on the way", error.into());
                Ok(())
            }
        }
    }

    fn succeeded(&mut self) {
        self.recovery.wait = MIN_WAIT;
        self.recovery.not_before = None;
    }

    fn failed(&mut self, what: &str, error: anyhow::Error) {
        let wait = self.recovery.wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        tracing::warn!(source = self.origin.source, error = format!("{error:#}"), ?wait, "{what}");
        self.recovery.not_before = Some(Instant::now() + wait);
        self.recovery.wait = (self.recovery.wait * 2).min(MAX_WAIT);
    }

    pub(super) fn lose(&mut self, how: &str) {
        if !self.recovery.lost {
            let config = &self.consumer.settings;
            tracing::error!(
                source = self.origin.source,
                stream = config.stream,
                consumer = config.durable,
                "consumer is lost: {how}"
            );
            self.recovery.lost = true;
        }
    }

    /// Takes notice of how the consumer is doing.
    async fn inform(&mut self, info: Info) -> anyhow::Result<()> {
        if info.created != self.recovery.info.created {
            tracing::warn!(source = self.origin.source, "somebody has created the consumer again");
            return self.start_over(info).await;
        }
        let may_deliver = info.num_pending > 0 && info.num_ack_pending < self.consumer.in_flight && !info.paused;
        let is_expected = std::mem::take(&mut self.recovery.watching) && self.takes() && self.pull.is_under_way();
        if may_deliver && is_expected {
            tracing::warn!(
                source = self.origin.source,
                pending = info.num_pending,
                "server has messages and delivers none, subscribing anew"
            );
            self.pull.reopen(self.clock.now).await?;
        }
        self.read_what_was_lost(info);
        Ok(())
    }

    /// Plans to read what was delivered and did not arrive, as far as nobody else will take care of it.
    pub(super) fn read_what_was_lost(&mut self, info: Info) {
        let end = info.delivered.sequence + 1;
        let is_planned = self.recovery.readings.iter().any(|reading| reading.end >= end);
        match &self.settler.acks {
            Acks::Prefix(prefix) => {
                if info.delivered.sequence > prefix.seen() && !is_planned {
                    let purpose = Purpose::Hole { delivery: info.delivered.delivery };
                    self.recovery.readings.push_back(Reading { next: prefix.seen() + 1, end, purpose });
                }
            }
            Acks::Each => {
                let may_be_lost = info.num_ack_pending > self.intake.open();
                if std::mem::take(&mut self.recovery.cuts.suspicious) && may_be_lost && !is_planned {
                    let next = info.ack_floor.sequence + 1;
                    self.recovery.readings.push_back(Reading { next, end, purpose: Purpose::Unreadable });
                }
                self.settler.forget_refused(info.ack_floor.sequence);
            }
        }
        self.recovery.info = info;
    }

    /// The consumer is another one: what the old one delivered counts no more, and comes again.
    async fn start_over(&mut self, info: Info) -> anyhow::Result<()> {
        self.settler.start_over(info.ack_floor);
        self.recovery.readings.clear();
        self.pull.start_over().await?;
        self.read_what_was_lost(info);
        Ok(())
    }

    /// Takes one message that was read from the stream.
    async fn read(&mut self, stored: Option<Stored>) -> anyhow::Result<()> {
        let Some(reading) = self.recovery.readings.front_mut() else { return Ok(()) };
        let stored = stored.filter(|stored| stored.sequence < reading.end);
        let purpose = reading.purpose;
        reading.next = stored.as_ref().map_or(reading.end, |stored| stored.sequence + 1);
        let is_over = reading.next >= reading.end;
        let end = reading.end;
        if let Some(stored) = &stored {
            self.take_stored(stored, purpose);
        } else if let Purpose::Retry { attempt } = purpose {
            // Deleted from the stream: there is nothing left to try again.
            let receipt = self.receipt_unseen(end - 1, attempt);
            self.settler.settle(receipt, Outcome::Done).await?;
        }
        if is_over {
            self.recovery.readings.pop_front();
            if let (Acks::Prefix(prefix), Purpose::Hole { delivery }) = (&mut self.settler.acks, purpose) {
                prefix.passed(end - 1, delivery);
            }
        }
        Ok(())
    }

    fn take_stored(&mut self, stored: &Stored, purpose: Purpose) {
        let (headers, unreadable) = stored.headers();
        let is_wanted = match purpose {
            Purpose::Hole { .. } => self.settler.enter_lost(stored.sequence),
            Purpose::Unreadable => unreadable.is_some() && self.settler.refuse_once(stored.sequence),
            Purpose::Retry { .. } => true,
        };
        if !is_wanted {
            return;
        }
        let attempt = if let Purpose::Retry { attempt } = purpose { attempt } else { 1 };
        let receipt = self.receipt_unseen(stored.sequence, attempt);
        let message = messages::stored(stored, headers, attempt, &self.origin, now());
        match unreadable {
            None => self.push(message, receipt),
            Some(reason) => {
                let detail = "the NATS client gives the connection up over this message";
                self.intake.refuse(message.into_event(), receipt, reason, detail);
            }
        }
    }

    /// The receipt of a message whose delivery we have not seen.
    fn receipt_unseen(&self, sequence: u64, attempt: u32) -> Receipt {
        let position = Position { attempt, sequence, delivery: self.settler.delivery_of(sequence) };
        let settings = &self.consumer.settings;
        self.receipt(position.reply(&settings.stream, &settings.durable), position)
    }
}

impl Cuts {
    /// A server that has not restarted and cut us off before, about one `ack_wait` ago.
    fn is_suspicious(&mut self, server: String, ack_wait: Duration) -> bool {
        let is_same = std::mem::replace(&mut self.server, server) == self.server;
        let last = self.last.replace(Instant::now());
        let window = (ack_wait * 3).max(CUT_WINDOW);
        is_same && last.is_some_and(|last| last.elapsed() < window)
    }
}

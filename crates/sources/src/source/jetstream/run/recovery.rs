//! Recovery from a silent or restarted server, a lost consumer, and lost deliveries.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    backoff::Backoff,
    config::JetStreamSource,
    nats::{ApiError, Connection, RawMessage, code},
    source::jetstream::{
        consumer::{ConsumerError, ConsumerInfo, PullLimits},
        pin::PIN_TIMEOUT,
        pull::EXPIRES,
        reading::{Purpose, Reading},
        run::{
            JetStreamRun,
            cuts::DisconnectSuspicion,
            phase::{AskReason, CatchUp, ConsumerPhase, NeededRequest, PhaseInput},
            takeover::take_over,
        },
        settle::AckState,
        stream_state::{StreamLandmark, StreamState},
    },
};

/// Waits after failed errands.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// Time after a cut in which the server may go on delivering to pulls of the old connection.
const TROUBLE: Duration = EXPIRES.saturating_mul(2);
const SHARED: &str = "others read the consumer too: order holds among what each of them gets";
/// Interval at which the server is asked about the consumer, which others may change.
const ASK_EVERY: Duration = Duration::from_secs(10);

pub(super) struct SourceRecovery {
    /// Last info from the server.
    info: ConsumerInfo,
    stream: StreamState,
    pub(super) phase: ConsumerPhase,
    /// Time until which deliveries may have been lost. It is no part of the phase: it passes by
    /// itself, and the server answers nothing about it.
    trouble: Option<Instant>,
    /// Time of the last question that was asked only by interval.
    asked: Instant,
    /// Request to the server that is under way, one at a time. It may be another than the phase
    /// needs by now: its answer is used all the same, and then the phase decides.
    pub(super) errand: Option<RecoveryErrand>,
    /// Time before which no errand starts, since the last one failed.
    not_before: Option<Instant>,
    backoff: Backoff,
    /// Messages to read from the stream; the first is being read. The phase knows only whether
    /// there are any.
    readings: VecDeque<Reading>,
    /// Epoch of the connection when it was last looked at: a new one means a cut in between.
    epoch: u64,
    pub(super) cuts: DisconnectSuspicion,
}

type RecoveryErrand = Pin<Box<dyn Future<Output = ErrandReply> + Send>>;

pub(super) enum ErrandReply {
    Info(Result<ConsumerInfo, ApiError>),
    Consumer(Result<(ConsumerInfo, StreamState), ConsumerError>),
    TakenOver(Result<(ConsumerInfo, bool), ApiError>),
    Stored(Result<Option<RawMessage>, ApiError>),
    Deferred(Result<Vec<Option<RawMessage>>, ApiError>),
}

impl SourceRecovery {
    pub(super) fn new(connection: &Connection, info: ConsumerInfo, stream: StreamState) -> Self {
        Self {
            info,
            stream,
            phase: ConsumerPhase::Known(CatchUp::Done),
            trouble: None,
            asked: Instant::now(),
            errand: None,
            not_before: None,
            backoff: BACKOFF,
            readings: VecDeque::new(),
            epoch: connection.epoch(),
            cuts: DisconnectSuspicion::new(connection.client().server_info().server_id),
        }
    }

    pub(super) fn hear(&mut self, input: PhaseInput) {
        self.phase = self.phase.after(input);
    }

    /// Has the server asked about the consumer.
    pub(super) fn doubt(&mut self, reason: AskReason) {
        self.hear(PhaseInput::Doubted(reason));
    }

    /// Plans to read messages from the stream.
    pub(super) fn plan(&mut self, reading: Reading) {
        self.readings.push_back(reading);
        self.hear(PhaseInput::MissedDelivery);
    }

    /// Returns whether messages are to be read from the stream.
    pub(super) fn has_readings(&self) -> bool {
        !self.readings.is_empty()
    }

    pub(super) fn current_reading(&mut self) -> Option<&mut Reading> {
        self.readings.front_mut()
    }

    /// Goes on to what is to be read next.
    pub(super) fn end_reading(&mut self) {
        self.readings.pop_front();
        self.hear(PhaseInput::Read { is_last: self.readings.is_empty() });
    }

    pub(super) fn info(&self) -> &ConsumerInfo {
        &self.info
    }

    pub(super) fn limits(&self) -> PullLimits {
        self.info.limits()
    }
}

impl JetStreamRun {
    /// Handles missed heartbeats: the server may not know our pulls.
    pub(super) fn asked_in_vain(&mut self) {
        // A single silence may be an accident.
        if self.clock.missed > 1 {
            self.recovery.doubt(AskReason::Routine);
        }
        self.recovery.trouble = Some(Instant::now() + TROUBLE);
        self.pull.forget();
        let subject = self.consumer.pull_subject();
        let denial = self.connection.denied_since(0, |denial| denial.subject == subject || !denial.publish);
        let reason = denial.map_or_else(|| "no heartbeat".to_owned(), |denial| denial.to_string());
        let missed = self.clock.missed;
        tracing::warn!(source = self.origin.source, reason, missed, "server is silent, asking again");
    }

    pub(super) fn look_at_connection(&mut self) {
        self.intake.connected(self.is_fed());
        let is_missing = self.connection.is_connected() && !self.is_fed();
        self.intake.metrics().consumer_missing.set(is_missing.into());
        let epoch = self.connection.epoch();
        if epoch == self.recovery.epoch {
            return;
        }
        self.recovery.epoch = epoch;
        self.pull.forget();
        // Its requests are lost, and would hold up the question that comes first now.
        if self.intake.is_reading() {
            self.recovery.errand = None;
            self.intake.stop_reading();
        }
        self.has_reconnected();
        let server = self.connection.client().server_info().server_id;
        self.recovery.cuts.happened(server, self.consumer.settings.ack_wait);
    }

    /// Goes on after the client was replaced, because the last one ended over what it was sent.
    pub(super) fn is_renewed(&mut self) {
        self.recovery.epoch = self.connection.epoch();
        self.recovery.errand = None;
        self.intake.stop_reading();
        self.recovery.cuts.suspicious = true;
        self.intake.connected(self.connection.is_connected());
        self.has_reconnected();
    }

    fn has_reconnected(&mut self) {
        self.recovery.not_before = None;
        // The consumer may be gone, and with it what it had delivered.
        self.recovery.doubt(AskReason::Reconnect);
        self.recovery.trouble = Some(Instant::now() + TROUBLE);
    }

    /// Returns whether a missing delivery was lost, as others may have it.
    pub(super) fn may_have_lost(&mut self) -> bool {
        let is_likely = self.is_in_trouble();
        match &self.settler.acks {
            AckState::Prefix(_) => true,
            AckState::Each(_) if is_likely => true,
            AckState::Each(_) => {
                self.share();
                false
            }
        }
    }

    /// Returns whether others may read the consumer too.
    pub(super) fn is_shared(&self) -> bool {
        matches!(&self.settler.acks, AckState::Each(ledger) if !ledger.is_alone())
            && !self.recovery.phase.is_taking_over()
    }

    /// Returns whether others pull while we do not: to be checked again, as ours may have ended.
    fn may_be_joined(&self, info: &ConsumerInfo) -> bool {
        let is_alone = matches!(&self.settler.acks, AckState::Each(ledger) if ledger.is_alone());
        is_alone
            && info.num_waiting > 0
            && self.intake.is_paused()
            && !self.pull.is_under_way()
            && !self.is_in_trouble()
    }

    fn is_in_trouble(&self) -> bool {
        self.recovery.trouble.is_some_and(|time| time > Instant::now())
    }

    /// Notes that others read the consumer too.
    fn share(&mut self) {
        if let AckState::Each(ledger) = &mut self.settler.acks
            && ledger.share()
        {
            tracing::info!(source = self.origin.source, "{SHARED}");
        }
    }

    pub(super) fn ask_now_and_then(&mut self) {
        let every = if self.is_standby() { PIN_TIMEOUT } else { ASK_EVERY };
        if self.recovery.asked.elapsed() > every {
            self.recovery.asked = Instant::now();
            self.recovery.doubt(AskReason::Routine);
        }
    }

    pub(super) fn start_errand(&mut self) {
        if self.recovery.errand.is_some() || self.recovery.not_before.is_some_and(|time| time > Instant::now()) {
            return;
        }
        let consumer = self.consumer.clone();
        let errand: RecoveryErrand = match self.recovery.phase.needs() {
            Some(NeededRequest::Find) => {
                let floor = self.settler.floor().unwrap_or(self.recovery.info.floor().sequence);
                let (known, landmark) = (self.recovery.stream.clone(), self.landmark);
                Box::pin(async move { ErrandReply::Consumer(consumer.again(floor, &known, landmark).await) })
            }
            Some(NeededRequest::Ask) => {
                self.recovery.hear(PhaseInput::Asked);
                Box::pin(async move { ErrandReply::Info(consumer.info().await) })
            }
            Some(NeededRequest::TakeOver) => {
                let open: HashSet<_> = match &self.settler.acks {
                    AckState::Each(ledger) => ledger.unsettled().into_iter().collect(),
                    AckState::Prefix(_) => HashSet::new(),
                };
                Box::pin(async move { ErrandReply::TakenOver(take_over(consumer, open).await) })
            }
            Some(NeededRequest::Read) => {
                let Some(next) = self.recovery.readings.front().map(|reading| reading.next) else { return };
                Box::pin(async move {
                    let JetStreamSource { stream, subjects, .. } = &*consumer.settings;
                    ErrandReply::Stored(RawMessage::next(&consumer.connection, stream, subjects, next).await)
                })
            }
            None => return self.read_deferred(),
        };
        self.recovery.errand = Some(errand);
    }

    pub(super) async fn found(&mut self, found: ErrandReply) -> anyhow::Result<()> {
        self.recovery.errand = None;
        match found {
            ErrandReply::Info(Ok(info)) => {
                self.succeeded();
                self.inform(info).await
            }
            ErrandReply::Info(Err(error)) => {
                if matches!(error.code(), Some(code::CONSUMER_NOT_FOUND | code::STREAM_NOT_FOUND)) {
                    self.lose("the server does not know it");
                } else {
                    self.recovery.hear(PhaseInput::Unanswered);
                    self.failed("can't ask after the consumer", error.into());
                }
                Ok(())
            }
            ErrandReply::Consumer(Ok((info, stream))) => {
                self.succeeded();
                self.recovery.hear(PhaseInput::Found);
                tracing::info!(source = self.origin.source, "consumer is there again");
                self.start_over(info).await;
                self.landmark = stream.landmark();
                self.recovery.stream = stream;
                Ok(())
            }
            ErrandReply::Consumer(Err(error)) if error.is_passing() => {
                self.failed("can't have the consumer again", error.into());
                Ok(())
            }
            ErrandReply::Consumer(Err(error)) => Err(error.into()),
            ErrandReply::TakenOver(Ok((info, is_alone))) => {
                self.succeeded();
                let has_readings = self.recovery.has_readings();
                self.recovery.hear(PhaseInput::TakenOver { has_readings });
                match &mut self.settler.acks {
                    AckState::Each(ledger) if is_alone => {
                        let taken_over = info.num_ack_pending.saturating_sub(ledger.unsettled().len());
                        self.intake.metrics().taken_over.inc_by(taken_over as u64);
                        ledger.read_alone(info.floor(), info.delivered, info.num_ack_pending);
                    }
                    _ => self.share(),
                }
                self.recovery.info = info;
                Ok(())
            }
            ErrandReply::TakenOver(Err(error)) => {
                if matches!(error.code(), Some(code::CONSUMER_NOT_FOUND | code::STREAM_NOT_FOUND)) {
                    self.lose("the server does not know it");
                } else {
                    self.failed("can't take over what was delivered before", error.into());
                }
                Ok(())
            }
            ErrandReply::Deferred(read) => {
                self.resume(read).await;
                Ok(())
            }
            ErrandReply::Stored(Ok(stored)) => {
                self.succeeded();
                self.read(stored).await;
                Ok(())
            }
            ErrandReply::Stored(Err(error)) => {
                if let (ApiError::NoPermission(_), AckState::Each(ledger)) = (&error, &mut self.settler.acks) {
                    // It is redelivered anyway, later than what follows.
                    let _ = ledger.share();
                    self.recovery.end_reading();
                }
                self.failed("can't read a message that was lost on the way", error.into());
                Ok(())
            }
        }
    }

    pub(super) fn succeeded(&mut self) {
        self.recovery.backoff.reset();
        self.recovery.not_before = None;
    }

    pub(super) fn failed(&mut self, what: &str, error: anyhow::Error) {
        let wait = self.recovery.backoff.next_wait();
        tracing::warn!(source = self.origin.source, error = format!("{error:#}"), ?wait, "{what}");
        self.recovery.not_before = Some(Instant::now() + wait);
    }

    pub(super) fn lose(&mut self, how: &str) {
        if !self.recovery.phase.is_lost() {
            let config = &self.consumer.settings;
            tracing::error!(
                source = self.origin.source,
                stream = config.stream,
                consumer = config.durable,
                "consumer is lost: {how}"
            );
            self.recovery.hear(PhaseInput::Gone);
        }
    }

    /// Warns if deferred events use up what the server may leave unacknowledged.
    fn tell_of_full_consumer(&self, info: &ConsumerInfo) {
        let (max_ack_pending, deferred) = (info.max_ack_pending(), self.intake.metrics().deferred.get());
        if info.num_ack_pending >= max_ack_pending && deferred > 0 {
            let source = &self.origin.source;
            tracing::warn!(
                source,
                max_ack_pending,
                deferred,
                "events of keys that have no room use up the consumer's `max_ack_pending`, no key gets new ones"
            );
        }
    }

    /// Handles an answer of the server about the consumer.
    async fn inform(&mut self, info: ConsumerInfo) -> anyhow::Result<()> {
        self.consumer.check(&info)?;
        let is_another = info.created != self.recovery.info.created;
        if is_another {
            tracing::warn!(source = self.origin.source, "another client has created the consumer again");
        }
        let reason = self.recovery.phase.reason();
        if reason == Some(AskReason::Rewind) || is_another {
            self.start_over(info).await;
            return Ok(());
        }
        self.pull.keep_to(&self.consumer, info.limits());
        self.settler.know(info.floor());
        self.lag = info.num_pending;
        self.tell_of_full_consumer(&info);
        self.recovery.hear(PhaseInput::Answered);
        if self.may_be_joined(&info) {
            self.recovery.hear(PhaseInput::MustTakeOver);
        }
        if reason == Some(AskReason::Reconnect) {
            self.check_pin(&info);
            self.settler.acknowledge_again(&self.consumer.settings, &info).await;
            self.read_what_was_lost(info);
            return Ok(());
        }
        if reason == Some(AskReason::NoMessages) {
            let may_deliver = info.num_pending > 0 && info.num_ack_pending < info.max_ack_pending() && !info.paused;
            if may_deliver && self.has_consumer(&info) && self.takes() && self.pull.is_under_way() {
                tracing::warn!(
                    source = self.origin.source,
                    pending = info.num_pending,
                    "server has messages and delivers none, subscribing anew"
                );
                self.recovery.trouble = Some(Instant::now() + TROUBLE);
                // Fails only if the client has ended, which is noticed elsewhere.
                let _ = self.pull.reopen(self.clock.now).await;
            }
            self.read_what_was_lost(info);
        } else if self.is_standby() && info.pinned().is_none() {
            self.read_what_was_lost(info);
        } else {
            self.recovery.info = info;
        }
        Ok(())
    }

    /// Plans to read deliveries that did not arrive, unless they are taken care of elsewhere.
    pub(super) fn read_what_was_lost(&mut self, info: ConsumerInfo) {
        // A client that ends over the first message that it gets never learns its pin. Should another
        // router have it, both read what was delivered, and no more than repeats come of that.
        let is_ours = self.enters(&info) || self.recovery.cuts.suspicious;
        let end = info.delivered.sequence + 1;
        let hole = Purpose::Hole { delivery: info.delivered.delivery };
        let recovery = &mut self.recovery;
        let suspicious = std::mem::take(&mut recovery.cuts.suspicious);
        let is_planned = recovery.readings.iter().any(|reading| reading.end >= end);
        match &mut self.settler.acks {
            AckState::Prefix(prefix) => {
                if is_ours && suspicious && info.floor().sequence < prefix.floor() {
                    // An ack of the last one covers the rest.
                    let (next, end) = (prefix.floor(), prefix.floor() + 1);
                    recovery.plan(Reading { next, end, purpose: Purpose::Forgotten });
                }
                if is_ours && info.delivered.sequence > prefix.seen() && !is_planned {
                    recovery.plan(Reading { next: prefix.seen() + 1, end, purpose: hole });
                }
            }
            AckState::Each(ledger) => {
                let unknown = ledger.unknown();
                if ledger.is_alone() && ledger.may_share(&info) {
                    // The takeover asks the server, which knows.
                    recovery.hear(PhaseInput::MustTakeOver);
                } else if ledger.is_alone() && (unknown.is_empty() || suspicious) {
                    if !unknown.is_empty() && !is_planned {
                        let purpose = Purpose::Unreadable { all: true };
                        recovery.plan(Reading { next: unknown.start, end: unknown.end, purpose });
                    } else if suspicious && info.num_ack_pending > self.intake.open() && !is_planned {
                        let (next, end) = (info.floor().sequence + 1, ledger.seen() + 1);
                        recovery.plan(Reading { next, end, purpose: Purpose::Forgotten });
                    }
                    if info.delivered.sequence > ledger.seen() && !is_planned {
                        recovery.plan(Reading { next: ledger.seen() + 1, end, purpose: hole });
                    }
                } else if suspicious && info.num_ack_pending > self.intake.open() && !is_planned {
                    let purpose = Purpose::Unreadable { all: std::mem::replace(&mut recovery.cuts.in_vain, true) };
                    recovery.plan(Reading { next: info.floor().sequence + 1, end, purpose });
                } else if !recovery.has_readings() {
                    recovery.hear(PhaseInput::MustTakeOver);
                }
            }
        }
        recovery.info = info;
    }

    /// Starts over with another consumer: deliveries of the old one are void, and come again.
    async fn start_over(&mut self, info: ConsumerInfo) {
        self.intake.begin_again(info.first_sequence());
        self.settler.start_over(info.floor(), info.delivered);
        // They come again from the new consumer.
        self.intake.give_deferred_back();
        self.landmark = StreamLandmark::NONE;
        self.recovery.readings.clear();
        self.recovery.hear(PhaseInput::StartedOver);
        // Fails only if the client has ended, which is noticed elsewhere.
        let _ = self.pull.start_over().await;
        self.pull.keep_to(&self.consumer, info.limits());
        self.recovery.info = info.clone();
        self.enter(info);
    }

    /// Handles a stream that was restored from a backup and holds other messages under sequences
    /// already seen.
    pub(super) fn rewind(&mut self) {
        tracing::warn!(
            source = self.origin.source,
            "the stream has gone back in time: beginning again at what is open"
        );
        self.recovery.doubt(AskReason::Rewind);
    }
}

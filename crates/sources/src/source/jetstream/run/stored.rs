//! Messages that are read from the stream: those whose delivery did not arrive, and those that the
//! intake has deferred.

use futures_util::future::try_join_all;

use crate::{
    ack::Outcome,
    event::{Event, Headers},
    nats::{ApiError, DeliveryPosition, RawMessage},
    source::{
        envelope::{self, MalformedMessage},
        jetstream::{
            MessageReceipt,
            consumer::SequencePair,
            messages,
            reading::Purpose,
            run::{JetStreamRun, now, recovery::ErrandReply},
            settle::AckState,
        },
    },
};

impl JetStreamRun {
    /// Begins to read deferred events if one of their keys has room again.
    pub(super) fn read_deferred(&mut self) {
        let sequences: Vec<_> = self.intake.read_deferred().map(|receipt| receipt.sequence).collect();
        if sequences.is_empty() {
            return;
        }
        let consumer = self.consumer.clone();
        self.recovery.errand = Some(Box::pin(async move {
            let (connection, stream) = (&consumer.connection, &consumer.settings.stream);
            let read = |sequence| RawMessage::at(connection, stream, sequence);
            ErrandReply::Deferred(try_join_all(sequences.into_iter().map(read)).await)
        }));
    }

    /// Takes deferred events that were read, in the order in which they came.
    pub(super) async fn resume(&mut self, read: Result<Vec<Option<RawMessage>>, ApiError>) {
        let read = match read {
            Ok(read) => read,
            Err(error @ ApiError::NoPermission(_)) => {
                let source = &self.origin.source;
                tracing::warn!(
                    source, %error, "events can't be left in the stream, they go back to it and lose their order"
                );
                return self.intake.stop_deferring();
            }
            Err(error) => {
                self.intake.stop_reading();
                return self.failed("can't read events that were left in the stream", error.into());
            }
        };
        self.succeeded();
        let mut gone = None;
        for stored in read {
            let Some(receipt) = self.intake.take_read() else { break };
            if let Some(stored) = stored {
                self.resume_one(&stored, receipt);
            } else {
                gone.get_or_insert(receipt.sequence);
                self.intake.metrics().gone.inc();
                self.settler.settle(receipt, Outcome::Done).await;
            }
        }
        if let Some(first) = gone {
            let (source, stream) = (&self.origin.source, &self.consumer.settings.stream);
            tracing::warn!(source, stream, first, "events were deleted from the stream while their keys had no room");
        }
    }

    fn resume_one(&mut self, stored: &RawMessage, receipt: MessageReceipt) {
        let (headers, unreadable) = stored.headers();
        match self.open(stored, headers, unreadable, receipt.attempt) {
            Ok(event) => self.intake.resume(event, receipt),
            Err(refused) => self.refuse(*refused, receipt),
        }
    }

    pub(super) fn refuse(&mut self, (event, malformed): (Event, MalformedMessage), receipt: MessageReceipt) {
        self.intake.refuse(event, receipt, malformed.reason, &malformed.detail);
    }

    /// Makes an event of a stored message. `unreadable` is the reason for which the client can't
    /// read it.
    fn open(
        &self,
        stored: &RawMessage,
        headers: Headers,
        unreadable: Option<&'static str>,
        attempt: u32,
    ) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let message = messages::stored(stored, headers, attempt, (&self.origin, self.settler.fence.is_some()), now());
        match unreadable {
            None => envelope::open(&self.envelope, message),
            Some(reason) => Err(Box::new((message.into_event(), MalformedMessage::unreadable(reason)))),
        }
    }

    /// Takes one message that was read from the stream.
    pub(super) async fn read(&mut self, stored: Option<RawMessage>) {
        let Some(reading) = self.recovery.current_reading() else { return };
        let stored = stored.filter(|stored| stored.sequence < reading.end);
        let purpose = reading.purpose;
        reading.next = stored.as_ref().map_or(reading.end, |stored| stored.sequence + 1);
        let is_over = reading.next >= reading.end;
        let end = reading.end;
        if let Some(stored) = &stored {
            self.take_stored(stored, purpose).await;
        } else if let Purpose::Retry { attempt } = purpose {
            // Deleted from the stream: there is nothing left to try again.
            let receipt = self.receipt_unseen(end - 1, attempt, None);
            self.settler.settle(receipt, Outcome::Done).await;
        }
        if is_over {
            self.recovery.end_reading();
            match (purpose, &self.settler.acks) {
                (Purpose::Hole { delivery }, _) => self.settler.passed(end - 1, delivery),
                // Every unknown message is open or settled here by now.
                (Purpose::Unreadable { all: true }, AckState::Each(ledger)) if ledger.is_alone() => {
                    self.settler.know(SequencePair { sequence: end - 1, delivery: 0 });
                }
                _ => {}
            }
        }
    }

    async fn take_stored(&mut self, stored: &RawMessage, purpose: Purpose) {
        let may_be_settled = matches!(purpose, Purpose::Forgotten | Purpose::Unreadable { .. });
        if may_be_settled && self.settler.has_settled(stored.sequence) {
            return self.acknowledge_forgotten(stored).await;
        }
        let (headers, unreadable) = stored.headers();
        let is_wanted = match purpose {
            Purpose::Hole { .. } => self.settler.enter_lost(stored.sequence),
            Purpose::Unreadable { all } => (all || unreadable.is_some()) && self.settler.enter_read(stored.sequence),
            Purpose::Retry { .. } => true,
            Purpose::Forgotten => false,
        };
        if !is_wanted {
            return;
        }
        self.recovery.cuts.in_vain &= unreadable.is_none();
        self.landmark.pass(stored.sequence, stored.stored_at);
        let attempt = if let Purpose::Retry { attempt } = purpose { attempt } else { 1 };
        let receipt = self.receipt_unseen(stored.sequence, attempt, Some(stored.stored_at));
        match self.open(stored, headers, unreadable, attempt) {
            Ok(event) => self.intake.push(event, receipt),
            Err(refused) => self.refuse(*refused, receipt),
        }
    }

    /// Acknowledges a message that was settled before, unless the stream was restored from a backup
    /// and holds another one there.
    async fn acknowledge_forgotten(&mut self, stored: &RawMessage) {
        if self.landmark.precedes(stored.stored_at) {
            return self.rewind();
        }
        // The lowest number that the server does not take for settled: a higher one would settle
        // deliveries behind it.
        let delivery = self.recovery.info().floor().delivery + 1;
        let position = DeliveryPosition { attempt: 1, sequence: stored.sequence, delivery };
        let settings = &self.consumer.settings;
        self.settler.acknowledge(position.reply(&settings.stream, &settings.durable)).await;
    }

    /// Receipt of a message whose delivery was not seen.
    fn receipt_unseen(&self, sequence: u64, attempt: u32, stored_at: Option<i64>) -> MessageReceipt {
        let position = DeliveryPosition { attempt, sequence, delivery: self.settler.delivery_of(sequence) };
        let settings = &self.consumer.settings;
        self.receipt(position.reply(&settings.stream, &settings.durable), position, stored_at, false)
    }
}

//! Takeover of messages that a consumer has delivered and that were not settled, in the order of
//! the stream.
//!
//! By itself the server redelivers them one `ack_wait` later, behind newer messages. Given back one
//! by one they come at once, in the order in which they were given back and before anything new:
//! exactly what is not settled, whatever lies in between.
//!
//! It is for a consumer without other readers. The server shows them: their pulls wait there, or
//! deliveries and acks move. A lease would be certain, but it takes a bucket, the permissions for
//! it and a wait after each crash; and as each message has an ack of its own, a mistake costs
//! repeats and nothing else.

use std::{collections::HashSet, time::Duration};

use tokio::time::sleep;

use crate::{
    nats::{ApiError, DeliveryPosition},
    source::jetstream::{
        consumer::{ConsumerInfo, DurableConsumer},
        run::{JetStreamRun, phase::PhaseInput},
        settle::{self, AckState},
    },
};

/// Time without movement after which a consumer counts as one without readers.
const LOOK: Duration = Duration::from_millis(300);
/// Number of looks: a server that comes back from a freeze still has pulls and acks of a connection
/// that is dead.
const LOOKS: u32 = 2;
/// Most sequences that are given back: one event that is stuck for long holds the floor, and all
/// behind it may be settled.
const MOST: u64 = 1 << 20;

impl JetStreamRun {
    /// Begins to take over deliveries made before this run.
    pub(super) fn enter(&mut self, info: ConsumerInfo) {
        match &self.settler.acks {
            AckState::Prefix(_) => {
                if self.pull.pin.is_none() {
                    self.intake.metrics().taken_over.inc_by(info.num_ack_pending as u64);
                }
                if !self.has_consumer(&info) {
                    let source = &self.origin.source;
                    tracing::info!(source, "the consumer is pinned to another router: this one waits to take over");
                }
                self.read_what_was_lost(info);
            }
            AckState::Each(_) => self.recovery.hear(PhaseInput::MustTakeOver),
        }
    }
}

/// Takes over the messages that are not `open` here. Returns the consumer's info, and whether it
/// has no other reader.
pub(super) async fn take_over(consumer: DurableConsumer, open: HashSet<u64>) -> Result<(ConsumerInfo, bool), ApiError> {
    let mut before = consumer.info().await?;
    for _ in 0..LOOKS {
        if before.num_waiting == 0 && before.num_ack_pending <= open.len() {
            return Ok((before, true));
        }
        sleep(LOOK).await;
        let info = consumer.info().await?;
        if info.num_waiting == 0 && info.stands_as(&before, open.len()) {
            give_back(&consumer, &info, &open).await?;
            return Ok((info, true));
        }
        before = info;
    }
    Ok((before, false))
}

async fn give_back(consumer: &DurableConsumer, info: &ConsumerInfo, open: &HashSet<u64>) -> Result<(), ApiError> {
    let (settings, client) = (&consumer.settings, consumer.connection.client());
    let (first, last) = (info.floor().sequence + 1, info.delivered.sequence);
    if last.saturating_sub(first) > MOST {
        let (stream, consumer) = (&settings.stream, &settings.durable);
        tracing::warn!(
            stream,
            consumer,
            first,
            last,
            "too much lies behind an open event: the rest comes after `ack_wait`"
        );
        return Ok(());
    }
    // The server would take an older number for settled.
    let reply = |sequence| {
        let position = DeliveryPosition { attempt: 1, sequence, delivery: info.delivered.delivery };
        position.reply(&settings.stream, &settings.durable)
    };
    let failed =
        |error: anyhow::Error| ApiError::Failed(format!("$JS.ACK.{}.{}", settings.stream, settings.durable), error);
    for sequence in (first..=last).filter(|sequence| !open.contains(sequence)) {
        // With a delay it leaves the queue of redeliveries, where it may have the order of an
        // earlier attempt.
        let delayed = settle::nak(settings.ack_wait).into();
        client.publish(reply(sequence), delayed).await.map_err(|error| failed(error.into()))?;
        client.publish(reply(sequence), "-NAK".into()).await.map_err(|error| failed(error.into()))?;
    }
    // Pulls have a queue of their own in the server, so they must not leave before this is
    // answered.
    client.request(reply(last), "+WPI".into()).await.map_err(|error| failed(error.into()))?;
    tracing::info!(
        stream = settings.stream,
        consumer = settings.durable,
        pending = info.num_ack_pending,
        "what was delivered and not settled comes first, in its order"
    );
    Ok(())
}

//! Source that subscribes to core NATS, which keeps nothing. At most once: what is published while
//! the router is away is lost, and what there is no room for is dropped and counted.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{
    Source,
    envelope::{self, MalformedMessage, SourceMessage},
    finite::{self, FiniteInput, InputBatch, ItemReceipt, SettledPosition},
    now,
};
use crate::{
    config,
    event::{Event, Origin},
    health::HealthLevel,
    metrics::SourceMetrics,
    nats::{ConnectError, Connection, LiveMessage, LiveSubscription},
    pipeline::Intake,
    stop::Stop,
};

/// Most messages handed over at once, and their bytes: as many again may wait in the source.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 1 << 20;
/// Interval of the warnings that messages are dropped.
const WARNING: Duration = Duration::from_secs(10);

/// Subscription to core NATS as a source. It survives reconnects.
pub struct CoreNats {
    messages: LiveSubscription,
    opener: MessageOpener,
}

struct MessageOpener {
    envelope: config::EnvelopeFormat,
    origin: Arc<Origin>,
    /// Distinguishes this run from others, which also count from 1.
    run: u64,
}

impl CoreNats {
    /// Subscribes. Messages that wait to be taken hold at most `capacity` bytes.
    ///
    /// # Errors
    /// Returns an error if the connection has ended.
    pub async fn open(
        connection: &Connection,
        source: &config::SourceConfig,
        settings: &config::NatsSource,
        capacity: u64,
    ) -> Result<Self, ConnectError> {
        let patterns: Vec<_> = settings.subjects.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        let messages = connection.subscribe_live(&patterns, settings.queue.as_deref(), capacity).await?;
        let origin = Arc::new(Origin { source: source.name.clone(), stream: "nats".to_owned() });
        let opener = MessageOpener { envelope: source.envelope.clone(), origin, run: fastrand::u64(..) };
        Ok(Self { messages, opener })
    }
}

impl Source for CoreNats {
    type Receipt = ItemReceipt<NumberedMessage>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let (sender, items) = mpsc::channel(1);
        let origin = Arc::clone(&self.opener.origin);
        let metrics = Arc::clone(intake.metrics());
        metrics.connected.set(1);
        let reader = MessageReader {
            source: origin.source.clone(),
            connection: self.messages.connection().clone(),
            messages: self.messages,
            items: sender,
            number: 0,
            metrics,
            dropped: 0,
            warned: None,
        };
        let (ended, ()) = tokio::join!(
            finite::run(&origin.source, self.opener, items, intake, stop.clone()),
            // Ends with the subscription, or once the receiver is dropped.
            reader.read(stop),
        );
        ended
    }
}

/// Message with its number, counted from 1 within this source.
#[derive(Debug)]
pub struct NumberedMessage {
    message: LiveMessage,
    number: u64,
}

/// Mover of messages from the subscription into the source as far as it has room.
struct MessageReader {
    source: String,
    connection: Connection,
    messages: LiveSubscription,
    items: mpsc::Sender<InputBatch<NumberedMessage>>,
    number: u64,
    metrics: Arc<SourceMetrics>,
    /// Dropped messages that are counted already.
    dropped: u64,
    /// Time of the last warning.
    warned: Option<Instant>,
}

impl MessageReader {
    /// Reads until the subscription ends. A drain ends it: what has come is read to its end.
    async fn read(mut self, mut stop: Stop) {
        let (mut is_open, mut drops) = (true, self.messages.drops());
        loop {
            tokio::select! {
                biased;
                // First: a busy subject would otherwise keep the drain from being seen.
                () = stop.draining(), if is_open => {
                    self.messages.unsubscribe();
                    is_open = false;
                }
                () = self.connection.noticed() => {
                    self.show_connection();
                }
                // While the source takes nothing, messages are dropped without one being read.
                Ok(()) = drops.changed() => self.count_dropped(),
                more = hand_on(&self.items, &mut self.messages, &mut self.number) => if !more { break },
            }
        }
        self.count_dropped();
    }

    fn show_connection(&self) {
        let (is_connected, health) = (self.connection.is_connected(), &self.metrics.health);
        self.metrics.connected.set(is_connected.into());
        if is_connected {
            health.recover();
        } else {
            let why = format!("no connection to NATS at {}", self.connection.place());
            health.report(HealthLevel::Down, why, "it is made again by itself; what is published meanwhile is missed");
        }
    }

    fn count_dropped(&mut self) {
        let dropped = self.messages.dropped();
        if dropped == self.dropped {
            return;
        }
        self.metrics.dropped.inc_by(dropped - self.dropped);
        self.dropped = dropped;
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING) {
            self.warned = Some(Instant::now());
            tracing::warn!(source = self.source, dropped, "messages dropped: they come faster than they are taken");
        }
    }
}

/// Hands over one batch; returns whether more may follow. Cancel safe.
async fn hand_on(
    items: &mpsc::Sender<InputBatch<NumberedMessage>>,
    messages: &mut LiveSubscription,
    number: &mut u64,
) -> bool {
    // Reserve first: without a place, messages stay in the subscription's buffer.
    let Ok(place) = items.reserve().await else { return false };
    let Some(first) = messages.next().await else { return false };
    let (mut bytes, mut batch) = (first.payload.len(), vec![first]);
    while batch.len() < BATCH
        && bytes < BATCH_BYTES
        && let Some(message) = messages.try_next()
    {
        bytes += message.payload.len();
        batch.push(message);
    }
    let numbers = *number + 1..;
    *number += batch.len() as u64;
    place.send(Ok(batch
        .into_iter()
        .zip(numbers)
        .map(|(message, number)| NumberedMessage { message, number })
        .collect()));
    true
}

impl FiniteInput for MessageOpener {
    type Item = NumberedMessage;

    const LEAVES_REST: bool = false;

    fn open(&self, item: &NumberedMessage, attempt: u32) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let LiveMessage { subject, headers, payload } = item.message.clone();
        let message = SourceMessage {
            subject: subject.into(),
            headers,
            payload,
            observed_at: now(),
            attempt,
            origin: Arc::clone(&self.origin),
            sequence: item.number,
            incarnation: self.run,
        };
        envelope::open(&self.envelope, message)
    }

    fn position(item: &NumberedMessage) -> SettledPosition {
        SettledPosition { number: item.number, amount: item.number }
    }

    fn advance(&self, _: u64) {}
}

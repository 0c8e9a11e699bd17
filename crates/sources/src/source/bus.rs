//! Source that subscribes to the bus of the embedding program: published envelopes become events.

use std::sync::Arc;

use bytestring::ByteString;
use futures_util::{StreamExt, stream::ReadyChunks};
use tokio::sync::mpsc;

use super::{
    Source,
    envelope::{self, MalformedMessage},
    finite::{self, FiniteInput, InputBatch, ItemReceipt, SettledPosition},
    now,
};
use crate::{
    bus::{Bus, BusClosed, BusSubscription, DropReason, Envelope},
    config,
    event::{Event, Headers, Origin, Uid, identity, traceparent},
    pipeline::Intake,
    stop::Stop,
};

/// Envelopes handed over at once. Twice as many may wait in the source, besides those in the bus'
/// buffer.
const BATCH: usize = 64;

/// Bus subscription as a source; it ends with the bus.
pub struct BusListener {
    subscription: BusSubscription,
    opener: EnvelopeOpener,
}

struct EnvelopeOpener {
    envelope: config::EnvelopeFormat,
    origin: Arc<Origin>,
    /// Distinguishes this run from others, which also count from 1.
    run: u64,
}

impl BusListener {
    /// Subscribes to the bus.
    ///
    /// # Errors
    /// Returns an error if the bus is closed.
    pub fn open(bus: &Bus, source: &config::SourceConfig, settings: &config::BusSource) -> Result<Self, BusClosed> {
        let subscription = bus.subscribe(settings.pattern.clone()).buffer(settings.buffer).policy(settings.policy);
        let origin = Arc::new(Origin { source: source.name.clone(), stream: "bus".to_owned() });
        let opener = EnvelopeOpener { envelope: source.envelope.clone(), origin, run: fastrand::u64(..) };
        Ok(Self { subscription: subscription.open()?, opener })
    }
}

impl Source for BusListener {
    type Receipt = ItemReceipt<NumberedEnvelope>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let (sender, items) = mpsc::channel(1);
        let origin = Arc::clone(&self.opener.origin);
        let reader = EnvelopeReader {
            source: origin.source.clone(),
            envelopes: self.subscription.ready_chunks(BATCH),
            items: sender,
            number: 0,
            dropped: 0,
        };
        let (ended, ()) = tokio::join!(
            finite::run(&origin.source, self.opener, items, intake, stop.clone()),
            // Ends with the subscription, or once the receiver is dropped.
            reader.read(stop),
        );
        ended
    }
}

/// Envelope with its number, counted from 1 within this source.
#[derive(Debug)]
pub struct NumberedEnvelope {
    envelope: Arc<Envelope>,
    number: u64,
}

/// Moves envelopes from the bus into the source as far as it has room.
struct EnvelopeReader {
    source: String,
    envelopes: ReadyChunks<BusSubscription>,
    items: mpsc::Sender<InputBatch<NumberedEnvelope>>,
    number: u64,
    /// Envelopes that the bus had dropped when last checked.
    dropped: u64,
}

impl EnvelopeReader {
    /// Reads until the subscription ends. A drain ends it: the buffer is read to its end, and
    /// nothing new arrives.
    async fn read(mut self, mut stop: Stop) {
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
                // First: a busy bus would otherwise keep the drain from being seen.
                () = stop.draining(), if is_open => {
                    self.envelopes.get_ref().unsubscribe();
                    is_open = false;
                }
                more = self.hand_on() => if !more { break },
            }
        }
        if self.dropped > 0 {
            tracing::warn!(source = self.source, dropped = self.dropped, "the bus has dropped events");
        }
    }

    /// Hands over one batch; returns whether more may follow. Cancel safe.
    async fn hand_on(&mut self) -> bool {
        // Reserve first: without a place, envelopes stay in the bus' buffer.
        let Ok(place) = self.items.reserve().await else { return false };
        let Some(envelopes) = self.envelopes.next().await else { return false };
        let first = self.number + 1;
        self.number += envelopes.len() as u64;
        let items = envelopes.into_iter().zip(first..).map(|(envelope, number)| NumberedEnvelope { envelope, number });
        place.send(Ok(items.collect()));
        let dropped = self.envelopes.get_ref().stats().dropped(DropReason::BufferFull);
        if self.dropped == 0 && dropped > 0 {
            tracing::warn!(source = self.source, dropped, "the bus drops events, the buffer is full");
        }
        self.dropped = dropped;
        true
    }
}

impl FiniteInput for EnvelopeOpener {
    type Item = NumberedEnvelope;

    const LEAVES_REST: bool = false;

    fn open(&self, item: &NumberedEnvelope, attempt: u32) -> Result<Event, Box<(Event, MalformedMessage)>> {
        let NumberedEnvelope { envelope, number } = item;
        let event = Event {
            id: envelope.id.clone(),
            uid: Uid::at(&self.origin, *number, self.run),
            event_type: envelope.subject().clone(),
            subject: envelope.subject().clone(),
            source_time: envelope.time.map(|time| time.to_string().into()),
            observed_at: now(),
            attempt,
            headers: headers(envelope),
            payload: envelope.payload().cloned().unwrap_or_default(),
            origin: Arc::clone(&self.origin),
            sequence: *number,
        };
        envelope::open_event(&self.envelope, event)
    }

    fn position(item: &NumberedEnvelope) -> SettledPosition {
        SettledPosition { number: item.number, amount: item.number }
    }

    fn advance(&self, _: u64) {}
}

/// The envelope's own headers, plus its source and trace context unless a header has them already.
fn headers(envelope: &Envelope) -> Headers {
    let own = &envelope.headers;
    let trace = || traceparent(envelope.trace_id.as_ref()?, envelope.span_id.as_ref()?);
    let more = [("source", envelope.source.clone()), (identity::TRACEPARENT, trace())];
    let more = more.into_iter().filter(|(name, _)| !own.contains_key(*name));
    let more = more.filter_map(|(name, value)| Some((ByteString::from_static(name), value?)));
    own.iter().map(|(name, value)| (name.clone(), value.clone())).chain(more).collect()
}

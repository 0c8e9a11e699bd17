//! The bus of the program that embeds the router: what is published there becomes events.

use std::sync::Arc;

use bytestring::ByteString;
use futures_util::{StreamExt, stream::ReadyChunks};
use tokio::sync::mpsc;

use super::{
    Source,
    envelope::{self, Malformed},
    finite::{self, Batch, Input, Position, Receipt},
    now,
};
use crate::{
    bus::{Bus, Closed, Envelope, Reason, Subscription},
    config,
    event::{Event, Headers, Origin, Uid, identity, traceparent},
    pipeline::Intake,
    stop::Stop,
};

/// Envelopes that are handed over at once. Two times as many may wait in the source, beside those in the bus' buffer.
const BATCH: usize = 64;

/// A subscription as a source. It ends with the bus.
pub struct Listener {
    subscription: Subscription,
    opener: Opener,
}

struct Opener {
    envelope: config::Envelope,
    origin: Arc<Origin>,
    /// Tells this run from others, which count from 1 as well.
    run: u64,
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the bus is closed.
    pub fn open(bus: &Bus, source: &config::Source, settings: &config::BusSource) -> Result<Self, Closed> {
        let subscription = bus.subscribe(settings.pattern.clone()).buffer(settings.buffer).policy(settings.policy);
        let origin = Arc::new(Origin { source: source.name.clone(), stream: "bus".to_owned() });
        let opener = Opener { envelope: source.envelope.clone(), origin, run: fastrand::u64(..) };
        Ok(Self { subscription: subscription.open()?, opener })
    }
}

impl Source for Listener {
    type Receipt = Receipt<Item>;

    async fn run(self, intake: Intake<Self::Receipt>, stop: Stop) -> anyhow::Result<()> {
        let (sender, items) = mpsc::channel(1);
        let origin = Arc::clone(&self.opener.origin);
        let reader = Reader {
            source: origin.source.clone(),
            envelopes: self.subscription.ready_chunks(BATCH),
            items: sender,
            number: 0,
            dropped: 0,
        };
        let (ended, ()) = tokio::join!(
            finite::run(&origin.source, self.opener, items, intake, stop.clone()),
            // Ends with the subscription, or when nobody takes from it any more.
            reader.read(stop),
        );
        ended
    }
}

/// An envelope and its number among those of this source, from 1.
#[derive(Debug)]
pub struct Item {
    envelope: Arc<Envelope>,
    number: u64,
}

/// Takes from the bus what the source has a place for.
struct Reader {
    source: String,
    envelopes: ReadyChunks<Subscription>,
    items: mpsc::Sender<Batch<Item>>,
    number: u64,
    /// By the bus, as far as that was said.
    dropped: u64,
}

impl Reader {
    /// Reads until the subscription ends. A drain ends it: then what is in the buffer is read, and nothing new comes.
    async fn read(mut self, mut stop: Stop) {
        let mut is_open = true;
        loop {
            tokio::select! {
                biased;
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

    /// Says whether there may be more. Cancel safe.
    async fn hand_on(&mut self) -> bool {
        // A place first: what has none stays in the bus' buffer.
        let Ok(place) = self.items.reserve().await else { return false };
        let Some(envelopes) = self.envelopes.next().await else { return false };
        let first = self.number + 1;
        self.number += envelopes.len() as u64;
        let items = envelopes.into_iter().zip(first..).map(|(envelope, number)| Item { envelope, number });
        place.send(Ok(items.collect()));
        let dropped = self.envelopes.get_ref().stats().dropped(Reason::BufferFull);
        if self.dropped == 0 && dropped > 0 {
            tracing::warn!(source = self.source, dropped, "the bus drops events, the buffer is full");
        }
        self.dropped = dropped;
        true
    }
}

impl Input for Opener {
    type Item = Item;

    const LEAVES_REST: bool = false;

    fn open(&self, item: &Item, attempt: u32) -> Result<Event, Box<(Event, Malformed)>> {
        let Item { envelope, number } = item;
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

    fn position(item: &Item) -> Position {
        Position { number: item.number, amount: item.number }
    }

    fn advance(&self, _: u64) {}
}

/// The envelope's own, and what it says beside them of its source and its trace.
fn headers(envelope: &Envelope) -> Headers {
    let own = &envelope.headers;
    let trace = || traceparent(envelope.trace_id.as_ref()?, envelope.span_id.as_ref()?);
    let more = [("source", envelope.source.clone()), (identity::TRACEPARENT, trace())];
    let more = more.into_iter().filter(|(name, _)| !own.contains_key(*name));
    let more = more.filter_map(|(name, value)| Some((ByteString::from_static(name), value?)));
    own.iter().map(|(name, value)| (name.clone(), value.clone())).chain(more).collect()
}

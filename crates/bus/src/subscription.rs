//! The reader's side of a subscription.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::task::coop::poll_proceed;

use super::{
    Bus, BusClosed, BusStats, Envelope, OverflowPolicy,
    hub::BusHub,
    observe::BusCounters,
    queue::SubscriberQueue,
    subscriber::{BusSubscriber, EnvelopePredicate},
};
use crate::event::Pattern;

/// Default number of envelopes that may wait in a subscription's buffer.
pub const DEFAULT_BUFFER: usize = 64;
/// Largest buffer of a subscription (F24).
pub const MAX_BUFFER: usize = 1 << 20;

/// Id of a subscription on one bus; shown as `ms-1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BusSubscriptionId(pub(super) u64);

impl fmt::Display for BusSubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ms-{}", self.0)
    }
}

/// Builder of a subscription (F20).
#[must_use]
pub struct SubscriptionBuilder<'a> {
    bus: &'a Bus,
    pattern: Pattern,
    buffer: usize,
    policy: OverflowPolicy,
    predicate: Option<EnvelopePredicate>,
}

impl<'a> SubscriptionBuilder<'a> {
    pub(super) fn new(bus: &'a Bus, pattern: Pattern) -> Self {
        Self { bus, pattern, buffer: DEFAULT_BUFFER, policy: OverflowPolicy::default(), predicate: None }
    }

    /// Sets how many envelopes may wait to be read: [`DEFAULT_BUFFER`] for 0, and [`MAX_BUFFER`] at
    /// most.
    pub fn buffer(self, envelopes: usize) -> Self {
        Self { buffer: if envelopes == 0 { DEFAULT_BUFFER } else { envelopes.min(MAX_BUFFER) }, ..self }
    }

    /// Sets what happens to an envelope that finds the buffer full.
    pub fn policy(self, policy: OverflowPolicy) -> Self {
        Self { policy, ..self }
    }

    /// Lets in only the envelopes for which `passes` returns true. The publisher calls it after the
    /// pattern has matched, and waits for it.
    pub fn predicate(self, passes: impl Fn(&Envelope) -> bool + Send + Sync + 'static) -> Self {
        Self { predicate: Some(Box::new(passes)), ..self }
    }

    /// Opens the subscription: it gets everything published from now on.
    ///
    /// # Errors
    /// Returns an error if the bus is closed.
    pub fn open(self) -> Result<BusSubscription, BusClosed> {
        let Self { bus, pattern, buffer, policy, predicate } = self;
        let subscriber = bus.hub.routes.add(|id| BusSubscriber {
            id,
            pattern,
            predicate,
            policy,
            queue: SubscriberQueue::new(buffer),
            counters: BusCounters::default(),
        })?;
        Ok(BusSubscription { subscriber, hub: Arc::downgrade(&bus.hub) })
    }
}

/// Published envelopes that fit, in order, as a stream that ends when the subscription or the bus
/// has ended and all is read.
///
/// Dropping it ends the subscription, and drops what was not read.
#[must_use]
pub struct BusSubscription {
    subscriber: Arc<BusSubscriber>,
    hub: Weak<BusHub>,
}

impl BusSubscription {
    /// Returns the id, which no other subscription of the bus ever has.
    pub fn id(&self) -> BusSubscriptionId {
        self.subscriber.id
    }

    /// Returns the next envelope; `None` at the end. Cancel safe.
    pub async fn recv(&mut self) -> Option<Arc<Envelope>> {
        poll_fn(|context| self.poll(context)).await
    }

    /// Ends the subscription like [`Bus::unsubscribe`]. Buffered envelopes can still be read.
    pub fn unsubscribe(&self) {
        if let Some(hub) = self.hub.upgrade() {
            hub.unsubscribe(self.subscriber.id);
        }
    }

    /// Returns the counts of this subscription.
    pub fn stats(&self) -> BusStats {
        self.subscriber.counters.stats()
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Arc<Envelope>>> {
        // Reading without end must not keep others from their turn.
        let turn = ready!(poll_proceed(context));
        let polled = self.subscriber.queue.poll(context);
        if polled.is_ready() {
            turn.made_progress();
        }
        polled
    }
}

impl Stream for BusSubscription {
    type Item = Arc<Envelope>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll(context)
    }
}

impl Drop for BusSubscription {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

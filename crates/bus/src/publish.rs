//! Publishing: an envelope's way to the subscriptions that it fits.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use tokio::task::coop::consume_budget;

use super::{
    Bus, BusClosed, DropReason, Envelope, Observation,
    hub::BusHub,
    observe::BusCounters,
    queue::PushResult,
    subscriber::{BusSubscriber, OfferResult},
};

/// Result of a publish: what became of the envelope at the subscriptions that it fits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishReport {
    /// Subscriptions that have it in their buffer.
    pub delivered: usize,
    /// Subscriptions that lost it, or an earlier envelope for it: their buffer was full, or they
    /// ended meanwhile. What is not in a sample is not counted.
    pub lost: usize,
}

impl Bus {
    /// Publishes an envelope. When this returns it is in the buffer of every subscription that it
    /// fits, or dropped there (F25). It waits only for those whose policy is to block, and goes to
    /// all others first. Envelopes that are published one after another come in this order.
    ///
    /// Cancel safe in this way: a cancelled publish is not in the buffers that it still waits for,
    /// and dropped there as [`DropReason::Cancelled`]; the others have it or, if it had not begun,
    /// none has.
    ///
    /// # Errors
    /// Returns an error if the bus is closed; then no subscription gets the envelope.
    pub async fn publish(&self, envelope: impl Into<Arc<Envelope>>) -> Result<PublishReport, BusClosed> {
        // Publishing without end must not keep others from their turn.
        consume_budget().await;
        let hub = &*self.hub;
        let _inside = hub.enter()?;
        let envelope = Envelope::complete(envelope.into());
        hub.counters.published.fetch_add(1, Relaxed);
        hub.observe(Observation::Published(&envelope));
        let subscribers = hub.routes.of(envelope.subject());
        let report = PublishReport::default();
        let mut delivery = EnvelopeDelivery { hub, envelope: &envelope, full: VecDeque::new(), report };
        for subscriber in subscribers.iter() {
            delivery.offer(subscriber);
        }
        delivery.wait().await;
        Ok(delivery.report)
    }
}

struct EnvelopeDelivery<'a> {
    hub: &'a BusHub,
    envelope: &'a Arc<Envelope>,
    /// Subscriptions without room that the publish waits for.
    full: VecDeque<&'a BusSubscriber>,
    report: PublishReport,
}

impl<'a> EnvelopeDelivery<'a> {
    fn offer(&mut self, subscriber: &'a BusSubscriber) {
        subscriber.counters.published.fetch_add(1, Relaxed);
        match subscriber.offer(self.envelope) {
            OfferResult::Delivered => self.delivered(subscriber),
            OfferResult::Instead(evicted) => {
                self.dropped(subscriber, &evicted, DropReason::BufferFull);
                self.delivered(subscriber);
            }
            OfferResult::Filtered => self.count(subscriber, |counters| &counters.filtered),
            OfferResult::Dropped(reason) => self.dropped(subscriber, self.envelope, reason),
            OfferResult::Full => self.full.push_back(subscriber),
        }
    }

    async fn wait(&mut self) {
        while let Some(subscriber) = self.full.front() {
            let pushed = subscriber.queue.push_when_room(self.envelope).await;
            let Some(subscriber) = self.full.pop_front() else { return };
            match pushed {
                PushResult::Closed => self.dropped(subscriber, self.envelope, DropReason::Closed),
                PushResult::In | PushResult::Instead(_) | PushResult::Full => self.delivered(subscriber),
            }
        }
    }

    fn delivered(&mut self, to: &BusSubscriber) {
        self.report.delivered += 1;
        self.count(to, |counters| &counters.delivered);
        self.hub.observe(Observation::Delivered { envelope: self.envelope, to: to.id });
    }

    fn dropped(&mut self, from: &BusSubscriber, envelope: &Envelope, reason: DropReason) {
        self.report.lost += usize::from(reason != DropReason::Sampled);
        self.count(from, |counters| counters.dropped(reason));
        self.hub.observe(Observation::Dropped { envelope, from: from.id, policy: from.policy, reason });
    }

    fn count(&self, subscriber: &BusSubscriber, counter: impl Fn(&BusCounters) -> &AtomicU64) {
        for counters in [&subscriber.counters, &self.hub.counters] {
            counter(counters).fetch_add(1, Relaxed);
        }
    }
}

impl Drop for EnvelopeDelivery<'_> {
    /// Counts envelopes as cancelled that still wait for room.
    fn drop(&mut self) {
        // An observer that panics once may do so again, and that would end the process.
        let full = if thread::panicking() { VecDeque::new() } else { mem::take(&mut self.full) };
        for subscriber in full {
            self.dropped(subscriber, self.envelope, DropReason::Cancelled);
        }
    }
}

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
    Bus, Closed, Envelope, Observation, Reason,
    hub::Hub,
    observe::Counters,
    queue::Pushed,
    subscriber::{Offered, Subscriber},
};

impl Bus {
    /// Publishes an envelope. When this returns it is in the buffer of every subscription that it
    /// fits, or dropped there (F25). It waits only for those whose policy is to block, and goes to
    /// all others first. Envelopes that are published one after another come in this order.
    ///
    /// Cancel safe in this way: a cancelled publish is not in the buffers that it still waits for,
    /// and dropped there as [`Reason::Cancelled`]; the others have it or, if it had not begun, none
    /// has.
    ///
    /// # Errors
    /// Returns an error if the bus is closed; then no subscription gets the envelope.
    pub async fn publish(&self, envelope: impl Into<Arc<Envelope>>) -> Result<(), Closed> {
        // Publishing without end must not keep others from their turn.
        consume_budget().await;
        let hub = &*self.hub;
        let _inside = hub.enter()?;
        let envelope = Envelope::complete(envelope.into());
        hub.counters.published.fetch_add(1, Relaxed);
        hub.observe(Observation::Published(&envelope));
        let subscribers = hub.routes.of(envelope.subject());
        let mut delivery = Delivery { hub, envelope: &envelope, full: VecDeque::new() };
        for subscriber in subscribers.iter() {
            delivery.offer(subscriber);
        }
        delivery.wait().await;
        Ok(())
    }
}

struct Delivery<'a> {
    hub: &'a Hub,
    envelope: &'a Arc<Envelope>,
    /// Subscriptions without room that the publish waits for.
    full: VecDeque<&'a Subscriber>,
}

impl<'a> Delivery<'a> {
    fn offer(&mut self, subscriber: &'a Subscriber) {
        subscriber.counters.published.fetch_add(1, Relaxed);
        match subscriber.offer(self.envelope) {
            Offered::Delivered => self.delivered(subscriber),
            Offered::Instead(evicted) => {
                self.dropped(subscriber, &evicted, Reason::BufferFull);
                self.delivered(subscriber);
            }
            Offered::Filtered => self.count(subscriber, |counters| &counters.filtered),
            Offered::Dropped(reason) => self.dropped(subscriber, self.envelope, reason),
            Offered::Full => self.full.push_back(subscriber),
        }
    }

    async fn wait(&mut self) {
        while let Some(subscriber) = self.full.front() {
            let pushed = subscriber.queue.push_when_room(self.envelope).await;
            let Some(subscriber) = self.full.pop_front() else { return };
            match pushed {
                Pushed::Closed => self.dropped(subscriber, self.envelope, Reason::Closed),
                Pushed::In | Pushed::Instead(_) | Pushed::Full => self.delivered(subscriber),
            }
        }
    }

    fn delivered(&self, to: &Subscriber) {
        self.count(to, |counters| &counters.delivered);
        self.hub.observe(Observation::Delivered { envelope: self.envelope, to: to.id });
    }

    fn dropped(&self, from: &Subscriber, envelope: &Envelope, reason: Reason) {
        self.count(from, |counters| counters.dropped(reason));
        self.hub.observe(Observation::Dropped { envelope, from: from.id, policy: from.policy, reason });
    }

    fn count(&self, subscriber: &Subscriber, counter: impl Fn(&Counters) -> &AtomicU64) {
        for counters in [&subscriber.counters, &self.hub.counters] {
            counter(counters).fetch_add(1, Relaxed);
        }
    }
}

impl Drop for Delivery<'_> {
    /// Counts envelopes as cancelled that still wait for room.
    fn drop(&mut self) {
        // An observer that panics once may do so again, and that would end the process.
        let full = if thread::panicking() { VecDeque::new() } else { mem::take(&mut self.full) };
        for subscriber in full {
            self.dropped(subscriber, self.envelope, Reason::Cancelled);
        }
    }
}

//! The bus handle and its shutdown.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    BusStats, BusSubscriptionId, Observation, SubscriptionBuilder,
    gate::PublishGate,
    observe::{BusCounters, Observer},
    routes::SubscriberIndex,
};
use crate::event::Pattern;

/// Number of subjects whose subscriptions a bus remembers by default.
const ROUTE_CACHE: usize = 1024;

/// A bus. Clones are the same bus, which ends with the last of them.
///
/// Without subscriptions published envelopes are accepted and go nowhere (F35).
#[derive(Clone)]
pub struct Bus {
    pub(super) hub: Arc<BusHub>,
}

/// Error: the bus is closed and accepts nothing more (F26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is closed")]
pub struct BusClosed;

/// Builder of a bus.
#[must_use]
pub struct BusBuilder {
    route_cache: usize,
    observers: Vec<Observer>,
}

impl BusBuilder {
    /// Sets for how many subjects the bus remembers the matching subscriptions; 1,024 by default, 0
    /// for none.
    pub fn route_cache(self, subjects: usize) -> Self {
        Self { route_cache: subjects, ..self }
    }

    /// Adds an observer, which is called for everything that happens to envelopes. Publishers call
    /// it, several at a time, outside every lock, and wait for it: it should be quick, and may not
    /// use the bus.
    pub fn observer(mut self, observer: impl Fn(Observation<'_>) + Send + Sync + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    /// Creates the bus.
    pub fn build(self) -> Bus {
        let Self { route_cache, observers } = self;
        let hub = BusHub {
            gate: PublishGate::default(),
            routes: SubscriberIndex::new(route_cache),
            observers,
            counters: BusCounters::default(),
            has_ended: watch::Sender::new(false),
        };
        Bus { hub: Arc::new(hub) }
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::builder().build()
    }
}

impl Bus {
    /// Begins a bus with settings of its own.
    pub fn builder() -> BusBuilder {
        BusBuilder { route_cache: ROUTE_CACHE, observers: Vec::new() }
    }

    /// Describes a subscription, which begins when it is opened.
    pub fn subscribe(&self, pattern: Pattern) -> SubscriptionBuilder<'_> {
        SubscriptionBuilder::new(self, pattern)
    }

    /// Ends a subscription: its publishers stop waiting, and its reader reads what is buffered and
    /// then the end. Returns whether there was one; ids are never given twice (C09).
    pub fn unsubscribe(&self, id: BusSubscriptionId) -> bool {
        self.hub.unsubscribe(id)
    }

    /// Returns the number of subscriptions.
    pub fn subscriptions(&self) -> usize {
        self.hub.routes.len()
    }

    /// Returns the counts of the bus, over all subscriptions.
    pub fn stats(&self) -> BusStats {
        self.hub.counters.stats()
    }

    /// Closes the bus. Later publishes and subscriptions fail; publishers that wait for room stop
    /// waiting; envelopes being published still go where there is room. When this returns nothing
    /// is published any more, no observer is called, and readers read what is buffered and then the
    /// end (F33).
    ///
    /// May be called on any handle, and again. Cancel safe: once it has begun, the bus closes all
    /// the same.
    pub async fn close(&self) {
        let hub = &self.hub;
        // Routes close first, so that the caller that ends the bus knows every subscription.
        let subscribers = hub.routes.close();
        let is_empty = hub.gate.shut();
        for subscriber in subscribers {
            subscriber.queue.hurry();
        }
        if is_empty {
            hub.end();
        }
        // An error would mean that the bus is gone.
        let _ = hub.has_ended.subscribe().wait_for(|ended| *ended).await;
    }
}

/// State that all handles and publishers share.
pub(super) struct BusHub {
    gate: PublishGate,
    pub(super) routes: SubscriberIndex,
    observers: Vec<Observer>,
    pub(super) counters: BusCounters,
    has_ended: watch::Sender<bool>,
}

/// A running publish. The last to leave a closed bus ends it.
pub(super) struct RunningPublish<'a>(&'a BusHub);

impl BusHub {
    pub(super) fn enter(&self) -> Result<RunningPublish<'_>, BusClosed> {
        if self.gate.enter() { Ok(RunningPublish(self)) } else { Err(BusClosed) }
    }

    pub(super) fn unsubscribe(&self, id: BusSubscriptionId) -> bool {
        let found = self.routes.remove(id);
        if let Some(subscriber) = &found {
            subscriber.queue.close();
        }
        found.is_some()
    }

    pub(super) fn observe(&self, observation: Observation<'_>) {
        for observer in &self.observers {
            observer(observation);
        }
    }

    /// Ends every subscription, once no publish is running.
    fn end(&self) {
        for subscriber in self.routes.take() {
            subscriber.queue.close();
        }
        self.has_ended.send_replace(true);
    }
}

impl Drop for RunningPublish<'_> {
    fn drop(&mut self) {
        if self.0.gate.leave() {
            self.0.end();
        }
    }
}

impl Drop for BusHub {
    /// Ends the subscriptions. No publish is running, since that takes a handle.
    fn drop(&mut self) {
        self.end();
    }
}

//! The bus and its end.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    Observation, Stats, Subscribe, SubscriptionId,
    gate::Gate,
    observe::{Counters, Observer},
    routes::Routes,
};
use crate::event::Pattern;

/// Subjects whose subscriptions a bus remembers.
const ROUTE_CACHE: usize = 1024;

/// A bus. Clones are the same bus, which ends with the last of them.
///
/// Without subscriptions it takes what is published, and nobody hears of it (F35).
#[derive(Clone)]
pub struct Bus {
    pub(super) hub: Arc<Hub>,
}

/// The bus takes nothing any more (F26).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bus is closed")]
pub struct Closed;

/// A bus in the making.
#[must_use]
pub struct Builder {
    route_cache: usize,
    observers: Vec<Observer>,
}

impl Builder {
    /// For how many subjects the bus remembers which subscriptions they concern; 1,024 by default, 0 for none.
    pub fn route_cache(self, subjects: usize) -> Self {
        Self { route_cache: subjects, ..self }
    }

    /// Calls `observer` for all that happens to envelopes, beside those that were given before. Publishers call it, several
    /// at a time, outside every lock, and wait for it: it should be quick, and may not use the bus.
    pub fn observer(mut self, observer: impl Fn(Observation<'_>) + Send + Sync + 'static) -> Self {
        self.observers.push(Box::new(observer));
        self
    }

    pub fn build(self) -> Bus {
        let Self { route_cache, observers } = self;
        let hub = Hub {
            gate: Gate::default(),
            routes: Routes::new(route_cache),
            observers,
            counters: Counters::default(),
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
    pub fn builder() -> Builder {
        Builder { route_cache: ROUTE_CACHE, observers: Vec::new() }
    }

    /// Describes a subscription, which begins when it is opened.
    pub fn subscribe(&self, pattern: Pattern) -> Subscribe<'_> {
        Subscribe::new(self, pattern)
    }

    /// Ends a subscription: its publishers wait no longer, and its reader reads what is there and then the end. Says
    /// whether there was one; ids are never given twice (C09).
    pub fn unsubscribe(&self, id: SubscriptionId) -> bool {
        self.hub.unsubscribe(id)
    }

    /// How many subscriptions there are.
    pub fn subscriptions(&self) -> usize {
        self.hub.routes.len()
    }

    pub fn stats(&self) -> Stats {
        self.hub.counters.stats()
    }

    /// Ends the bus. Whoever publishes or subscribes from now on is told; whoever waits for room waits no longer; what is
    /// being published still goes where there is room. When this returns nothing is published any more, no observer is
    /// called, and readers read what is there and then the end (F33).
    ///
    /// May be called by anybody, and again. Cancel safe: once it has begun, the bus ends all the same.
    pub async fn close(&self) {
        let hub = &self.hub;
        // No more subscriptions first: whoever ends the bus then knows them all.
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

/// What all handles and publishers share.
pub(super) struct Hub {
    gate: Gate,
    pub(super) routes: Routes,
    observers: Vec<Observer>,
    pub(super) counters: Counters,
    has_ended: watch::Sender<bool>,
}

/// Somebody who publishes. The last to leave a bus that is closed ends it.
pub(super) struct Inside<'a>(&'a Hub);

impl Hub {
    pub(super) fn enter(&self) -> Result<Inside<'_>, Closed> {
        if self.gate.enter() { Ok(Inside(self)) } else { Err(Closed) }
    }

    pub(super) fn unsubscribe(&self, id: SubscriptionId) -> bool {
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

    /// Nobody publishes any more.
    fn end(&self) {
        for subscriber in self.routes.take() {
            subscriber.queue.close();
        }
        self.has_ended.send_replace(true);
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.0.gate.leave() {
            self.0.end();
        }
    }
}

impl Drop for Hub {
    /// Nobody publishes: that takes a handle.
    fn drop(&mut self) {
        self.end();
    }
}

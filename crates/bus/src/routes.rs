//! Index of the subscriptions that a subject concerns.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, PoisonError},
};

use super::{
    BusClosed, BusSubscriptionId,
    subscriber::BusSubscriber,
    sync::{Mutex, MutexGuard},
};

/// All subscriptions, and a cache of those of recently published subjects (F32).
pub(super) struct SubscriberIndex {
    /// Number of subjects that are cached.
    capacity: usize,
    state: Mutex<SubscriberTable>,
}

#[derive(Default)]
struct SubscriberTable {
    is_closed: bool,
    /// Number of the newest subscription.
    last: u64,
    /// Subscriptions in the order in which they were opened.
    subscribers: Vec<Arc<BusSubscriber>>,
    cache: HashMap<Box<str>, Arc<[Arc<BusSubscriber>]>>,
}

impl SubscriberIndex {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    pub(super) fn of(&self, subject: &str) -> Arc<[Arc<BusSubscriber>]> {
        let mut state = self.lock();
        if let Some(found) = state.cache.get(subject) {
            return Arc::clone(found);
        }
        let fits = |subscriber: &&Arc<BusSubscriber>| subscriber.pattern.matches(subject);
        let found: Arc<[_]> = state.subscribers.iter().filter(fits).cloned().collect();
        if self.capacity > 0 {
            if state.cache.len() >= self.capacity {
                state.cache.clear();
            }
            state.cache.insert(subject.into(), Arc::clone(&found));
        }
        found
    }

    /// Adds the subscription that `make` returns for a new id.
    pub(super) fn add(
        &self,
        make: impl FnOnce(BusSubscriptionId) -> BusSubscriber,
    ) -> Result<Arc<BusSubscriber>, BusClosed> {
        let mut state = self.lock();
        if state.is_closed {
            return Err(BusClosed);
        }
        state.last += 1;
        let subscriber = Arc::new(make(BusSubscriptionId(state.last)));
        state.subscribers.push(Arc::clone(&subscriber));
        state.cache.clear();
        Ok(subscriber)
    }

    pub(super) fn remove(&self, id: BusSubscriptionId) -> Option<Arc<BusSubscriber>> {
        let mut state = self.lock();
        let place = state.subscribers.iter().position(|subscriber| subscriber.id == id)?;
        state.cache.clear();
        Some(state.subscribers.remove(place))
    }

    /// Accepts no more subscriptions; the existing ones stay until they are [taken](Self::take).
    pub(super) fn close(&self) -> Vec<Arc<BusSubscriber>> {
        let mut state = self.lock();
        state.is_closed = true;
        state.subscribers.clone()
    }

    pub(super) fn take(&self) -> Vec<Arc<BusSubscriber>> {
        let mut state = self.lock();
        state.cache.clear();
        mem::take(&mut state.subscribers)
    }

    /// Returns the number of subjects that are cached.
    #[cfg(test)]
    pub(super) fn cached(&self) -> usize {
        self.lock().cache.len()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().subscribers.len()
    }

    fn lock(&self) -> MutexGuard<'_, SubscriberTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

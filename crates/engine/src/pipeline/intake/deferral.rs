//! An intake's side of deferred events.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{DeferralCause, Intake};
use crate::{ack::Outcome, event::Event, pipeline::deferred::DeferredEvents, registry::Key};

/// Shortest time between warnings that events are deferred or given back.
const WARNING: Duration = Duration::from_mins(1);
/// Time without deferring after it was denied to read events anew.
const DENIAL: Duration = Duration::from_mins(1);

impl<R: Send + 'static> Intake<R> {
    /// Returns the number of deferred events that are being read, and their bytes.
    pub(super) fn reading(&self) -> (usize, u64) {
        self.deferred.as_ref().map_or((0, 0), DeferredEvents::reading)
    }

    /// Returns whether events may be left with the source. Those that another reader could have are
    /// given back to it.
    pub(super) fn can_defer(&self) -> bool {
        let is_denied = self.denied.is_some_and(|denied| denied.elapsed() < DENIAL);
        self.deferred.is_some() && self.metrics.shared.get() == 0 && !is_denied
    }

    /// Leaves an event with the source whose keys are in `self.keys`.
    pub(super) fn defer(&mut self, event: &Event, receipt: R, cause: &DeferralCause) {
        if let DeferralCause::Share(key) = cause {
            self.tell_of_share(event, key, "its events stay in the stream for now");
        }
        self.note_hidden();
        if let Some(deferred) = &mut self.deferred {
            let keys = self.keys.iter().map(|(key, order)| (&key.name, *order));
            deferred.push(keys, &self.hidden, receipt, event.size());
            self.metrics.deferred.set(deferred.len().try_into().unwrap_or(i64::MAX));
        }
    }

    /// Notes that no event of the hidden keys is to be read before there is another generation.
    fn note_hidden(&mut self) {
        for key in &self.hidden {
            self.hiding.insert(Arc::clone(key), self.snapshot.generation);
        }
    }

    pub(super) fn tell_of_share(&mut self, event: &Event, key: &Key, what: &str) {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNING) {
            self.warned = Some(Instant::now());
            let (source, key) = (&event.origin.source, &key.name);
            tracing::warn!(source, %key, "the key's share of the budget waits already, {what}");
        }
    }

    /// Begins to read deferred events of keys that have room again. Returns their receipts, for
    /// each of which [`Self::take_read`] follows, or one [`Self::stop_reading`].
    pub fn read_deferred(&mut self) -> impl Iterator<Item = &R> {
        self.adopt();
        let (room, free, snapshot) = ((self.room(), self.room_bytes()), self.free(), &self.snapshot);
        let hiding = &self.hiding;
        let able = move |key: &str| {
            let has_room = |key: &Arc<Key>| !key.load.exceeds(free) || !key.load.is_slow();
            hiding.get(key) != Some(&snapshot.generation) && snapshot.key(key).is_none_or(has_room)
        };
        let deferred = self.deferred.as_mut().filter(|deferred| deferred.len() > 0);
        deferred.into_iter().flat_map(move |deferred| deferred.read(able, room))
    }

    /// Returns the receipt of the next event that was being read. With the event it goes to
    /// [`Self::resume`].
    pub fn take_read(&mut self) -> Option<R> {
        let deferred = self.deferred.as_mut()?;
        let receipt = deferred.take_read();
        self.metrics.deferred.set(deferred.len().try_into().unwrap_or(i64::MAX));
        receipt
    }

    /// Takes an event that was deferred, as [`Self::push`] does.
    pub fn resume(&mut self, event: Event, receipt: R) {
        // Later events of its keys are still behind it.
        let _ = self.find_keys(&event, true);
        let Some(deferred) = self.deferred.as_mut().filter(|_| !self.hidden.is_empty()) else {
            return self.accept(event, receipt);
        };
        deferred.put_back(self.keys.iter().map(|(key, order)| (&key.name, *order)), receipt, event.size());
        self.metrics.deferred.set(deferred.len().try_into().unwrap_or(i64::MAX));
        self.note_hidden();
        self.keys.clear();
    }

    /// Returns whether deferred events are being read. There is room for them.
    pub fn is_reading(&self) -> bool {
        self.reading().0 > 0
    }

    /// Returns whether so much is deferred that it is to be read before more is taken, which would
    /// only queue up behind it.
    pub fn is_catching_up(&self) -> bool {
        self.deferred.as_ref().is_some_and(|deferred| deferred.reading().0 > 0 && deferred.len() > self.budget.events)
    }

    /// Ends the reading of deferred events, which failed.
    pub fn stop_reading(&mut self) {
        self.deferred.iter_mut().for_each(DeferredEvents::stop_reading);
    }

    /// Gives all deferred events back to their source.
    pub fn give_deferred_back(&mut self) {
        let deferred = self.deferred.iter_mut().flat_map(DeferredEvents::take_all);
        self.ready.extend(deferred.map(|receipt| (receipt, Outcome::Retry(Duration::ZERO))));
        self.metrics.deferred.set(0);
    }

    /// Gives all deferred events back, and further ones for a while: the source is denied to read
    /// them anew.
    pub fn stop_deferring(&mut self) {
        self.give_deferred_back();
        self.denied = Some(Instant::now());
    }
}

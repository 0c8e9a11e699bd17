//! Open events of a source.

use std::{collections::VecDeque, sync::Arc};

use slab::Slab;
use tokio::time::Instant;

use crate::{event::Uid, metrics::SourceMetrics};

/// Closed events whose arrivals may be kept beyond as many as are open.
const SLACK: usize = 64;

pub(super) struct OpenEvent<R> {
    pub(super) receipt: R,
    pub(super) bytes: u64,
    pub(super) dedup_id: Option<Uid>,
    /// Receipts of repeats that arrived meanwhile and share the outcome.
    pub(super) repeats: Vec<R>,
    pub(super) since: Instant,
}

/// Open events by slot, and in the order in which they came.
pub(super) struct OpenEvents<R> {
    slots: Slab<(u64, OpenEvent<R>)>,
    /// Slots with the numbers of the events that came into them. Of those that are closed, the
    /// first ones are taken off, and the rest once there are too many.
    arrivals: VecDeque<(usize, u64)>,
    /// Number of events so far.
    number: u64,
    metrics: Arc<SourceMetrics>,
}

/// A source that ends leaves nothing open: what was goes back to where it came from.
impl<R> Drop for OpenEvents<R> {
    fn drop(&mut self) {
        self.metrics.in_flight_bytes.set(0);
        self.metrics.oldest.set(None);
    }
}

impl<R> OpenEvents<R> {
    pub(super) fn new(metrics: Arc<SourceMetrics>) -> Self {
        Self { slots: Slab::new(), arrivals: VecDeque::new(), number: 0, metrics }
    }

    /// Returns the slot of the next event.
    pub(super) fn vacant(&self) -> usize {
        self.slots.vacant_key()
    }

    pub(super) fn enter(&mut self, event: OpenEvent<R>) -> usize {
        self.number += 1;
        if self.slots.is_empty() {
            self.metrics.oldest.set(Some(event.since));
        }
        let slot = self.slots.insert((self.number, event));
        self.arrivals.push_back((slot, self.number));
        slot
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut OpenEvent<R>> {
        self.slots.get_mut(slot).map(|(_, event)| event)
    }

    pub(super) fn close(&mut self, slot: usize) -> Option<OpenEvent<R>> {
        let (_, closed) = self.slots.try_remove(slot)?;
        let Self { slots, arrivals, .. } = self;
        let is_open = |(slot, number): &(usize, u64)| slots.get(*slot).is_some_and(|(there, _)| there == number);
        while arrivals.front().is_some_and(|first| !is_open(first)) {
            arrivals.pop_front();
        }
        if arrivals.len() > 2 * slots.len() + SLACK {
            arrivals.retain(is_open);
        }
        Some(closed)
    }

    /// Shows how old the oldest open event is, after some were closed.
    pub(super) fn show_oldest(&self) {
        self.metrics.oldest.set(self.oldest());
    }

    fn oldest(&self) -> Option<Instant> {
        let (slot, _) = self.arrivals.front()?;
        self.slots.get(*slot).map(|(_, event)| event.since)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut OpenEvent<R>> {
        self.slots.iter_mut().map(|(_, (_, event))| event)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event(since: Instant) -> OpenEvent<()> {
        OpenEvent { receipt: (), bytes: 1, dedup_id: None, repeats: Vec::new(), since }
    }

    #[test]
    fn the_oldest_is_known_in_whatever_order_events_end() {
        let (mut open, began) = (OpenEvents::new(Arc::default()), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let slots: Vec<_> = (0..4).map(|second| open.enter(event(at(second)))).collect();
        assert_eq!(open.oldest(), Some(at(0)));
        open.close(slots[1]);
        // In the place of the second.
        assert_eq!(open.enter(event(at(9))), slots[1]);
        open.close(slots[0]);
        assert_eq!(open.oldest(), Some(at(2)));
        for slot in &slots[2..] {
            open.close(*slot);
        }
        assert_eq!(open.oldest(), Some(at(9)));
        open.close(slots[1]);
        assert_eq!(open.oldest(), None);
    }

    #[test]
    fn an_event_that_stays_open_does_not_keep_what_has_ended() {
        let (mut open, began) = (OpenEvents::new(Arc::default()), Instant::now());
        open.enter(event(began));
        for _ in 0..10_000 {
            let slot = open.enter(event(began + Duration::from_secs(1)));
            open.close(slot);
        }
        assert!(open.arrivals.len() <= SLACK + 2);
        assert_eq!(open.oldest(), Some(began));
    }
}

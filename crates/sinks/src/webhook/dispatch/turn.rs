//! The dispatcher's access to the store, on a thread that may block.

use std::{collections::VecDeque, sync::Arc, vec};

use jiff::Timestamp;

use super::{
    recipients::StoreLookup,
    room::{RequestCost, RequestRooms},
};
use crate::{
    config::Webhook,
    webhook::store::{DeliveryAttempt, DeliveryStore, DueDelivery, RequestContent, StoreError},
};

/// One turn: records finished tries, then takes out due deliveries.
#[derive(Debug)]
pub(super) struct StoreTurn {
    /// Not empty afterwards if they could not be recorded.
    pub(super) ended: Vec<DeliveryAttempt>,
    /// Not empty afterwards if the store could not be used.
    pub(super) looks: VecDeque<StoreLookup>,
    pub(super) rooms: RequestRooms,
    pub(super) now: Timestamp,
}

/// Due deliveries of a webhook.
#[derive(Debug)]
pub(super) struct DueRequests {
    pub(super) webhook: Arc<Webhook>,
    pub(super) begin: Vec<(DueDelivery, RequestContent)>,
    /// Time at which the next one is due.
    pub(super) wake: Option<Timestamp>,
    /// Room that the next due delivery needs and did not get.
    pub(super) needs: Option<RequestCost>,
}

/// A lookup for one webhook, in progress.
struct StoreSearch {
    look: StoreLookup,
    due: vec::IntoIter<DueDelivery>,
    found: DueRequests,
}

impl StoreTurn {
    pub(super) fn take(&mut self, store: &DeliveryStore) -> Result<Vec<DueRequests>, StoreError> {
        // Before any lookup: until it is recorded, a finished try looks as if it were due.
        if !self.ended.is_empty() {
            store.record(&self.ended)?;
            self.ended.clear();
        }
        let mut searches = Vec::with_capacity(self.looks.len());
        while let Some(look) = self.looks.pop_front() {
            searches.push(StoreSearch::new(look, store)?);
        }
        // Each webhook gets its first request before any gets a second.
        let mut goes_on = true;
        while goes_on {
            goes_on = false;
            for search in &mut searches {
                goes_on |= search.begin_one(&mut self.rooms, self.now, store)?;
            }
        }
        Ok(searches.into_iter().map(|search| search.found).collect())
    }
}

impl StoreSearch {
    fn new(look: StoreLookup, store: &DeliveryStore) -> Result<Self, StoreError> {
        let mut due = store.due(&look.webhook.name, look.webhook.concurrency)?;
        due.retain(|due| !look.under_way.contains(&due.id));
        let found = DueRequests { webhook: Arc::clone(&look.webhook), begin: Vec::new(), wake: None, needs: None };
        Ok(Self { look, due: due.into_iter(), found })
    }

    /// Takes out the next due delivery. Returns `false` if there is none now.
    fn begin_one(
        &mut self,
        rooms: &mut RequestRooms,
        now: Timestamp,
        store: &DeliveryStore,
    ) -> Result<bool, StoreError> {
        let StoreLookup { under_way, slots, share_is_free, is_prompt, .. } = &mut self.look;
        if under_way.len() + self.found.begin.len() >= *slots || self.found.needs.is_some() {
            return Ok(false);
        }
        let Some(due) = self.due.next() else { return Ok(false) };
        if due.at > now {
            self.found.wake = Some(due.at);
            // The ones behind it are due later still.
            self.due = Vec::new().into_iter();
            return Ok(false);
        }
        let (room, cost) = (rooms.of(*is_prompt), RequestCost::of(due.size, *share_is_free));
        if !room.fits(cost) {
            // Closed, so that requests behind this one don't use up the room it waits for; shares
            // stay free.
            room.close();
            self.found.needs = Some(cost);
            return Ok(false);
        }
        if let Some(message) = store.message(due.id)? {
            room.take(cost);
            *share_is_free = false;
            self.found.begin.push((due, message));
        }
        Ok(true)
    }
}

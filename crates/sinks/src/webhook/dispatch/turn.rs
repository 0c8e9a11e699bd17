//! The dispatcher's access to the store, on a thread that may block.

use std::{collections::VecDeque, sync::Arc, vec};

use jiff::Timestamp;

use super::{
    recipients::Look,
    room::{Cost, Rooms},
};
use crate::{
    config::Webhook,
    webhook::store::{Attempt, Due, Message, Store, StoreError},
};

/// One turn: records finished tries, then takes out due deliveries.
#[derive(Debug)]
pub(super) struct Turn {
    /// Not empty afterwards if they could not be recorded.
    pub(super) ended: Vec<Attempt>,
    /// Not empty afterwards if the store could not be used.
    pub(super) looks: VecDeque<Look>,
    pub(super) rooms: Rooms,
    pub(super) now: Timestamp,
}

/// Due deliveries of a webhook.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) webhook: Arc<Webhook>,
    pub(super) begin: Vec<(Due, Message)>,
    /// Time at which the next one is due.
    pub(super) wake: Option<Timestamp>,
    /// Room that the next due delivery needs and did not get.
    pub(super) needs: Option<Cost>,
}

/// A lookup for one webhook, in progress.
struct Search {
    look: Look,
    due: vec::IntoIter<Due>,
    found: Found,
}

impl Turn {
    pub(super) fn take(&mut self, store: &Store) -> Result<Vec<Found>, StoreError> {
        // Before any lookup: until it is recorded, a finished try looks as if it were due.
        if !self.ended.is_empty() {
            store.record(&self.ended)?;
            self.ended.clear();
        }
        let mut searches = Vec::with_capacity(self.looks.len());
        while let Some(look) = self.looks.pop_front() {
            searches.push(Search::new(look, store)?);
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

impl Search {
    fn new(look: Look, store: &Store) -> Result<Self, StoreError> {
        let mut due = store.due(&look.webhook.name, look.webhook.concurrency)?;
        due.retain(|due| !look.under_way.contains(&due.id));
        let found = Found { webhook: Arc::clone(&look.webhook), begin: Vec::new(), wake: None, needs: None };
        Ok(Self { look, due: due.into_iter(), found })
    }

    /// Takes out the next due delivery. Returns `false` if there is none now.
    fn begin_one(&mut self, rooms: &mut Rooms, now: Timestamp, store: &Store) -> Result<bool, StoreError> {
        let Look { under_way, slots, share_is_free, is_prompt, .. } = &mut self.look;
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
        let (room, cost) = (rooms.of(*is_prompt), Cost::of(due.size, *share_is_free));
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

//! The dispatcher's dealings with the store, on a thread that may block.

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

/// One turn: notes how tries have ended, then takes out what is due.
#[derive(Debug)]
pub(super) struct Turn {
    /// Left over when they could not be noted.
    pub(super) ended: Vec<Attempt>,
    /// Left over when the store could not be used.
    pub(super) looks: VecDeque<Look>,
    pub(super) rooms: Rooms,
    pub(super) now: Timestamp,
}

/// What there is for a webhook.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) webhook: Arc<Webhook>,
    pub(super) begin: Vec<(Due, Message)>,
    /// When the next one is due.
    pub(super) wake: Option<Timestamp>,
    /// What there was no room for, of what is due.
    pub(super) needs: Option<Cost>,
}

/// What is being taken out for a webhook.
struct Search {
    look: Look,
    due: vec::IntoIter<Due>,
    found: Found,
}

impl Turn {
    pub(super) fn take(&mut self, store: &Store) -> Result<Vec<Found>, StoreError> {
        // Before anything is looked for: until it is noted, what has ended looks as if it were due.
        if !self.ended.is_empty() {
            store.record(&self.ended)?;
            self.ended.clear();
        }
        let mut searches = Vec::with_capacity(self.looks.len());
        while let Some(look) = self.looks.pop_front() {
            searches.push(Search::new(look, store)?);
        }
        // Nobody gets a second one before everybody has a first.
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

    /// Takes out the next one, unless there is none now.
    fn begin_one(&mut self, rooms: &mut Rooms, now: Timestamp, store: &Store) -> Result<bool, StoreError> {
        let Look { under_way, slots, share_is_free, is_prompt, .. } = &mut self.look;
        if under_way.len() + self.found.begin.len() >= *slots || self.found.needs.is_some() {
            return Ok(false);
        }
        let Some(due) = self.due.next() else { return Ok(false) };
        if due.at > now {
            self.found.wake = Some(due.at);
            // Those behind it are due later still.
            self.due = Vec::new().into_iter();
            return Ok(false);
        }
        let (room, cost) = (rooms.of(*is_prompt), Cost::of(due.size, *share_is_free));
        if !room.fits(cost) {
            // Those behind have what is left only if they need no more than their share.
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

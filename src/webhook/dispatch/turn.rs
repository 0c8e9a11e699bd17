//! The dispatcher's dealings with the store, on a thread that may block.

use std::{collections::VecDeque, sync::Arc};

use jiff::Timestamp;

use super::recipients::{Look, cost};
use crate::{
    config::Webhook,
    webhook::store::{Attempt, Due, Message, Store, StoreError},
};

/// One turn: notes how tries have ended, then takes out what is due.
#[derive(Debug)]
pub(super) struct Turn {
    /// Left over when they could not be noted.
    pub(super) ended: Vec<Attempt>,
    /// Left over when there was no room for what is due.
    pub(super) looks: VecDeque<Look>,
    /// Bytes that may be taken out.
    pub(super) room: u64,
    pub(super) now: Timestamp,
}

/// What there is for a webhook.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) webhook: Arc<Webhook>,
    pub(super) begin: Vec<(Due, Message)>,
    /// When the next one is due.
    pub(super) wake: Option<Timestamp>,
    /// There was no room for all that is due.
    pub(super) is_cut: bool,
}

impl Turn {
    pub(super) fn take(&mut self, store: &Store) -> Result<Vec<Found>, StoreError> {
        // Before anything is looked for: until it is noted, what has ended looks as if it were due.
        if !self.ended.is_empty() {
            store.record(&self.ended)?;
            self.ended.clear();
        }
        let mut all = Vec::new();
        while let Some(look) = self.looks.pop_front() {
            let found = self.find(&look, store)?;
            let is_cut = found.is_cut;
            all.push(found);
            if is_cut {
                break;
            }
        }
        Ok(all)
    }

    fn find(&mut self, Look { webhook, under_way }: &Look, store: &Store) -> Result<Found, StoreError> {
        let mut found = Found { webhook: Arc::clone(webhook), begin: Vec::new(), wake: None, is_cut: false };
        let pending = store.due(&webhook.name, webhook.concurrency)?;
        for due in pending.into_iter().filter(|due| !under_way.contains(&due.id)) {
            let cost = cost(&due);
            if due.at > self.now {
                found.wake = Some(due.at);
                break;
            }
            if under_way.len() + found.begin.len() == webhook.concurrency {
                break;
            }
            if cost > self.room {
                found.is_cut = true;
                break;
            }
            if let Some(message) = store.message(due.id)? {
                self.room -= cost;
                found.begin.push((due, message));
            }
        }
        Ok(found)
    }
}

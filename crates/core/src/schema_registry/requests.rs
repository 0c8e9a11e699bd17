//! Ids that events wait for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::poison::ignore_poison;

/// Most ids that are asked for, and most whose refusals are kept. Events of others wait until there
/// is room.
const MOST: usize = 1024;
/// Time for which a refusal counts: the schema may be registered later.
const REFUSAL: Duration = Duration::from_mins(1);

/// Ids whose schemas events wait for, and those that the registry refuses. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct SchemaRequests(Arc<SharedRequests>);

#[derive(Debug, Default)]
struct SharedRequests {
    table: Mutex<RequestTable>,
    /// Notified when an id is asked for.
    asked: Notify,
}

#[derive(Debug, Default)]
struct RequestTable {
    /// Ids of the schemas in force.
    known: BTreeSet<u32>,
    wanted: BTreeSet<u32>,
    refused: BTreeMap<u32, RefusedId>,
}

#[derive(Debug)]
struct RefusedId {
    why: String,
    since: Instant,
}

/// Cause for which an event's schema is unknown.
#[derive(Debug, PartialEq, Eq)]
pub enum SchemaGap {
    /// The registry is asked. A new generation of the router's registry brings the answer.
    Awaited,
    /// The registry does not give it, for this reason.
    Refused(String),
}

impl SchemaRequests {
    /// Asks for the schema of an id that an event has.
    pub fn ask(&self, id: u32) -> SchemaGap {
        let mut table = self.lock();
        // The next generation, which has it, is about to come.
        if table.known.contains(&id) {
            return SchemaGap::Awaited;
        }
        if let Some(RefusedId { why, since }) = table.refused.get(&id)
            && since.elapsed() < REFUSAL
        {
            return SchemaGap::Refused(why.clone());
        }
        if table.wanted.len() < MOST && table.wanted.insert(id) {
            self.0.asked.notify_one();
        }
        SchemaGap::Awaited
    }

    /// Returns whether events wait for ids.
    pub fn are_open(&self) -> bool {
        !self.lock().wanted.is_empty()
    }

    /// Notes the ids of all schemas that are about to be in force.
    pub fn note_known(&self, ids: impl Iterator<Item = u32>) {
        let mut table = self.lock();
        table.known = ids.collect();
        let RequestTable { known, wanted, .. } = &mut *table;
        wanted.retain(|id| !known.contains(id));
    }

    /// Notes that the registry does not give the schema of an id.
    pub(super) fn refuse(&self, id: u32, why: String) {
        let mut table = self.lock();
        table.wanted.remove(&id);
        table.refused.retain(|_, refused| refused.since.elapsed() < REFUSAL);
        if table.refused.len() >= MOST {
            table.refused.pop_first();
        }
        table.refused.insert(id, RefusedId { why, since: Instant::now() });
    }

    /// Waits until ids are asked for. Returns them. Cancel safe.
    pub(super) async fn wanted(&self) -> Vec<u32> {
        loop {
            let asked = self.0.asked.notified();
            let wanted: Vec<_> = self.lock().wanted.iter().copied().collect();
            if !wanted.is_empty() {
                return wanted;
            }
            asked.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, RequestTable> {
        ignore_poison(self.0.table.lock())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_counts_for_a_while() {
        let requests = SchemaRequests::default();
        assert_eq!(requests.ask(7), SchemaGap::Awaited);
        assert_eq!(requests.wanted().await, [7]);
        requests.refuse(7, "no".to_owned());
        assert!(!requests.are_open());
        assert_eq!(requests.ask(7), SchemaGap::Refused("no".to_owned()));
        advance(REFUSAL).await;
        assert_eq!(requests.ask(7), SchemaGap::Awaited);
        assert_eq!(requests.wanted().await, [7]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_with_the_next_generation_is_not_asked_for() {
        let requests = SchemaRequests::default();
        requests.ask(7);
        requests.note_known([7].into_iter());
        assert_eq!(requests.ask(7), SchemaGap::Awaited);
        assert!(!requests.are_open());
        // It was dropped from the cache.
        requests.note_known([].into_iter());
        requests.ask(7);
        assert!(requests.are_open());
    }

    #[tokio::test(start_paused = true)]
    async fn the_tables_have_bounds() {
        let requests = SchemaRequests::default();
        for id in 0..5_000 {
            assert_eq!(requests.ask(id), SchemaGap::Awaited);
        }
        assert_eq!(requests.wanted().await.len(), MOST);
        for id in 0..5_000 {
            requests.refuse(id, "no".to_owned());
        }
        assert_eq!(requests.lock().refused.len(), MOST);
    }
}

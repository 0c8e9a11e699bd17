//! Ids of signed requests that were taken, kept for as long as their signatures are valid: a
//! recorded request that is sent again gets the same answer and has no effect.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

use super::refusal::RequestRefusal;
use crate::{
    poison::ignore_poison,
    signature::{AHEAD, TOLERANCE},
};

/// Longest time for which a signature is valid: from `AHEAD` before its timestamp until `TOLERANCE`
/// after it.
const VALID: Duration = TOLERANCE.saturating_add(AHEAD);
/// Most ids known at once.
const MOST: usize = 1_000_000;
/// Time after which to send again while the first is under way, or there is no room.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct SeenRequests {
    /// Random keys: clients cannot construct two ids with the same hash.
    hashes: RandomState,
    state: Mutex<RepeatState>,
}

#[derive(Debug, Default)]
struct RepeatState {
    /// Hashes of ids whose requests are under way.
    under_way: HashSet<u64>,
    taken: HashSet<u64>,
    /// The hashes in `taken`, the oldest first.
    since: VecDeque<(Instant, u64)>,
}

/// Claim of the first request with an id. Dropped without `done`, the id is free again.
#[derive(Debug)]
pub(super) struct RequestClaim {
    repeats: Arc<SeenRequests>,
    hash: u64,
}

impl SeenRequests {
    /// Claims an id; `None` if a request with it was taken.
    ///
    /// # Errors
    /// Returns an error if such a request is under way, or there is no room for another.
    pub(super) fn enter(self: &Arc<Self>, id: &str) -> Result<Option<RequestClaim>, RequestRefusal> {
        let hash = self.hashes.hash_one(id);
        let mut state = self.lock();
        let now = Instant::now();
        while let Some((_, oldest)) = state.since.front().copied().filter(|(since, _)| now - *since > VALID) {
            state.taken.remove(&oldest);
            state.since.pop_front();
        }
        if state.taken.contains(&hash) {
            return Ok(None);
        }
        if state.taken.len() + state.under_way.len() >= MOST {
            return Err(RequestRefusal::later("no_room", "there are too many signed requests to tell repeats", AGAIN));
        }
        if !state.under_way.insert(hash) {
            return Err(RequestRefusal::later("repeat", "a request with this id is being worked on", AGAIN));
        }
        Ok(Some(RequestClaim { repeats: Arc::clone(self), hash }))
    }

    fn lock(&self) -> MutexGuard<'_, RepeatState> {
        ignore_poison(self.state.lock())
    }
}

impl RequestClaim {
    /// Marks the request as taken.
    pub(super) fn done(self) {
        let mut state = self.repeats.lock();
        state.taken.insert(self.hash);
        state.since.push_back((Instant::now(), self.hash));
        drop(state);
    }
}

impl Drop for RequestClaim {
    fn drop(&mut self) {
        self.repeats.lock().under_way.remove(&self.hash);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_id_is_known_for_as_long_as_a_signature_is_valid() {
        let repeats = Arc::<SeenRequests>::default();
        repeats.enter("a").unwrap().unwrap().done();
        advance(VALID).await;
        assert!(repeats.enter("a").unwrap().is_none());
        assert!(repeats.enter("b").unwrap().is_some());
        advance(Duration::from_millis(1)).await;
        repeats.enter("a").unwrap().unwrap().done();
        assert!(repeats.enter("a").unwrap().is_none());
        let state = repeats.lock();
        assert_eq!((state.taken.len(), state.since.len(), state.under_way.len()), (1, 1, 0));
    }

    #[tokio::test]
    async fn what_came_to_nothing_may_be_sent_again() {
        let repeats = Arc::<SeenRequests>::default();
        let first = repeats.enter("a").unwrap().unwrap();
        assert_eq!(repeats.enter("a").unwrap_err().reason, "repeat");
        drop(first);
        repeats.enter("a").unwrap().unwrap().done();
        assert!(repeats.enter("a").unwrap().is_none());
    }
}

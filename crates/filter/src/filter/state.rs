//! The `state` import: a small store in memory, separate for every filter and key. It survives
//! reloads of the filter, not restarts of the router.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::poison::ignore_poison;

const MAX_KEY: usize = 1 << 10;
const MAX_VALUE: usize = 1 << 20;
/// Bytes of all keys and values of one scope, [`OVERHEAD`] included.
const MAX_SCOPE: usize = 64 << 20;
/// Most keys that are listed at once.
const MOST_KEYS: usize = 1_000;
/// Bytes that an entry costs besides its key and value.
const OVERHEAD: usize = 64;

/// Reason why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StateRefusal {
    /// The key, the value or the whole scope passes its limit.
    TooLarge,
    /// `add` on a value that is not a number, or past its range; `swap` of a value that is another.
    Conflict,
}

/// Every scope of the process, by filter and key.
#[derive(Debug, Default)]
pub(super) struct StateStore {
    scopes: Mutex<HashMap<(String, String), Arc<StateScope>>>,
    used: Arc<UsedBytes>,
}

/// Bytes that all scopes hold together.
type UsedBytes = AtomicUsize;

impl StateStore {
    /// Returns the scope of a filter and a key. All scopes together hold no more than `limit`
    /// bytes.
    pub(super) fn scope(&self, filter: &str, key: &str, limit: usize) -> Arc<StateScope> {
        let mut scopes = self.scopes();
        scopes.retain(|_, scope| Arc::strong_count(scope) > 1 || !scope.is_empty());
        let new = || Arc::new(StateScope { entries: Mutex::default(), used: Arc::clone(&self.used), limit });
        Arc::clone(scopes.entry((filter.to_owned(), key.to_owned())).or_insert_with(new))
    }

    /// Drops the scopes of removed keys: `is_there` is called with filter and key. Calls under way
    /// keep theirs to their end.
    pub(super) fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.scopes().retain(|(filter, key), _| is_there(filter, key));
    }

    fn scopes(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<StateScope>>> {
        ignore_poison(self.scopes.lock())
    }
}

/// Values that one filter keeps for one key.
#[derive(Debug)]
pub(super) struct StateScope {
    entries: Mutex<StateEntries>,
    used: Arc<UsedBytes>,
    limit: usize,
}

impl Drop for StateScope {
    fn drop(&mut self) {
        let entries = ignore_poison(self.entries.get_mut());
        self.used.fetch_sub(entries.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct StateEntries {
    values: HashMap<String, StateEntry>,
    bytes: usize,
}

#[derive(Debug)]
struct StateEntry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

impl StateEntry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl StateScope {
    fn is_empty(&self) -> bool {
        self.entries().values.is_empty()
    }

    fn entries(&self) -> MutexGuard<'_, StateEntries> {
        ignore_poison(self.entries.lock())
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let now = Instant::now();
        self.entries().values.get(key).filter(|entry| entry.is_live(now)).map(|entry| entry.value.clone())
    }

    pub(super) fn set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), StateRefusal> {
        let now = Instant::now();
        self.put(&mut self.entries(), key, StateEntry { value, expires: expiry(now, ttl) }, now)
    }

    pub(super) fn delete(&self, key: &str) {
        let freed = self.entries().take(key);
        self.used.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Adds to a decimal number, 0 if absent. Without a `ttl` the number keeps the one it has.
    pub(super) fn add(&self, key: String, delta: i64, ttl: Option<Duration>) -> Result<i64, StateRefusal> {
        let now = Instant::now();
        let mut entries = self.entries();
        let (number, kept) = match entries.values.get(&key).filter(|entry| entry.is_live(now)) {
            Some(entry) => (decimal(&entry.value).ok_or(StateRefusal::Conflict)?, entry.expires),
            None => (0, None),
        };
        let sum = number.checked_add(delta).ok_or(StateRefusal::Conflict)?;
        let expires = if ttl.is_some() { expiry(now, ttl) } else { kept };
        self.put(&mut entries, key, StateEntry { value: sum.to_string().into_bytes(), expires }, now)?;
        Ok(sum)
    }

    /// Sets a value if the present one is `old`, `None` for absent.
    pub(super) fn swap(
        &self,
        key: String,
        old: Option<&[u8]>,
        new: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let now = Instant::now();
        let mut entries = self.entries();
        let present = entries.values.get(&key).filter(|entry| entry.is_live(now)).map(|entry| &*entry.value);
        if present != old {
            return Err(StateRefusal::Conflict);
        }
        self.put(&mut entries, key, StateEntry { value: new, expires: expiry(now, ttl) }, now)
    }

    /// Returns keys that begin with `prefix`, in no order.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let now = Instant::now();
        let entries = self.entries();
        let live = entries.values.iter().filter(|(key, entry)| entry.is_live(now) && key.starts_with(prefix));
        live.map(|(key, _)| key.clone()).take(MOST_KEYS).collect()
    }

    fn put(
        &self,
        entries: &mut StateEntries,
        key: String,
        entry: StateEntry,
        now: Instant,
    ) -> Result<(), StateRefusal> {
        if key.len() > MAX_KEY || entry.value.len() > MAX_VALUE {
            return Err(StateRefusal::TooLarge);
        }
        let size = size(&key, &entry);
        // The size of the value to be replaced is claimed already.
        let has = |entries: &StateEntries| entries.values.get(&key).map_or(0, |old| self::size(&key, old));
        if !self.claim(entries, has(entries), size) {
            let freed = entries.expire(now);
            self.used.fetch_sub(freed, Ordering::Relaxed);
            if !self.claim(entries, has(entries), size) {
                return Err(StateRefusal::TooLarge);
            }
        }
        entries.take(&key);
        entries.bytes += size;
        entries.values.insert(key, entry);
        Ok(())
    }

    /// Claims `size` bytes in place of `freed`, in the scope and among all scopes. Returns whether
    /// they fit.
    fn claim(&self, entries: &StateEntries, freed: usize, size: usize) -> bool {
        let fits = |used: usize| (used - freed + size <= self.limit).then_some(used - freed + size);
        entries.bytes - freed + size <= MAX_SCOPE
            && self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

impl StateEntries {
    /// Removes an entry. Returns its size in bytes.
    fn take(&mut self, key: &str) -> usize {
        let freed = self.values.remove(key).map_or(0, |old| size(key, &old));
        self.bytes -= freed;
        freed
    }

    /// Removes expired entries. Returns their size in bytes.
    fn expire(&mut self, now: Instant) -> usize {
        let before = self.bytes;
        self.values.retain(|_, entry| entry.is_live(now));
        self.bytes = self.values.iter().map(|(key, entry)| size(key, entry)).sum();
        before - self.bytes
    }
}

fn size(key: &str, entry: &StateEntry) -> usize {
    key.len() + entry.value.len() + OVERHEAD
}

/// Time at which an entry expires. A time to live past the clock's range means never.
fn expiry(now: Instant, ttl: Option<Duration>) -> Option<Instant> {
    ttl.and_then(|ttl| now.checked_add(ttl))
}

fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Arc<StateScope> {
        StateStore::default().scope("filter", "key", usize::MAX)
    }

    #[test]
    fn scopes_are_apart_and_outlive_their_users() {
        let store = StateStore::default();
        let scope = |filter, key| store.scope(filter, key, usize::MAX);
        scope("filter", "a").set("n".to_owned(), b"1".to_vec(), None).unwrap();
        assert_eq!(scope("filter", "b").get("n"), None);
        assert_eq!(scope("other", "a").get("n"), None);
        assert_eq!(scope("filter", "a").get("n"), Some(b"1".to_vec()));
        assert_eq!(store.scopes().len(), 1, "empty scopes that nobody holds go");
    }

    #[tokio::test(start_paused = true)]
    async fn values_end_with_their_time_to_live() {
        let scope = scope();
        scope.set("a".to_owned(), b"x".to_vec(), Some(Duration::from_secs(10))).unwrap();
        scope.set("b".to_owned(), b"x".to_vec(), Some(Duration::MAX)).unwrap();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(scope.get("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.get("a"), None);
        assert!(scope.get("b").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn add_counts_and_keeps_the_time_to_live_that_it_was_given() {
        let scope = scope();
        let add = |delta, ttl| scope.add("n".to_owned(), delta, ttl);
        assert_eq!(add(2, Some(Duration::from_secs(10))), Ok(2));
        assert_eq!(add(-5, None), Ok(-3));
        assert_eq!(add(i64::MIN, None), Err(StateRefusal::Conflict));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(add(1, None), Ok(1));
        scope.set("n".to_owned(), b"one".to_vec(), None).unwrap();
        assert_eq!(add(1, None), Err(StateRefusal::Conflict));
        scope.delete("n");
        assert_eq!(add(1, None), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_refused_and_expired_values_make_room() {
        let scope = scope();
        assert_eq!(scope.set("k".repeat(MAX_KEY + 1), vec![], None), Err(StateRefusal::TooLarge));
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE + 1], None), Err(StateRefusal::TooLarge));
        let fill =
            || (0..64).map_while(|n| scope.set(n.to_string(), vec![0; MAX_VALUE], Some(Duration::from_secs(1))).ok());
        assert_eq!(fill().count(), 63);
        assert_eq!(fill().count(), 63, "replacing a value gives its room back first");
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE], None), Err(StateRefusal::TooLarge));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE], None), Ok(()));
        assert_eq!(scope.entries().bytes, 1 + MAX_VALUE + OVERHEAD);
    }

    #[test]
    fn all_scopes_share_one_budget() {
        const LIMIT: usize = 10_000;
        let store = StateStore::default();
        let scope = |key| store.scope("filter", key, LIMIT);
        let (one, other) = (scope("one"), scope("other"));
        let fill =
            |scope: &StateScope| (0..100).map_while(|n| scope.set(format!("{n:02}"), vec![0; 934], None).ok()).count();
        assert_eq!(fill(&one), 10);
        assert_eq!(other.set("k".to_owned(), Vec::new(), None), Err(StateRefusal::TooLarge));
        // Existing values can be replaced, and removed ones make room.
        assert_eq!(one.set("00".to_owned(), vec![1; 934], None), Ok(()));
        one.delete("00");
        assert_eq!(fill(&other), 1);
        // A removed key gives all of its room back, once its last call is over.
        store.retain(|_, key| key != "one");
        assert_eq!(other.set("more".to_owned(), vec![0; 934], None), Err(StateRefusal::TooLarge));
        drop(one);
        assert_eq!(fill(&other), 10);
        assert_eq!(scope("one").get("01"), None);
        drop(other);
        store.retain(|_, _| false);
        assert_eq!(store.used.load(Ordering::Relaxed), 0);
    }

    proptest::proptest! {
        /// For any operations in any number of scopes: the bytes counted are those of the values
        /// present.
        #[test]
        fn what_is_counted_is_what_is_there(
            steps in proptest::collection::vec((0..3_usize, 0..4_u8, 0..5_u8, 0..2_000_usize), 0..100),
        ) {
            let store = StateStore::default();
            let mut scopes: Vec<_> = (0..3).map(|n| store.scope("filter", &n.to_string(), 8_000)).collect();
            for (at, what, name, size) in steps {
                let (scope, name) = (&scopes[at], name.to_string());
                match what {
                    0 => drop(scope.set(name, vec![0; size], None)),
                    1 => scope.delete(&name),
                    2 => drop(scope.add(name, 1, None)),
                    _ => {
                        store.retain(|_, key| key != at.to_string());
                        scopes[at] = store.scope("filter", &at.to_string(), 8_000);
                    }
                }
                let there = |scope: &Arc<StateScope>| {
                    scope.entries().values.iter().map(|(key, entry)| super::size(key, entry)).sum::<usize>()
                };
                let used = store.used.load(Ordering::Relaxed);
                assert_eq!(used, scopes.iter().map(there).sum::<usize>());
                assert!(used <= 8_000);
            }
        }
    }
}

//! Values in memory: they survive reloads of the filter, not the end of the router.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{FullQuota, MAX_KEY, MAX_VALUE, MOST_KEYS, OVERHEAD, ScopeQuotas, StateRefusal, decimal};
use crate::poison::ignore_poison;

/// Every scope of the process, by filter and key.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    scopes: Mutex<HashMap<(String, String), Arc<MemoryScope>>>,
    used: Arc<UsedBytes>,
}

/// Bytes that all scopes hold together.
type UsedBytes = AtomicUsize;

impl MemoryStore {
    /// Returns the scope of a filter and a key.
    pub(super) fn scope(
        &self,
        filter: &str,
        key: &str,
        quotas: ScopeQuotas,
        max_age: Option<Duration>,
    ) -> Arc<MemoryScope> {
        let mut scopes = self.scopes();
        scopes.retain(|_, scope| Arc::strong_count(scope) > 1 || !scope.is_empty());
        let new = || {
            let (entries, used) = (Mutex::default(), Arc::clone(&self.used));
            Arc::new(MemoryScope { entries, used, quotas, max_age })
        };
        Arc::clone(scopes.entry((filter.to_owned(), key.to_owned())).or_insert_with(new))
    }

    /// Drops the scopes of removed keys: `is_there` is called with filter and key. Calls under way
    /// keep theirs to their end.
    pub(super) fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        self.scopes().retain(|(filter, key), _| is_there(filter, key));
    }

    fn scopes(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<MemoryScope>>> {
        ignore_poison(self.scopes.lock())
    }
}

/// The route that writes, and the key that it writes.
pub(super) type WrittenKey<'a> = (&'a Arc<str>, String);

/// Values that one filter keeps for one key.
#[derive(Debug)]
pub(super) struct MemoryScope {
    entries: Mutex<StateEntries>,
    used: Arc<UsedBytes>,
    quotas: ScopeQuotas,
    /// Time after which a value goes that was not written again.
    max_age: Option<Duration>,
}

impl Drop for MemoryScope {
    fn drop(&mut self) {
        let entries = ignore_poison(self.entries.get_mut());
        self.used.fetch_sub(entries.bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct StateEntries {
    values: HashMap<String, StateEntry>,
    bytes: usize,
    /// Bytes of each route, if those have a quota.
    routes: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct StateEntry {
    value: Bytes,
    /// By its time to live.
    expires: Option<Instant>,
    /// By the age that all values may have.
    ages: Option<Instant>,
    /// Route that wrote it, if routes have a quota.
    route: Option<Arc<str>>,
}

impl StateEntry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires) && self.ages.is_none_or(|ages| now < ages)
    }
}

impl MemoryScope {
    fn is_empty(&self) -> bool {
        self.entries().values.is_empty()
    }

    fn entries(&self) -> MutexGuard<'_, StateEntries> {
        ignore_poison(self.entries.lock())
    }

    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        let now = Instant::now();
        self.entries().values.get(key).filter(|entry| entry.is_live(now)).map(|entry| entry.value.clone())
    }

    pub(super) fn set(
        &self,
        (route, key): WrittenKey<'_>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let now = Instant::now();
        self.put(&mut self.entries(), [(key, self.entry(route, value, expiry(now, ttl), now))], now)
    }

    /// Sets all of these values, or none.
    pub(super) fn set_many(
        &self,
        route: &Arc<str>,
        values: HashMap<String, Bytes>,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let now = Instant::now();
        let entry = |(key, value)| (key, self.entry(route, value, expiry(now, ttl), now));
        self.put(&mut self.entries(), values.into_iter().map(entry).collect::<Vec<_>>(), now)
    }

    pub(super) fn delete(&self, key: &str) {
        let freed = self.entries().take(key);
        self.used.fetch_sub(freed, Ordering::Relaxed);
    }

    /// Adds to a decimal number, 0 if absent. Without a `ttl` the number keeps the one it has.
    pub(super) fn add(
        &self,
        (route, key): WrittenKey<'_>,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StateRefusal> {
        let now = Instant::now();
        let mut entries = self.entries();
        let (number, kept) = match entries.values.get(&key).filter(|entry| entry.is_live(now)) {
            Some(entry) => (decimal(&entry.value).ok_or(StateRefusal::Conflict)?, entry.expires),
            None => (0, None),
        };
        let sum = number.checked_add(delta).ok_or(StateRefusal::Conflict)?;
        let expires = if ttl.is_some() { expiry(now, ttl) } else { kept };
        self.put(&mut entries, [(key, self.entry(route, sum.to_string().into(), expires, now))], now)?;
        Ok(sum)
    }

    /// Sets a value if the present one is `old`, `None` for absent.
    pub(super) fn swap(
        &self,
        (route, key): WrittenKey<'_>,
        old: Option<&[u8]>,
        new: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let now = Instant::now();
        let mut entries = self.entries();
        let present = entries.values.get(&key).filter(|entry| entry.is_live(now)).map(|entry| &*entry.value);
        if present != old {
            return Err(StateRefusal::Conflict);
        }
        self.put(&mut entries, [(key, self.entry(route, new, expiry(now, ttl), now))], now)
    }

    /// Returns keys that begin with `prefix`, in no order.
    pub(super) fn keys(&self, prefix: &str) -> Vec<String> {
        let now = Instant::now();
        let entries = self.entries();
        let live = entries.values.iter().filter(|(key, entry)| entry.is_live(now) && key.starts_with(prefix));
        live.map(|(key, _)| key.clone()).take(MOST_KEYS).collect()
    }

    fn entry(&self, route: &Arc<str>, value: Bytes, expires: Option<Instant>, now: Instant) -> StateEntry {
        let route = self.quotas.route.filter(|_| !route.is_empty()).map(|_| Arc::clone(route));
        StateEntry { value, expires, ages: expiry(now, self.max_age), route }
    }

    /// Writes entries of one route, no two of one key.
    fn put<W>(&self, entries: &mut StateEntries, writes: W, now: Instant) -> Result<(), StateRefusal>
    where
        W: AsRef<[(String, StateEntry)]> + IntoIterator<Item = (String, StateEntry)>,
    {
        let is_too_large = |(key, entry): &(String, StateEntry)| key.len() > MAX_KEY || entry.value.len() > MAX_VALUE;
        if writes.as_ref().iter().any(is_too_large) {
            return Err(StateRefusal::TooLarge);
        }
        if self.claim(entries, writes.as_ref()).is_err() {
            let freed = entries.expire(now);
            self.used.fetch_sub(freed, Ordering::Relaxed);
            self.claim(entries, writes.as_ref()).map_err(StateRefusal::Full)?;
        }
        for (key, entry) in writes {
            let size = size(&key, &entry);
            entries.take(&key);
            entries.bytes += size;
            if let Some(route) = &entry.route {
                *entries.routes.entry(Arc::clone(route)).or_default() += size;
            }
            entries.values.insert(key, entry);
        }
        Ok(())
    }

    /// Claims the size of entries in place of those that they replace, in the scope and among all
    /// scopes.
    ///
    /// # Errors
    /// Returns the quota into which they do not fit.
    fn claim(&self, entries: &StateEntries, writes: &[(String, StateEntry)]) -> Result<(), FullQuota> {
        let (mut size, mut freed, mut own) = (0, 0, 0);
        for (key, entry) in writes {
            size += self::size(key, entry);
            if let Some(old) = entries.values.get(key) {
                freed += self::size(key, old);
                own += if old.route == entry.route { self::size(key, old) } else { 0 };
            }
        }
        if entries.bytes - freed + size > self.quotas.key {
            return Err(FullQuota::Key);
        }
        let route = writes.first().and_then(|(_, entry)| entry.route.as_ref());
        if let (Some(route), Some(most)) = (route, self.quotas.route)
            && entries.routes.get(route).copied().unwrap_or_default() - own + size > most
        {
            return Err(FullQuota::Route);
        }
        let fits = |used: usize| (used - freed + size <= self.quotas.total).then_some(used - freed + size);
        let claimed = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        claimed.map(drop).map_err(|_| FullQuota::Total)
    }
}

impl StateEntries {
    /// Removes an entry. Returns its size in bytes.
    fn take(&mut self, key: &str) -> usize {
        let Some(old) = self.values.remove(key) else { return 0 };
        let freed = size(key, &old);
        self.bytes -= freed;
        if let Some(bytes) = old.route.and_then(|route| self.routes.get_mut(&route)) {
            *bytes -= freed;
        }
        freed
    }

    /// Removes expired entries. Returns their size in bytes.
    fn expire(&mut self, now: Instant) -> usize {
        let before = self.bytes;
        self.values.retain(|_, entry| entry.is_live(now));
        self.bytes = self.values.iter().map(|(key, entry)| size(key, entry)).sum();
        self.routes.clear();
        for (key, entry) in &self.values {
            if let Some(route) = &entry.route {
                *self.routes.entry(Arc::clone(route)).or_default() += size(key, entry);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(key: usize, total: usize) -> ScopeQuotas {
        ScopeQuotas { key, route: None, total }
    }

    fn route() -> Arc<str> {
        "route".into()
    }

    fn scope() -> Arc<MemoryScope> {
        MemoryStore::default().scope("filter", "key", quotas(64 << 20, usize::MAX), None)
    }

    #[test]
    fn scopes_are_apart_and_outlive_their_users() {
        let store = MemoryStore::default();
        let scope = |filter, key| store.scope(filter, key, quotas(usize::MAX, usize::MAX), None);
        scope("filter", "a").set((&route(), "n".to_owned()), Bytes::from("1"), None).unwrap();
        assert_eq!(scope("filter", "b").get("n"), None);
        assert_eq!(scope("other", "a").get("n"), None);
        assert_eq!(scope("filter", "a").get("n"), Some(Bytes::from("1")));
        assert_eq!(store.scopes().len(), 1, "empty scopes that nobody holds go");
    }

    #[tokio::test(start_paused = true)]
    async fn values_end_with_their_time_to_live() {
        let scope = scope();
        scope.set((&route(), "a".to_owned()), Bytes::from("x"), Some(Duration::from_secs(10))).unwrap();
        scope.set((&route(), "b".to_owned()), Bytes::from("x"), Some(Duration::MAX)).unwrap();
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(scope.get("a").is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.get("a"), None);
        assert!(scope.get("b").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn add_counts_and_keeps_the_time_to_live_that_it_was_given() {
        let scope = scope();
        let add = |delta, ttl| scope.add((&route(), "n".to_owned()), delta, ttl);
        assert_eq!(add(2, Some(Duration::from_secs(10))), Ok(2));
        assert_eq!(add(-5, None), Ok(-3));
        assert_eq!(add(i64::MIN, None), Err(StateRefusal::Conflict));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(add(1, None), Ok(1));
        scope.set((&route(), "n".to_owned()), Bytes::from("one"), None).unwrap();
        assert_eq!(add(1, None), Err(StateRefusal::Conflict));
        scope.delete("n");
        assert_eq!(add(1, None), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_refused_and_expired_values_make_room() {
        let scope = scope();
        assert_eq!(scope.set((&route(), "k".repeat(MAX_KEY + 1)), Bytes::new(), None), Err(StateRefusal::TooLarge));
        assert_eq!(
            scope.set((&route(), "k".to_owned()), vec![0; MAX_VALUE + 1].into(), None),
            Err(StateRefusal::TooLarge)
        );
        let fill = || {
            (0..64).map_while(|n| {
                scope.set((&route(), n.to_string()), vec![0; MAX_VALUE].into(), Some(Duration::from_secs(1))).ok()
            })
        };
        assert_eq!(fill().count(), 63);
        assert_eq!(fill().count(), 63, "replacing a value gives its room back first");
        assert_eq!(
            scope.set((&route(), "k".to_owned()), vec![0; MAX_VALUE].into(), None),
            Err(StateRefusal::Full(FullQuota::Key))
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.set((&route(), "k".to_owned()), vec![0; MAX_VALUE].into(), None), Ok(()));
        assert_eq!(scope.entries().bytes, 1 + MAX_VALUE + OVERHEAD);
    }

    #[test]
    fn all_scopes_share_one_budget() {
        const LIMIT: usize = 10_000;
        let store = MemoryStore::default();
        let scope = |key| store.scope("filter", key, quotas(usize::MAX, LIMIT), None);
        let (one, other) = (scope("one"), scope("other"));
        let fill = |scope: &MemoryScope| {
            (0..100).map_while(|n| scope.set((&route(), format!("{n:02}")), vec![0; 934].into(), None).ok()).count()
        };
        assert_eq!(fill(&one), 10);
        assert_eq!(
            other.set((&route(), "k".to_owned()), Bytes::new(), None),
            Err(StateRefusal::Full(FullQuota::Total))
        );
        // Existing values can be replaced, and removed ones make room.
        assert_eq!(one.set((&route(), "00".to_owned()), vec![1; 934].into(), None), Ok(()));
        one.delete("00");
        assert_eq!(fill(&other), 1);
        // A removed key gives all of its room back, once its last call is over.
        store.retain(|_, key| key != "one");
        assert_eq!(
            other.set((&route(), "more".to_owned()), vec![0; 934].into(), None),
            Err(StateRefusal::Full(FullQuota::Total))
        );
        drop(one);
        assert_eq!(fill(&other), 10);
        assert_eq!(scope("one").get("01"), None);
        drop(other);
        store.retain(|_, _| false);
        assert_eq!(store.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn each_route_has_its_quota() {
        let quotas = ScopeQuotas { route: Some(2_000), ..quotas(10_000, 10_000) };
        let scope = MemoryStore::default().scope("filter", "key", quotas, None);
        let (one, other) = (Arc::from("one"), Arc::from("other"));
        let set = |route, key: &str, size| scope.set((route, key.to_owned()), vec![0; size].into(), None);
        assert_eq!(set(&one, "a", 1_000), Ok(()));
        assert_eq!(set(&one, "b", 1_000), Err(StateRefusal::Full(FullQuota::Route)));
        assert_eq!(set(&other, "b", 1_000), Ok(()));
        assert_eq!(set(&one, "a", 1_900), Ok(()), "a value is replaced");
        assert_eq!(set(&other, "a", 500), Ok(()), "it is the other's now");
        assert_eq!(set(&one, "c", 1_900), Ok(()));
        scope.delete("c");
        assert_eq!(set(&one, "d", 1_900), Ok(()));
    }

    #[test]
    fn many_values_are_set_as_one_or_not_at_all() {
        const VALUE: usize = 1_000 - OVERHEAD - 1;
        let quotas = ScopeQuotas { route: Some(3_000), ..quotas(4_000, 5_000) };
        let store = MemoryStore::default();
        let scope = store.scope("filter", "key", quotas, None);
        let values = |keys: &str, size| {
            keys.chars().map(|key| (key.to_string(), Bytes::from(vec![0; size]))).collect::<HashMap<_, _>>()
        };
        let set = |route: &str, keys, size| scope.set_many(&route.into(), values(keys, size), None);
        let there = || {
            let mut keys = scope.keys("");
            keys.sort();
            keys.concat()
        };
        assert_eq!(set("one", "ab", VALUE), Ok(()));
        assert_eq!(set("one", "cd", VALUE), Err(StateRefusal::Full(FullQuota::Route)));
        assert_eq!(set("two", "cde", VALUE), Err(StateRefusal::Full(FullQuota::Key)));
        assert_eq!(set("two", "cd", MAX_VALUE + 1), Err(StateRefusal::TooLarge));
        assert_eq!(there(), "ab", "of what does not fit nothing is written");
        assert_eq!(set("one", "abc", VALUE), Ok(()), "what is replaced makes room");
        let other = store.scope("filter", "other", quotas, None);
        assert_eq!(other.set_many(&route(), values("xyz", VALUE), None), Err(StateRefusal::Full(FullQuota::Total)));
        assert_eq!(other.set_many(&route(), values("xy", VALUE), None), Ok(()));
        assert_eq!((there(), store.used.load(Ordering::Relaxed)), ("abc".to_owned(), 5_000));
    }

    #[tokio::test(start_paused = true)]
    async fn values_that_are_not_written_again_go_with_age() {
        let age = Duration::from_secs(10);
        let scope = MemoryStore::default().scope("filter", "key", quotas(1 << 20, 1 << 20), Some(age));
        scope.set((&route(), "a".to_owned()), Bytes::from("x"), Some(age * 2)).unwrap();
        assert_eq!(scope.add((&route(), "n".to_owned()), 1, None), Ok(1));
        tokio::time::advance(age - Duration::from_secs(1)).await;
        assert_eq!(scope.add((&route(), "n".to_owned()), 1, None), Ok(2));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.get("a"), None);
        assert_eq!(scope.add((&route(), "n".to_owned()), 1, None), Ok(3), "a write begins its age anew");
    }

    proptest::proptest! {
        /// For any operations in any number of scopes: the bytes counted are those of the values
        /// present.
        #[test]
        fn what_is_counted_is_what_is_there(
            steps in proptest::collection::vec((0..3_usize, 0..5_u8, 0..5_u8, 0..2_000_usize), 0..100),
        ) {
            let store = MemoryStore::default();
            let scope = |n: usize| store.scope("filter", &n.to_string(), quotas(8_000, 8_000), None);
            let mut scopes: Vec<_> = (0..3).map(scope).collect();
            for (at, what, name, size) in steps {
                let (used_scope, name) = (&scopes[at], name.to_string());
                match what {
                    0 => drop(used_scope.set((&route(), name), vec![0; size].into(), None)),
                    1 => used_scope.delete(&name),
                    2 => drop(used_scope.add((&route(), name), 1, None)),
                    3 => {
                        let pair = [name, "pair".to_owned()].map(|name| (name, vec![0; size].into()));
                        drop(used_scope.set_many(&route(), pair.into(), None));
                    }
                    _ => {
                        store.retain(|_, key| key != at.to_string());
                        scopes[at] = scope(at);
                    }
                }
                let there = |scope: &Arc<MemoryScope>| {
                    scope.entries().values.iter().map(|(key, entry)| super::size(key, entry)).sum::<usize>()
                };
                let used = store.used.load(Ordering::Relaxed);
                assert_eq!(used, scopes.iter().map(there).sum::<usize>());
                assert!(used <= 8_000);
            }
        }
    }
}

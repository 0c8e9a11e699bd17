//! The `state` import: a small store in memory, kept apart for every filter and key. It survives reloads of the filter,
//! not restarts of the router.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

const MAX_KEY: usize = 1 << 10;
const MAX_VALUE: usize = 1 << 20;
/// Bytes of all keys and values of one scope, [`OVERHEAD`] included.
const MAX_SCOPE: usize = 64 << 20;
/// What an entry costs besides its key and value.
const OVERHEAD: usize = 64;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The key, the value or the whole scope passes its limit.
    TooLarge,
    /// `add` on a value that is not a number, or past its range.
    Conflict,
}

/// Every scope of the process.
#[derive(Debug, Default)]
pub(super) struct Store(Mutex<HashMap<(String, String), Arc<Scope>>>);

impl Store {
    pub(super) fn scope(&self, filter: &str, key: &str) -> Arc<Scope> {
        let mut scopes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        scopes.retain(|_, scope| Arc::strong_count(scope) > 1 || !scope.is_empty());
        Arc::clone(scopes.entry((filter.to_owned(), key.to_owned())).or_default())
    }
}

/// What one filter keeps for one key.
#[derive(Debug, Default)]
pub(super) struct Scope(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    values: HashMap<String, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    value: Vec<u8>,
    expires: Option<Instant>,
}

impl Entry {
    fn is_live(&self, now: Instant) -> bool {
        self.expires.is_none_or(|expires| now < expires)
    }
}

impl Scope {
    fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values.is_empty()
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        let now = Instant::now();
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.values.get(key).filter(|entry| entry.is_live(now)).map(|entry| entry.value.clone())
    }

    pub(super) fn set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), Refused> {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.put(key, Entry { value, expires: expiry(now, ttl) }, now)
    }

    pub(super) fn delete(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(key);
    }

    /// Adds to a decimal number, 0 when absent. Without a `ttl` the number keeps the one it has.
    pub(super) fn add(&self, key: String, delta: i64, ttl: Option<Duration>) -> Result<i64, Refused> {
        let now = Instant::now();
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, kept) = match entries.values.get(&key).filter(|entry| entry.is_live(now)) {
            Some(entry) => (decimal(&entry.value).ok_or(Refused::Conflict)?, entry.expires),
            None => (0, None),
        };
        let sum = number.checked_add(delta).ok_or(Refused::Conflict)?;
        let expires = if ttl.is_some() { expiry(now, ttl) } else { kept };
        entries.put(key, Entry { value: sum.to_string().into_bytes(), expires }, now)?;
        Ok(sum)
    }
}

impl Entries {
    fn put(&mut self, key: String, entry: Entry, now: Instant) -> Result<(), Refused> {
        if key.len() > MAX_KEY || entry.value.len() > MAX_VALUE {
            return Err(Refused::TooLarge);
        }
        let size = key.len() + entry.value.len() + OVERHEAD;
        let freed = self.values.get(&key).map_or(0, |old| key.len() + old.value.len() + OVERHEAD);
        if self.bytes - freed + size > MAX_SCOPE {
            self.values.retain(|_, entry| entry.is_live(now));
            self.bytes = self.values.iter().map(|(key, entry)| key.len() + entry.value.len() + OVERHEAD).sum();
            let freed = self.values.get(&key).map_or(0, |old| key.len() + old.value.len() + OVERHEAD);
            if self.bytes - freed + size > MAX_SCOPE {
                return Err(Refused::TooLarge);
            }
        }
        self.take(&key);
        self.bytes += size;
        self.values.insert(key, entry);
        Ok(())
    }

    fn take(&mut self, key: &str) {
        if let Some(old) = self.values.remove(key) {
            self.bytes -= key.len() + old.value.len() + OVERHEAD;
        }
    }
}

/// A time to live so long that it passes the clock's range is none.
fn expiry(now: Instant, ttl: Option<Duration>) -> Option<Instant> {
    ttl.and_then(|ttl| now.checked_add(ttl))
}

fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Arc<Scope> {
        Store::default().scope("filter", "key")
    }

    #[test]
    fn scopes_are_apart_and_outlive_their_users() {
        let store = Store::default();
        store.scope("filter", "a").set("n".to_owned(), b"1".to_vec(), None).unwrap();
        assert_eq!(store.scope("filter", "b").get("n"), None);
        assert_eq!(store.scope("other", "a").get("n"), None);
        assert_eq!(store.scope("filter", "a").get("n"), Some(b"1".to_vec()));
        assert_eq!(store.0.lock().unwrap().len(), 1, "empty scopes that nobody holds go");
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
        assert_eq!(add(i64::MIN, None), Err(Refused::Conflict));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(add(1, None), Ok(1));
        scope.set("n".to_owned(), b"one".to_vec(), None).unwrap();
        assert_eq!(add(1, None), Err(Refused::Conflict));
        scope.delete("n");
        assert_eq!(add(1, None), Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_large_is_refused_and_expired_values_make_room() {
        let scope = scope();
        assert_eq!(scope.set("k".repeat(MAX_KEY + 1), vec![], None), Err(Refused::TooLarge));
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE + 1], None), Err(Refused::TooLarge));
        let fill =
            || (0..64).map_while(|n| scope.set(n.to_string(), vec![0; MAX_VALUE], Some(Duration::from_secs(1))).ok());
        assert_eq!(fill().count(), 63);
        assert_eq!(fill().count(), 63, "replacing a value gives its room back first");
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE], None), Err(Refused::TooLarge));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(scope.set("k".to_owned(), vec![0; MAX_VALUE], None), Ok(()));
        assert_eq!(scope.0.lock().unwrap().bytes, 1 + MAX_VALUE + OVERHEAD);
    }
}

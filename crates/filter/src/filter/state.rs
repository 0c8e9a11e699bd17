//! The `state` import: a small store, separate for every filter and key, in memory or in a bucket
//! that routers share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{error::Violation, sandbox::Sandbox};
use crate::{
    config::{StateConfig, StateKeeping},
    nats::{Connection, StreamError},
    poison::ignore_poison,
};

mod bucket;
mod memory;
mod token;

use bucket::{BucketScope, BucketStore};
use memory::{MemoryScope, MemoryStore};

const MAX_KEY: usize = 1 << 10;
const MAX_VALUE: usize = 1 << 20;
/// Most keys that are listed, read or written at once.
const MOST_KEYS: usize = 1_000;
/// Most bytes of values that are read or written at once.
const MOST_BYTES: usize = 4 << 20;
/// Bytes that an entry costs besides its key and value.
const OVERHEAD: usize = 64;
/// Interval at which a quota that is full is logged.
const AGAIN: Duration = Duration::from_secs(60);

/// Reason why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StateRefusal {
    /// The filter was not granted `state`.
    Denied,
    /// The call has used up its calls to the host.
    Budget,
    /// The key or the value passes its limit, or more was asked for than fits into an answer.
    TooLarge,
    /// A quota has no room left.
    Full(FullQuota),
    /// `add` on a value that is not a number, or past its range; `swap` of a value that is another.
    Conflict,
    /// The bucket can't be reached, for this reason.
    Away(String),
}

/// A quota without room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FullQuota {
    /// That of one key.
    Key,
    /// That of one route.
    Route,
    /// That of all filters and keys together.
    Total,
}

/// Bytes that may be kept.
#[derive(Clone, Copy, Debug)]
struct ScopeQuotas {
    key: usize,
    route: Option<usize>,
    /// Of all scopes in memory.
    total: usize,
}

/// The values of all filters.
#[derive(Debug)]
pub struct StateStore {
    keeping: StoreKind,
    settings: StateConfig,
}

#[derive(Debug)]
enum StoreKind {
    Memory(MemoryStore),
    Bucket(Arc<BucketStore>),
}

impl StateStore {
    /// Creates the store. A bucket is opened by [`Self::open`]; calls before that find it away.
    pub fn new(settings: &StateConfig) -> Arc<Self> {
        let keeping = match &settings.keeping {
            StateKeeping::Memory => StoreKind::Memory(MemoryStore::default()),
            StateKeeping::Nats(bucket) => StoreKind::Bucket(Arc::new(BucketStore::new(&bucket.name))),
        };
        Arc::new(Self { keeping, settings: settings.clone() })
    }

    /// Opens the bucket and makes it if it does not exist, with so many `replicas` unless the
    /// configuration says how many. Without effect on a store in memory.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, does not allow it, or is older than 2.11.
    pub async fn open(&self, connection: Connection, replicas: usize) -> Result<(), StreamError> {
        match (&self.keeping, &self.settings.keeping) {
            (StoreKind::Bucket(store), StateKeeping::Nats(bucket)) => {
                store.open(connection, bucket, self.settings.max_age, replicas).await
            }
            _ => Ok(()),
        }
    }

    /// Returns whether it is a bucket on the server.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.keeping, StoreKind::Bucket(_))
    }

    /// Returns the scope of a filter and a key, for one of its routes. In memory, all scopes
    /// together hold no more than `limit` bytes.
    pub(super) fn scope(&self, filter: &str, (key, route): (&str, &str), limit: usize) -> Arc<StateScope> {
        let StateConfig { key_bytes, route_bytes, max_age, .. } = self.settings;
        let quotas = ScopeQuotas { key: key_bytes, route: route_bytes, total: limit };
        let values = match &self.keeping {
            StoreKind::Memory(store) => ScopeValues::Memory(store.scope(filter, key, quotas, max_age)),
            StoreKind::Bucket(store) => ScopeValues::Bucket(store.scope(filter, key, quotas, max_age)),
        };
        let (filter, key, route) = (filter.into(), key.into(), route.into());
        Arc::new(StateScope { filter, key, route, values, warned: Mutex::default() })
    }

    /// Drops the scopes of removed keys: `is_there` is called with filter and key. Calls under way
    /// keep theirs to their end. A bucket keeps them: another router may have the key.
    pub(super) fn retain(&self, is_there: impl Fn(&str, &str) -> bool) {
        if let StoreKind::Memory(store) = &self.keeping {
            store.retain(is_there);
        }
    }
}

/// Values that one filter keeps for one key.
#[derive(Debug)]
pub(super) struct StateScope {
    filter: Box<str>,
    key: Box<str>,
    /// Route that writes; empty for none.
    route: Arc<str>,
    values: ScopeValues,
    /// When it was logged that a quota is full.
    warned: Mutex<Option<Instant>>,
}

#[derive(Debug)]
enum ScopeValues {
    Memory(Arc<MemoryScope>),
    Bucket(Arc<BucketScope>),
}

/// The calls of the contract. The futures of those to a bucket are boxed, so that calls of a store
/// in memory stay small.
impl StateScope {
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.values, ScopeValues::Bucket(_))
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StateRefusal> {
        match &self.values {
            ScopeValues::Memory(scope) => Ok(scope.get(key)),
            ScopeValues::Bucket(scope) => Box::pin(scope.get(key)).await,
        }
    }

    /// Values of many keys, in their order.
    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StateRefusal> {
        if keys.len() > MOST_KEYS {
            return Err(StateRefusal::TooLarge);
        }
        let values = match &self.values {
            ScopeValues::Memory(scope) => keys.iter().map(|key| scope.get(key)).collect(),
            ScopeValues::Bucket(scope) => Box::pin(scope.get_many(keys)).await?,
        };
        let size: usize = values.iter().flatten().map(Bytes::len).sum();
        if size > MOST_BYTES { Err(StateRefusal::TooLarge) } else { Ok(values) }
    }

    pub(super) async fn set(&self, key: String, value: Vec<u8>, ttl: Option<Duration>) -> Result<(), StateRefusal> {
        self.note(match &self.values {
            ScopeValues::Memory(scope) => scope.set((&self.route, key), value.into(), ttl),
            ScopeValues::Bucket(scope) => Box::pin(scope.set((&*self.route, &*key), value.into(), ttl)).await,
        })
    }

    /// Sets many values; of one key the last. In memory all of them or none.
    pub(super) async fn set_many(
        &self,
        values: Vec<(String, Vec<u8>)>,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let size: usize = values.iter().map(|(_, value)| value.len()).sum();
        if values.len() > MOST_KEYS || size > MOST_BYTES {
            return Err(StateRefusal::TooLarge);
        }
        let values: HashMap<_, _> = values.into_iter().map(|(key, value)| (key, Bytes::from(value))).collect();
        self.note(match &self.values {
            ScopeValues::Memory(scope) => scope.set_many(&self.route, values, ttl),
            ScopeValues::Bucket(scope) => Box::pin(scope.set_many(&self.route, values, ttl)).await,
        })
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StateRefusal> {
        match &self.values {
            ScopeValues::Memory(scope) => {
                scope.delete(key);
                Ok(())
            }
            ScopeValues::Bucket(scope) => Box::pin(scope.delete(key)).await,
        }
    }

    pub(super) async fn delete_many(&self, keys: &[String]) -> Result<(), StateRefusal> {
        if keys.len() > MOST_KEYS {
            return Err(StateRefusal::TooLarge);
        }
        match &self.values {
            ScopeValues::Memory(scope) => {
                keys.iter().for_each(|key| scope.delete(key));
                Ok(())
            }
            ScopeValues::Bucket(scope) => Box::pin(scope.delete_many(keys)).await,
        }
    }

    /// Adds to a decimal number, 0 if absent. Without a `ttl` the number keeps the one it has.
    pub(super) async fn add(&self, key: String, delta: i64, ttl: Option<Duration>) -> Result<i64, StateRefusal> {
        self.note(match &self.values {
            ScopeValues::Memory(scope) => scope.add((&self.route, key), delta, ttl),
            ScopeValues::Bucket(scope) => Box::pin(scope.add((&*self.route, &*key), delta, ttl)).await,
        })
    }

    /// Sets a value if the present one is `old`, `None` for absent.
    pub(super) async fn swap(
        &self,
        key: String,
        old: Option<Vec<u8>>,
        new: Vec<u8>,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        self.note(match &self.values {
            ScopeValues::Memory(scope) => scope.swap((&self.route, key), old.as_deref(), new.into(), ttl),
            ScopeValues::Bucket(scope) => {
                Box::pin(scope.swap((&*self.route, &*key), old.as_deref(), new.into(), ttl)).await
            }
        })
    }

    /// Returns keys that begin with `prefix`, in no order.
    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, StateRefusal> {
        match &self.values {
            ScopeValues::Memory(scope) => Ok(scope.keys(prefix)),
            ScopeValues::Bucket(scope) => Box::pin(scope.keys(prefix)).await,
        }
    }

    /// Logs, once in a while, that a quota is full.
    fn note<T>(&self, answer: Result<T, StateRefusal>) -> Result<T, StateRefusal> {
        if let Err(StateRefusal::Full(quota)) = &answer {
            let mut warned = ignore_poison(self.warned.lock());
            if warned.is_none_or(|warned| warned.elapsed() >= AGAIN) {
                *warned = Some(Instant::now());
                let quota = match (quota, self.is_shared()) {
                    (FullQuota::Key, _) => "`[state] key_bytes`",
                    (FullQuota::Route, _) => "`[state] route_bytes`",
                    (FullQuota::Total, true) => "`[state] max_bytes`",
                    (FullQuota::Total, false) => "`[limits] state`",
                };
                tracing::warn!(
                    filter = &*self.filter,
                    key = &*self.key,
                    route = &*self.route,
                    quota,
                    "the filter's state is full and takes no more: raise the quota, or have the filter give its values \
                     a time to live"
                );
            }
        }
        answer
    }
}

impl Sandbox {
    /// Runs one call of `state` if the budget and the grants allow it. While the bucket is away,
    /// this ends a call about an event, so that the event waits and no guest has to see to it.
    pub(super) async fn state_call<T, E, F>(
        &mut self,
        call: impl FnOnce(Arc<StateScope>) -> F + Send,
    ) -> wasmtime::Result<Result<T, E>>
    where
        E: From<StateRefusal>,
        F: Future<Output = Result<T, StateRefusal>> + Send,
    {
        if !self.host_call()? {
            return Ok(Err(StateRefusal::Budget.into()));
        }
        let Some(scope) = self.granted.state.clone() else { return Ok(Err(StateRefusal::Denied.into())) };
        let answer = if scope.is_shared() {
            let away = |_| Err(StateRefusal::Away("the server did not answer in time".to_owned()));
            Box::pin(tokio::time::timeout_at(self.until, call(scope))).await.unwrap_or_else(away)
        } else {
            call(scope).await
        };
        match answer {
            Err(StateRefusal::Away(why)) if self.is_about_event => Err(Violation::StateAway(why).into()),
            answer => Ok(answer.map_err(E::from)),
        }
    }
}

fn decimal(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

//! Values in a bucket on the server: they outlive the router, and all routers that name the bucket
//! share them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tokio::{runtime::Handle, time::Instant};

use super::{
    FullQuota, MAX_KEY, MAX_VALUE, MOST_KEYS, OVERHEAD, ScopeQuotas, StateRefusal, decimal,
    token::{text, token},
};
use crate::{
    backoff::Backoff,
    config::StateBucket,
    nats::{ApiError, BucketSettings, Connection, StreamError, ValueBucket, ValueTerms, code},
    poison::ignore_poison,
};

/// Waits between two tries of a write that another one overtook, and the number of tries.
const OVERTAKEN: Backoff = Backoff::new(Duration::from_micros(500), Duration::from_millis(50));
const MOST_TRIES: usize = 200;
/// Time after which the size of a scope that is written to is asked for again.
const SURVEY: Duration = Duration::from_secs(10);

/// The bucket, once it is open.
#[derive(Debug)]
pub(super) struct BucketStore {
    name: String,
    opened: OnceLock<OpenBucket>,
    /// True while it is away, which was logged.
    is_away: AtomicBool,
}

#[derive(Debug)]
struct OpenBucket {
    bucket: ValueBucket,
    /// The runtime with sockets.
    runtime: Handle,
}

impl BucketStore {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), opened: OnceLock::new(), is_away: AtomicBool::new(false) }
    }

    pub(super) async fn open(
        &self,
        connection: Connection,
        StateBucket { name, replicas: wanted, max_bytes }: &StateBucket,
        max_age: Option<Duration>,
        replicas: usize,
    ) -> Result<(), StreamError> {
        let (name, replicas, max_bytes) = (name.clone(), wanted.unwrap_or(replicas), *max_bytes);
        let settings = BucketSettings { name, replicas, max_age, max_bytes };
        let bucket = ValueBucket::open(connection, &settings).await?;
        // A second opening finds the same bucket.
        let _ = self.opened.set(OpenBucket { bucket, runtime: Handle::current() });
        Ok(())
    }

    pub(super) fn scope(
        self: &Arc<Self>,
        filter: &str,
        key: &str,
        quotas: ScopeQuotas,
        max_age: Option<Duration>,
    ) -> Arc<BucketScope> {
        Arc::new(BucketScope {
            store: Arc::clone(self),
            prefix: format!("{}.{}", token(filter), token(key)),
            quotas,
            max_age,
            sizes: Mutex::default(),
            surveyed: Mutex::default(),
        })
    }

    fn bucket(&self) -> Result<&ValueBucket, StateRefusal> {
        match self.opened.get() {
            None => Err(self.away("it is not open yet".to_owned())),
            Some(open) if !open.bucket.is_connected() => Err(self.away("the server is away".to_owned())),
            Some(open) => Ok(&open.bucket),
        }
    }

    fn away(&self, why: String) -> StateRefusal {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(bucket = self.name, why, "the bucket of `[state]` is away: events that need it wait");
        }
        StateRefusal::Away(format!("the bucket `{}` of `[state]` is away: {why}", self.name))
    }

    /// Takes the answer of the server.
    fn answer<T>(&self, answer: Result<T, ApiError>) -> Result<T, StateRefusal> {
        match answer {
            Ok(answer) => {
                if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(bucket = self.name, "the bucket of `[state]` is back");
                }
                Ok(answer)
            }
            Err(ApiError::TooLarge(..)) => Err(StateRefusal::TooLarge),
            Err(ApiError::Refused { code: code::MESSAGE_EXCEEDS_MAXIMUM | code::HEADER_EXCEEDS_MAXIMUM, .. }) => {
                Err(StateRefusal::TooLarge)
            }
            Err(ApiError::Refused { code: code::STORE_FAILED, description })
                if description.contains("maximum bytes") =>
            {
                Err(StateRefusal::Full(FullQuota::Total))
            }
            Err(error) => Err(self.away(format!("{:#}", anyhow::Error::from(error)))),
        }
    }
}

/// The route that writes, and the key that it writes.
pub(super) type WrittenKey<'a> = (&'a str, &'a str);

/// Values that one filter keeps for one key.
#[derive(Debug)]
pub(super) struct BucketScope {
    store: Arc<BucketStore>,
    /// Of its keys in the bucket.
    prefix: String,
    quotas: ScopeQuotas,
    max_age: Option<Duration>,
    /// Bytes of each route at the last survey.
    sizes: Mutex<HashMap<String, u64>>,
    /// When its size was asked for.
    surveyed: Mutex<Option<Instant>>,
}

impl BucketScope {
    pub(super) async fn get(&self, key: &str) -> Result<Option<Bytes>, StateRefusal> {
        let Some(name) = self.name(key) else { return Ok(None) };
        Ok(self.store.answer(self.store.bucket()?.get(&name).await)?.value)
    }

    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, StateRefusal> {
        let names: Option<Vec<_>> = keys.iter().map(|key| self.name(key)).collect();
        let names = names.ok_or(StateRefusal::TooLarge)?;
        self.store.answer(self.store.bucket()?.get_many(&names).await)
    }

    pub(super) async fn set(
        self: &Arc<Self>,
        (route, key): WrittenKey<'_>,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        self.check_room(route)?;
        self.put((route, key), value, self.expiry(ttl), None).await.map(drop)
    }

    /// Sets each value for itself: when one is refused, others may be set.
    pub(super) async fn set_many(
        self: &Arc<Self>,
        route: &str,
        values: HashMap<String, Bytes>,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        self.check_room(route)?;
        let named = values.into_iter().map(|(key, value)| Some((self.name(&key)?, value)));
        let named =
            named.collect::<Option<Vec<_>>>().filter(|all| all.iter().all(|(_, value)| value.len() <= MAX_VALUE));
        let named = named.ok_or(StateRefusal::TooLarge)?;
        self.survey();
        let terms = ValueTerms { owner: route, expires: self.expiry(ttl), after: None };
        self.store.answer(self.store.bucket()?.put_many(named, terms).await)
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), StateRefusal> {
        let Some(name) = self.name(key) else { return Ok(()) };
        self.store.answer(self.store.bucket()?.delete(&name).await)
    }

    pub(super) async fn delete_many(&self, keys: &[String]) -> Result<(), StateRefusal> {
        // A key that is too long has no value.
        let names: Vec<_> = keys.iter().filter_map(|key| self.name(key)).collect();
        self.store.answer(self.store.bucket()?.delete_many(&names).await)
    }

    /// Adds to a decimal number, by writes that fail if another one came in between.
    pub(super) async fn add(
        self: &Arc<Self>,
        (route, key): WrittenKey<'_>,
        delta: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StateRefusal> {
        let name = self.name(key).ok_or(StateRefusal::TooLarge)?;
        let mut overtaken = OVERTAKEN;
        for _ in 0..MOST_TRIES {
            let found = self.store.answer(self.store.bucket()?.get(&name).await)?;
            let number = match &found.value {
                Some(value) => decimal(value).ok_or(StateRefusal::Conflict)?,
                None => {
                    self.check_room(route)?;
                    0
                }
            };
            let sum = number.checked_add(delta).ok_or(StateRefusal::Conflict)?;
            let expires = if ttl.is_some() { self.expiry(ttl) } else { found.expires };
            if self.put((route, key), sum.to_string().into(), expires, Some(found.revision)).await? {
                return Ok(sum);
            }
            tokio::time::sleep(overtaken.next_wait()).await;
        }
        Err(StateRefusal::Away(format!("`increment` was overtaken {MOST_TRIES} times by other writes of its key")))
    }

    pub(super) async fn swap(
        self: &Arc<Self>,
        (route, key): WrittenKey<'_>,
        old: Option<&[u8]>,
        new: Bytes,
        ttl: Option<Duration>,
    ) -> Result<(), StateRefusal> {
        let name = self.name(key).ok_or(StateRefusal::TooLarge)?;
        let found = self.store.answer(self.store.bucket()?.get(&name).await)?;
        if found.value.as_deref() != old {
            return Err(StateRefusal::Conflict);
        }
        if old.is_none() {
            self.check_room(route)?;
        }
        match self.put((route, key), new, self.expiry(ttl), Some(found.revision)).await? {
            true => Ok(()),
            false => Err(StateRefusal::Conflict),
        }
    }

    pub(super) async fn keys(&self, prefix: &str) -> Result<Vec<String>, StateRefusal> {
        let mut keys = Vec::new();
        let each = |token: &str| {
            keys.extend(text(token).filter(|key| key.starts_with(prefix)));
            keys.len() < MOST_KEYS
        };
        self.store.answer(self.store.bucket()?.keys(&self.prefix, each).await)?;
        Ok(keys)
    }

    /// Name of a key's entry in the bucket. `None` if the key is too long to have one.
    fn name(&self, key: &str) -> Option<String> {
        (key.len() <= MAX_KEY).then(|| format!("{}.{}", self.prefix, token(key)))
    }

    async fn put(
        self: &Arc<Self>,
        (route, key): WrittenKey<'_>,
        value: Bytes,
        expires: Option<u64>,
        after: Option<u64>,
    ) -> Result<bool, StateRefusal> {
        let Some(name) = self.name(key).filter(|_| value.len() <= MAX_VALUE) else {
            return Err(StateRefusal::TooLarge);
        };
        self.survey();
        self.store.answer(self.store.bucket()?.put(&name, value, ValueTerms { owner: route, expires, after }).await)
    }

    /// Time at which a value with this time to live expires, in Unix milliseconds. A time past the
    /// clock's range means never.
    fn expiry(&self, ttl: Option<Duration>) -> Option<u64> {
        let ttl = match (ttl?, self.max_age) {
            (ttl, Some(most)) => ttl.min(most),
            (ttl, None) => ttl,
        };
        let expires = SystemTime::now().checked_add(ttl)?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        u64::try_from(expires.as_millis()).ok().filter(|expires| *expires < FOREVER)
    }

    /// Checks that there was room for new keys at the last survey.
    fn check_room(&self, route: &str) -> Result<(), StateRefusal> {
        let sizes = ignore_poison(self.sizes.lock());
        if sizes.values().sum::<u64>() >= self.quotas.key as u64 {
            return Err(StateRefusal::Full(FullQuota::Key));
        }
        let own = sizes.get(route).filter(|_| !route.is_empty());
        if own.zip(self.quotas.route).is_some_and(|(own, most)| *own >= most as u64) {
            return Err(StateRefusal::Full(FullQuota::Route));
        }
        Ok(())
    }

    /// Asks for the size of the scope, beside the calls, if that was a while ago: others write to
    /// it, and values expire, so that only the server knows it.
    fn survey(self: &Arc<Self>) {
        {
            let mut surveyed = ignore_poison(self.surveyed.lock());
            if surveyed.is_some_and(|at| at.elapsed() < SURVEY) {
                return;
            }
            *surveyed = Some(Instant::now());
        }
        let (scope, Some(open)) = (Arc::downgrade(self), self.store.opened.get()) else { return };
        let (bucket, prefix) = (open.bucket.clone(), self.prefix.clone());
        open.runtime.spawn(async move {
            let sizes = bucket.sizes(&prefix, OVERHEAD as u64).await;
            let Some(scope) = scope.upgrade() else { return };
            match sizes {
                Ok(sizes) => *ignore_poison(scope.sizes.lock()) = sizes,
                Err(error) => tracing::debug!(error = format!("{error:#}"), prefix, "the size of a state is not known"),
            }
            *ignore_poison(scope.surveyed.lock()) = Some(Instant::now());
        });
    }
}

/// The year 2200 in Unix milliseconds: a value that expires later stays.
const FOREVER: u64 = 7_258_118_400_000;

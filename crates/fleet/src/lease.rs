//! Lease of a replica, which shows that it is alive. Each keeps an entry of its own in the bucket
//! and renews it. No clock is compared with another's: a replica is dead if its entry has not
//! changed for the time of the lease on the observer's clock, and the observer could then delete
//! the entry. So a replica that was taken for dead learns this at its next renewal.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use serde_json::Value;
use trommel_nats::{ApiError, Bucket};

use crate::{fence::boot_time, poison::ignore_poison};

/// This replica's lease, and what it has seen of the others'.
#[derive(Debug)]
pub struct Lease {
    /// First token of the entries' keys.
    kind: &'static str,
    expiry: Duration,
    own: Mutex<OwnLease>,
    /// The other replicas' entries.
    seen: Mutex<HashMap<String, LeaseSighting>>,
}

#[derive(Clone, Debug)]
struct OwnLease {
    replica: String,
    revision: u64,
}

/// Revision of a replica's entry, and the time since which the observer knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseSighting {
    pub(crate) revision: u64,
    pub(crate) since: Duration,
}

impl LeaseSighting {
    /// Notes a revision. Returns whether it is a new one.
    pub(crate) fn see(&mut self, revision: u64, now: Duration) -> bool {
        let is_new = self.revision != revision;
        if is_new {
            *self = Self { revision, since: now };
        }
        is_new
    }
}

impl Lease {
    /// Takes part under an unused name.
    ///
    /// # Errors
    /// Returns an error if the server does not take the entry.
    pub async fn open(bucket: &Bucket, kind: &'static str, entry: &Value, expiry: Duration) -> anyhow::Result<Self> {
        let own = register(bucket, kind, entry).await?;
        Ok(Self { kind, expiry, own: Mutex::new(own), seen: Mutex::default() })
    }

    /// Returns the current name of this replica.
    pub fn replica(&self) -> String {
        self.own().replica
    }

    /// Renews the lease. Returns whether it was kept. Otherwise others took this replica for dead,
    /// may have done its work already, and it takes part under a new name.
    ///
    /// # Errors
    /// Returns an error if the server does not answer; the lease may be renewed then.
    pub async fn renew(&self, bucket: &Bucket, entry: &Value) -> anyhow::Result<bool> {
        let own = self.own();
        let key = self.key(&own.replica);
        let mut revision = bucket.put_fleeting(&key, entry, own.revision).await?;
        if revision.is_none() {
            // Perhaps only the answer to the last renewal was lost.
            let found = bucket.get(&key).await?;
            if found.value.is_some() {
                revision = bucket.put_fleeting(&key, entry, found.revision).await?;
            }
        }
        let kept = revision.is_some();
        let own = match revision {
            Some(revision) => OwnLease { revision, ..own },
            None => register(bucket, self.kind, entry).await?,
        };
        *ignore_poison(self.own.lock()) = own;
        Ok(kept)
    }

    /// Returns whether a replica is dead. Must be called again and again, as it looks for an entry
    /// that does not change.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn is_gone(&self, bucket: &Bucket, replica: &str) -> Result<bool, ApiError> {
        let key = self.key(replica);
        let found = bucket.get(&key).await?;
        let now = boot_time();
        let since = {
            let mut seen = ignore_poison(self.seen.lock());
            let first = LeaseSighting { revision: found.revision, since: now };
            let known = seen.entry(replica.to_owned()).or_insert(first);
            known.see(found.revision, now);
            known.since
        };
        if now.saturating_sub(since) < self.expiry {
            return Ok(false);
        }
        if found.value.is_none() {
            return Ok(true);
        }
        let gone = bucket.delete(&key, found.revision).await?;
        if gone {
            tracing::warn!(
                replica,
                "a router that holds subscriptions has not been heard of for the time of its lease"
            );
        }
        Ok(gone)
    }

    /// Forgets the replicas that are not named any more.
    pub fn retain(&self, is_named: impl Fn(&str) -> bool) {
        ignore_poison(self.seen.lock()).retain(|replica, _| is_named(replica));
    }

    /// Deletes this replica's entry, so that the others need not wait for the lease to expire.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn close(&self, bucket: &Bucket) -> Result<(), ApiError> {
        let own = self.own();
        bucket.delete(&self.key(&own.replica), own.revision).await.map(drop)
    }

    fn own(&self) -> OwnLease {
        ignore_poison(self.own.lock()).clone()
    }

    fn key(&self, replica: &str) -> String {
        key(self.kind, replica)
    }
}

async fn register(bucket: &Bucket, kind: &str, entry: &Value) -> anyhow::Result<OwnLease> {
    let replica = format!("{:016x}", fastrand::u64(..));
    match bucket.put_fleeting(&key(kind, &replica), entry, 0).await? {
        Some(revision) => Ok(OwnLease { replica, revision }),
        None => anyhow::bail!("another router has the name `{replica}`"),
    }
}

fn key(kind: &str, replica: &str) -> String {
    format!("{kind}.{replica}")
}

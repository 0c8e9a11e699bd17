//! Lease of a replica, which shows that it is alive. Each keeps an entry of its own in the bucket
//! and renews it. No clock is compared with another's: a replica is dead if its entry has not
//! changed for the time of the lease on the observer's clock, and the observer could then delete
//! the entry. So a replica that was taken for dead learns this at its next renewal.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use serde_json::json;
use tokio::time::Instant;

use crate::{
    nats::{ApiError, Bucket},
    poison::ignore_poison,
};

#[derive(Debug)]
pub(super) struct Lease {
    expiry: Duration,
    own: Mutex<OwnLease>,
    /// Revisions of the other replicas' entries, and the times since which they are known.
    seen: Mutex<HashMap<String, (u64, Instant)>>,
}

#[derive(Clone, Debug)]
struct OwnLease {
    replica: String,
    revision: u64,
}

impl Lease {
    /// Takes part under an unused name.
    pub(super) async fn open(bucket: &Bucket, expiry: Duration) -> anyhow::Result<Self> {
        let own = register(bucket).await?;
        Ok(Self { expiry, own: Mutex::new(own), seen: Mutex::default() })
    }

    /// Returns the current name of this replica.
    pub(super) fn replica(&self) -> String {
        self.own().replica
    }

    /// Renews the lease. Returns whether it was kept. Otherwise others took this replica for dead,
    /// its subscriptions may be cleaned up already, and it takes part under a new name.
    pub(super) async fn renew(&self, bucket: &Bucket) -> anyhow::Result<bool> {
        let own = self.own();
        let key = key(&own.replica);
        let mut revision = bucket.put_fleeting(&key, &json!({}), own.revision).await?;
        if revision.is_none() {
            // Perhaps only the answer to the last renewal was lost.
            let found = bucket.get(&key).await?;
            if found.value.is_some() {
                revision = bucket.put_fleeting(&key, &json!({}), found.revision).await?;
            }
        }
        let kept = revision.is_some();
        let own = match revision {
            Some(revision) => OwnLease { revision, ..own },
            None => register(bucket).await?,
        };
        *ignore_poison(self.own.lock()) = own;
        Ok(kept)
    }

    /// Returns whether a replica is dead. Must be called again and again, as it looks for an entry
    /// that does not change.
    pub(super) async fn is_gone(&self, bucket: &Bucket, replica: &str) -> Result<bool, ApiError> {
        let key = key(replica);
        let found = bucket.get(&key).await?;
        let now = Instant::now();
        let since = {
            let mut seen = ignore_poison(self.seen.lock());
            let known = seen.entry(replica.to_owned()).or_insert((found.revision, now));
            if known.0 != found.revision {
                *known = (found.revision, now);
            }
            known.1
        };
        if now.duration_since(since) < self.expiry {
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
    pub(super) fn retain(&self, is_named: impl Fn(&str) -> bool) {
        ignore_poison(self.seen.lock()).retain(|replica, _| is_named(replica));
    }

    /// Deletes this replica's entry, so that the others need not wait for the lease to expire.
    pub(super) async fn close(&self, bucket: &Bucket) -> Result<(), ApiError> {
        let own = self.own();
        bucket.delete(&key(&own.replica), own.revision).await.map(drop)
    }

    fn own(&self) -> OwnLease {
        ignore_poison(self.own.lock()).clone()
    }
}

async fn register(bucket: &Bucket) -> anyhow::Result<OwnLease> {
    let replica = format!("{:016x}", fastrand::u64(..));
    match bucket.put_fleeting(&key(&replica), &json!({}), 0).await? {
        Some(revision) => Ok(OwnLease { replica, revision }),
        None => anyhow::bail!("another router has the name `{replica}`"),
    }
}

fn key(replica: &str) -> String {
    format!("replica.{replica}")
}

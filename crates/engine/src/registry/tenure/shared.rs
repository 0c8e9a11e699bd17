//! Ledger that replicas share: one entry for each subscription in a JetStream bucket, replaced only
//! by a writer that has seen its newest revision.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::{sync::OnceCell, time::sleep};

use super::ledger::{ClaimAnswer, OrphanTenure, ReleaseAnswer, TenureRecord, TenureScope};
use crate::{
    backoff::jitter,
    fleet::Lease,
    nats::{Bucket, Connection},
};

pub const BUCKET: &str = "trommel_tenures";
/// First token of the keys of leases.
pub(super) const LEASE: &str = "replica";
/// Time between looks while waiting for another replica.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct SharedLedger {
    connection: Connection,
    expiry: Duration,
    /// Replicas of the bucket, if it is created.
    replicas: usize,
    /// Opened when the first filter needs it: most routers never touch the account's storage for
    /// it.
    opened: OnceCell<(Bucket, Lease)>,
}

/// One subscription in the bucket.
#[derive(Debug, Serialize, Deserialize)]
struct SharedEntry {
    #[serde(flatten)]
    record: TenureRecord,
    phase: EntryPhase,
    /// Replicas that hold it.
    holders: BTreeSet<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum EntryPhase {
    /// This replica subscribes; the others wait.
    Subscribing(String),
    Held,
    /// This replica cleans up; the others wait.
    CleaningUp(String),
}

impl SharedLedger {
    /// Creates the ledger. A replica that is silent for as long as `expiry` is taken for dead.
    pub(super) fn new(connection: Connection, expiry: Duration, replicas: usize) -> Self {
        Self { connection, expiry, replicas, opened: OnceCell::new() }
    }

    pub(super) fn expiry(&self) -> Duration {
        self.expiry
    }

    /// Renews the lease. Returns whether it was kept; otherwise everything must be claimed anew.
    pub(super) async fn renew(&self) -> anyhow::Result<bool> {
        let (bucket, lease) = self.open().await?;
        lease.renew(bucket, &json!({})).await
    }

    pub(super) async fn claim(&self, wanted: &TenureRecord) -> anyhow::Result<ClaimAnswer> {
        let (bucket, lease) = self.open().await?;
        loop {
            let (found, revision) = read(bucket, &key(&wanted.scope)).await?;
            let me = lease.replica();
            let first =
                |unfinished| (wanted.clone(), EntryPhase::Subscribing(me.clone()), ClaimAnswer::First { unfinished });
            let (record, phase, mut holders, claim) = match found {
                None => {
                    let (record, phase, claim) = first(None);
                    (record, phase, BTreeSet::new(), claim)
                }
                Some(SharedEntry { record, phase: EntryPhase::Held, holders }) => {
                    (record.clone(), EntryPhase::Held, holders, ClaimAnswer::Held(record))
                }
                Some(SharedEntry {
                    record, phase: EntryPhase::Subscribing(by) | EntryPhase::CleaningUp(by), ..
                }) => {
                    // An entry that bears our own name is left over from a call that had no answer.
                    if by != me && !lease.is_gone(bucket, &by).await? {
                        sleep(jitter(POLL)).await;
                        continue;
                    }
                    let (wanted, phase, claim) = first(record.token.is_some().then_some(record));
                    (wanted, phase, BTreeSet::new(), claim)
                }
            };
            holders.insert(me);
            if write(bucket, &SharedEntry { record, phase, holders }, revision).await?.is_some() {
                return Ok(claim);
            }
        }
    }

    pub(super) async fn hold(&self, record: &TenureRecord) -> anyhow::Result<()> {
        let (bucket, lease) = self.open().await?;
        let me = lease.replica();
        let (found, revision) = read(bucket, &key(&record.scope)).await?;
        let is_ours = found.is_some_and(|entry| entry.phase == EntryPhase::Subscribing(me.clone()));
        let entry = SharedEntry { record: record.clone(), phase: EntryPhase::Held, holders: BTreeSet::from([me]) };
        let held = is_ours && write(bucket, &entry, revision).await?.is_some();
        ensure!(held, "another router has taken over, for this one was not heard of in time");
        Ok(())
    }

    pub(super) async fn release(&self, scope: &TenureScope) -> anyhow::Result<ReleaseAnswer> {
        let (bucket, lease) = self.open().await?;
        loop {
            let (found, revision) = read(bucket, &key(scope)).await?;
            let me = lease.replica();
            let Some(SharedEntry { record, phase: EntryPhase::Held, mut holders }) = found else {
                return Ok(ReleaseAnswer::NotLast);
            };
            if !holders.remove(&me) {
                return Ok(ReleaseAnswer::NotLast);
            }
            let (phase, release) = if holders.is_empty() {
                (EntryPhase::CleaningUp(me), ReleaseAnswer::Last(record.clone()))
            } else {
                (EntryPhase::Held, ReleaseAnswer::NotLast)
            };
            if write(bucket, &SharedEntry { record, phase, holders }, revision).await?.is_some() {
                return Ok(release);
            }
        }
    }

    pub(super) async fn end(&self, scope: &TenureScope) -> anyhow::Result<()> {
        let (bucket, lease) = self.open().await?;
        let key = key(scope);
        let (found, revision) = read(bucket, &key).await?;
        if found.is_some_and(|entry| entry.phase.is_by(&lease.replica())) {
            // Without effect if another router took this one for dead, which then takes care of the
            // entry.
            bucket.delete(&key, revision).await?;
        }
        Ok(())
    }

    pub(super) async fn abandon(&self, scope: &TenureScope) -> anyhow::Result<()> {
        let (bucket, lease) = self.open().await?;
        let (found, revision) = read(bucket, &key(scope)).await?;
        if let Some(entry) = found.filter(|entry| entry.phase.is_by(&lease.replica())) {
            let entry = SharedEntry { phase: EntryPhase::Held, holders: BTreeSet::new(), ..entry };
            write(bucket, &entry, revision).await?;
        }
        Ok(())
    }

    pub(super) async fn orphans(&self, is_mine: impl Fn(&TenureScope) -> bool) -> anyhow::Result<Vec<OrphanTenure>> {
        let (bucket, lease) = self.open().await?;
        let me = lease.replica();
        let (mut orphans, mut named, mut gone) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for key in bucket.keys("tenure").await? {
            let (Some(mut entry), revision) = read(bucket, &key).await? else { continue };
            let by = match &entry.phase {
                EntryPhase::Subscribing(by) | EntryPhase::CleaningUp(by) => Some(by),
                EntryPhase::Held => None,
            };
            for replica in by.into_iter().chain(&entry.holders) {
                if *replica != me && named.insert(replica.clone()) && lease.is_gone(bucket, replica).await? {
                    gone.insert(replica.clone());
                }
            }
            let lives = |by: &String| if *by == me { is_mine(&entry.record.scope) } else { !gone.contains(by) };
            match &entry.phase {
                EntryPhase::Subscribing(by) if !lives(by) => {
                    // It had no token yet: there is nothing to clean up.
                    bucket.delete(&key, revision).await?;
                }
                EntryPhase::Held if !entry.holders.iter().any(lives) => {
                    orphans.push(OrphanTenure { record: entry.record, revision });
                }
                EntryPhase::CleaningUp(by) if !lives(by) => {
                    orphans.push(OrphanTenure { record: entry.record, revision })
                }
                EntryPhase::Held if entry.holders.iter().any(|holder| gone.contains(holder)) => {
                    entry.holders.retain(|holder| !gone.contains(holder));
                    write(bucket, &entry, revision).await?;
                }
                _ => {}
            }
        }
        lease.retain(|replica| named.contains(replica));
        Ok(orphans)
    }

    pub(super) async fn take_over(&self, orphan: &OrphanTenure) -> anyhow::Result<bool> {
        let (bucket, lease) = self.open().await?;
        let phase = EntryPhase::CleaningUp(lease.replica());
        let entry = SharedEntry { record: orphan.record.clone(), phase, holders: BTreeSet::new() };
        Ok(write(bucket, &entry, orphan.revision).await?.is_some())
    }

    pub(super) async fn close(&self) -> anyhow::Result<()> {
        match self.opened.get() {
            Some((bucket, lease)) => Ok(lease.close(bucket).await?),
            None => Ok(()),
        }
    }

    async fn open(&self) -> anyhow::Result<&(Bucket, Lease)> {
        self.opened
            .get_or_try_init(|| async {
                let bucket = Bucket::open(self.connection.clone(), BUCKET, self.replicas).await?;
                let lease = Lease::open(&bucket, LEASE, &json!({}), self.expiry).await?;
                Ok((bucket, lease))
            })
            .await
    }
}

impl EntryPhase {
    fn is_by(&self, replica: &str) -> bool {
        match self {
            Self::Subscribing(by) | Self::CleaningUp(by) => by == replica,
            Self::Held => false,
        }
    }
}

/// Key of a scope's entry. Names have no slash, and the last one keeps a name that ends in a dot
/// from ending the subject.
fn key(scope: &TenureScope) -> String {
    format!("tenure.{}/{}/", scope.filter, scope.subscription.as_str().replace(':', "/"))
}

async fn read(bucket: &Bucket, key: &str) -> anyhow::Result<(Option<SharedEntry>, u64)> {
    let found = bucket.get(key).await?;
    let entry = found.value.map(serde_json::from_value).transpose();
    let entry = entry.with_context(|| format!("`{key}` of bucket `{BUCKET}` is not what trommel wrote: delete it"))?;
    Ok((entry, found.revision))
}

/// Writes an entry. Returns its new revision; `None` if another writer was faster.
async fn write(bucket: &Bucket, entry: &SharedEntry, after: u64) -> anyhow::Result<Option<u64>> {
    Ok(bucket.put(&key(&entry.record.scope), &serde_json::to_value(entry)?, after).await?)
}

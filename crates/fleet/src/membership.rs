//! A router's membership in the fleet: the task that renews its lease, reads the bucket and writes
//! to it, and the handles of its sources.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use trommel_nats::{Bucket, Connection};

use crate::{
    fence::boot_time,
    lease::Lease,
    ownership::{FleetOwnership, FleetWrite, OwnershipChange},
    poison::ignore_poison,
    record::{FleetNote, MEMBER, member_key, partition_key},
};

/// Bucket that all members share.
pub const BUCKET: &str = "trommel_fleet";
/// Reads of the bucket within the time of a lease.
const READS: u32 = 16;
/// Time between reads while something is to be released or claimed soon.
const SOON: Duration = Duration::from_millis(100);

/// Terms of a membership.
#[derive(Clone, Copy, Debug)]
pub struct FleetTerms {
    /// Time without a renewal after which the others take this router for dead.
    pub lease: Duration,
    /// Replicas of the bucket, if it is created.
    pub replicas: usize,
}

/// A router's part in the fleet, which all of its partitioned sources share. It ends without a
/// word, as in a crash, when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct FleetMembership {
    shared: Arc<FleetState>,
    driver: Arc<FleetDriver>,
}

/// A source's partitions, as far as this router owns them.
#[derive(Debug)]
pub struct PartitionOwnership {
    membership: FleetMembership,
    source: String,
}

#[derive(Debug)]
struct FleetState {
    bucket: Bucket,
    lease: Lease,
    terms: FleetTerms,
    ownership: Mutex<FleetOwnership>,
    /// Told to the driver: something is to be written.
    wake: Notify,
    /// Told to the sources: there may be a change.
    changed: Notify,
}

/// The task, which ends with the last handle.
#[derive(Debug)]
struct FleetDriver(JoinHandle<()>);

impl Drop for FleetDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FleetMembership {
    /// Joins the fleet, and makes its bucket if there is none.
    ///
    /// # Errors
    /// Returns an error if the server does not answer or does not allow it.
    pub async fn join(connection: Connection, terms: FleetTerms) -> anyhow::Result<Self> {
        let bucket = Bucket::open(connection, BUCKET, terms.replicas).await?;
        let sent = boot_time();
        let empty = FleetOwnership::new(String::new(), terms.lease, sent, fastrand::Rng::new());
        let lease = Lease::open(&bucket, MEMBER, &empty.record().to_json(), terms.lease).await?;
        let ownership = FleetOwnership::new(lease.replica(), terms.lease, sent, fastrand::Rng::new());
        let state = FleetState {
            bucket,
            lease,
            terms,
            ownership: Mutex::new(ownership),
            wake: Notify::new(),
            changed: Notify::new(),
        };
        let shared = Arc::new(state);
        let driver = Arc::new(FleetDriver(tokio::spawn(Arc::clone(&shared).run())));
        Ok(Self { shared, driver })
    }

    /// Shares a source's partitions with the other members that do. `source` names it in a key of
    /// the bucket, the same in all routers and different for all sources: it has neither dots nor
    /// white space nor wildcards.
    pub fn own(&self, source: &str, partitions: u32) -> PartitionOwnership {
        self.shared.with(|ownership| ownership.share(source, partitions));
        PartitionOwnership { membership: self.clone(), source: source.to_owned() }
    }

    /// Leaves the fleet if this is the last handle, after all sources have left, so that the others
    /// need not wait for the lease to expire.
    ///
    /// # Errors
    /// Returns an error if the server does not answer: the lease expires then.
    pub async fn leave(self) -> anyhow::Result<()> {
        let Some(driver) = Arc::into_inner(self.driver) else { return Ok(()) };
        drop(driver);
        self.shared.lease.close(&self.shared.bucket).await.context("can't leave the fleet: the lease expires later")
    }
}

impl PartitionOwnership {
    /// The next change. Cancel safe.
    pub async fn next(&mut self) -> OwnershipChange {
        let shared = &self.membership.shared;
        loop {
            let changed = shared.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that no change is missed in between.
            changed.as_mut().enable();
            let change = ignore_poison(shared.ownership.lock()).next_change(&self.source);
            if let Some(change) = change {
                shared.wake.notify_one();
                return change;
            }
            changed.await;
        }
    }

    /// Says that a partition is released: all of its events are settled, and the last
    /// acknowledgement has arrived.
    pub fn released(&mut self, partition: u32) {
        self.membership.shared.with(|ownership| ownership.released(&self.source, partition));
    }

    /// Takes no more partitions. [`Self::next`] then asks for the release of those that are owned.
    pub fn retire(&mut self) {
        self.membership.shared.with(|ownership| ownership.retire(&self.source));
    }

    /// Returns whether the bucket says that nothing is owned any more.
    pub fn is_clear(&self) -> bool {
        ignore_poison(self.membership.shared.ownership.lock()).is_clear(&self.source)
    }
}

impl FleetState {
    /// Changes what is owned, and has the driver look at it.
    fn with(&self, change: impl FnOnce(&mut FleetOwnership)) {
        let mut ownership = ignore_poison(self.ownership.lock());
        change(&mut ownership);
        drop(ownership);
        self.wake.notify_one();
    }

    async fn run(self: Arc<Self>) {
        tokio::join!(self.keep_lease(), self.keep_partitions());
    }

    /// Renews the lease, and at once when the sources change.
    async fn keep_lease(&self) {
        let every = self.terms.lease / 4;
        let mut last = None;
        let mut sent_last = None::<Duration>;
        loop {
            let (record, now) = (ignore_poison(self.ownership.lock()).record(), boot_time());
            let is_due = sent_last.is_none_or(|sent| now >= sent + every) || last.as_ref() != Some(&record);
            if is_due {
                sent_last = Some(now);
                // A renewal that failed means nothing: only the fence's time counts.
                match timeout(every, self.lease.renew(&self.bucket, &record.to_json())).await {
                    Ok(Ok(true)) => ignore_poison(self.ownership.lock()).renewed(now, boot_time()),
                    Ok(Ok(false)) => {
                        tracing::warn!("other routers took this one for dead, and take its partitions");
                        ignore_poison(self.ownership.lock()).renamed(self.lease.replica(), now);
                    }
                    Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "can't renew the lease yet"),
                    Err(_) => tracing::warn!("the lease is not renewed yet: no answer in time"),
                }
                last = Some(record);
                self.changed.notify_waiters();
            }
            sleep(SOON.min(every)).await;
        }
    }

    /// Reads the bucket, and writes what is due.
    async fn keep_partitions(&self) {
        let every = (self.terms.lease / READS).max(SOON);
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(error = format!("{error:#}"), "can't agree with the other routers on partitions yet");
            }
            tokio::select! {
                () = sleep(every) => {}
                () = self.wake.notified() => sleep(SOON / 4).await,
            }
        }
    }

    async fn round(&self) -> anyhow::Result<()> {
        let position = ignore_poison(self.ownership.lock()).position();
        let mut notes = Vec::new();
        for (key, entry) in timeout(self.terms.lease / 4, self.bucket.changes_after(position)).await?? {
            let note = FleetNote::parse(&key, entry.value, entry.revision);
            notes.extend(
                note.with_context(|| format!("`{key}` of bucket `{BUCKET}` is not what trommel wrote: delete it"))?,
            );
        }
        self.tell(|ownership| ownership.read(notes, boot_time()));
        loop {
            let Some(write) = ignore_poison(self.ownership.lock()).next_write(boot_time()) else { break };
            let revision = timeout(self.terms.lease / 4, self.write(&write)).await??;
            self.tell(|ownership| ownership.written(write, revision, boot_time()));
            if revision.is_none() {
                break;
            }
        }
        self.changed.notify_waiters();
        Ok(())
    }

    fn tell(&self, what: impl FnOnce(&mut FleetOwnership)) {
        let mut ownership = ignore_poison(self.ownership.lock());
        what(&mut ownership);
        drop(ownership);
        self.changed.notify_waiters();
    }

    /// Carries out a write. Returns its revision; `None` if another write came first.
    async fn write(&self, write: &FleetWrite) -> anyhow::Result<Option<u64>> {
        Ok(match write {
            FleetWrite::Partition { name: (source, partition), record, after } => {
                self.bucket.put(&partition_key(source, *partition), &record.to_json(), *after).await?
            }
            FleetWrite::Bury { member, revision } => {
                let is_gone = self.bucket.delete(&member_key(member), *revision).await?;
                if is_gone {
                    tracing::warn!(member, "a router has not been heard of for the time of its lease");
                }
                is_gone.then_some(*revision)
            }
            FleetWrite::Verify { member } => {
                let found = self.bucket.get(&member_key(member)).await?;
                found.value.is_none().then_some(found.revision)
            }
        })
    }
}

//! Claims of ticks: of the routers that share a state, one ticks for a route.
//!
//! Each route has an entry in the bucket of the tenures that names the router that ticks for it,
//! whose lease shows that it lives. A router that has not renewed its lease for three quarters of
//! the time stops ticking; the others wait for all of it. So no two tick at the same time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{lease::Lease, shared::BUCKET};
use crate::{
    nats::{Bucket, Connection},
    registry::{RouteName, Snapshots, ticking},
};

/// Rounds within the time of a lease.
const ROUNDS: u32 = 4;
/// Longest time that giving the claims back may take.
const CLOSING: Duration = Duration::from_secs(2);

/// The routes that this router ticks for.
#[derive(Debug)]
pub struct TickClaims {
    held: watch::Receiver<HeldRoutes>,
    closing: Arc<Notify>,
    keeper: JoinHandle<()>,
}

/// The routes that this router ticks for, and the time at which that ends without a renewal.
type HeldRoutes = (BTreeSet<RouteName>, Instant);

/// Task that keeps the claims.
struct ClaimKeeper {
    connection: Connection,
    expiry: Duration,
    /// Replicas of the bucket, if it is created.
    replicas: usize,
    /// Name of the state that is shared.
    state: String,
    snapshots: Snapshots,
    /// Opened when the first filter ticks.
    opened: Option<(Bucket, Lease)>,
    /// Revisions of the entries that name this router.
    claimed: BTreeMap<RouteName, u64>,
    held: watch::Sender<HeldRoutes>,
}

impl TickClaims {
    /// Begins to claim the routes whose filter ticks, among the routers that share this state. A
    /// router that is silent for as long as `expiry` is taken for dead. A new bucket has so many
    /// `replicas`.
    ///
    /// # Panics
    /// If called outside a runtime.
    pub fn start(
        connection: Connection,
        (expiry, replicas): (Duration, usize),
        state: &str,
        snapshots: Snapshots,
    ) -> Self {
        let (sender, held) = watch::channel((BTreeSet::new(), Instant::now()));
        let (opened, claimed, state) = (None, BTreeMap::new(), state.to_owned());
        let keeper = ClaimKeeper { connection, expiry, replicas, state, snapshots, opened, claimed, held: sender };
        let closing = Arc::<Notify>::default();
        let keeper = tokio::spawn(keeper.keep(Arc::clone(&closing)));
        Self { held, closing, keeper }
    }

    /// Returns whether this router ticks for a route.
    pub fn holds(&self, route: &RouteName) -> bool {
        let (routes, until) = &*self.held.borrow();
        Instant::now() < *until && routes.contains(route)
    }

    /// Gives all claims back, so that the other routers need not wait for the lease to expire.
    pub async fn close(mut self) {
        self.closing.notify_one();
        // Claims that are not given back in time expire.
        let _ = timeout(CLOSING, &mut self.keeper).await;
    }
}

impl Drop for TickClaims {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl ClaimKeeper {
    async fn keep(mut self, closing: Arc<Notify>) {
        let fence = self.expiry / ROUNDS * (ROUNDS - 1);
        let mut renewed = Instant::now();
        loop {
            let began = Instant::now();
            // Without claims nothing can be too late.
            let until = if self.claimed.is_empty() { began + self.expiry } else { renewed + fence };
            let round = tokio::select! {
                round = timeout_at(until, self.round()) => round,
                () = closing.notified() => break,
            };
            match round {
                Ok(Ok(())) => renewed = began,
                Ok(Err(error)) => {
                    tracing::warn!(error = format!("{error:#}"), "can't settle which router ticks yet");
                }
                Err(_) => tracing::warn!("can't settle which router ticks yet: the server does not answer"),
            }
            if renewed + fence <= Instant::now() {
                self.claimed.clear();
            }
            self.held.send_replace((self.claimed.keys().cloned().collect(), renewed + fence));
            tokio::select! {
                () = sleep(self.expiry / ROUNDS) => {}
                Ok(()) = self.snapshots.changed() => {}
                () = closing.notified() => break,
            }
        }
        self.give_back().await;
    }

    /// Renews the lease, claims routes that no other router ticks for, and gives back those that
    /// this one does not have any more.
    async fn round(&mut self) -> anyhow::Result<()> {
        let wanted: BTreeSet<RouteName> = ticking(&self.snapshots.borrow_and_update()).map(|(name, _)| name).collect();
        if self.opened.is_none() {
            if wanted.is_empty() {
                return Ok(());
            }
            let bucket = Bucket::open(self.connection.clone(), BUCKET, self.replicas).await?;
            let lease = Lease::open(&bucket, self.expiry).await?;
            self.opened = Some((bucket, lease));
        }
        let Some((bucket, lease)) = &self.opened else { return Ok(()) };
        if !lease.renew(bucket).await? {
            tracing::warn!("other routers took this one for dead, and tick in its place");
            self.claimed.clear();
        }
        for (name, revision) in self.claimed.extract_if(.., |name, _| !wanted.contains(name)).collect::<Vec<_>>() {
            bucket.delete(&entry(&self.state, &name), revision).await?;
        }
        let mut others = BTreeSet::new();
        for name in wanted {
            if self.claimed.contains_key(&name) {
                continue;
            }
            match claim(bucket, lease, &self.state, &name).await? {
                TickClaim::Ours(revision) => {
                    tracing::debug!(key = &*name.0, route = &*name.1, "this router ticks for the route");
                    self.claimed.insert(name, revision);
                }
                TickClaim::Of(other) => others.extend(other),
            }
        }
        lease.retain(|replica| others.contains(replica));
        Ok(())
    }

    async fn give_back(self) {
        self.held.send_replace((BTreeSet::new(), Instant::now()));
        let Some((bucket, lease)) = &self.opened else { return };
        for (name, revision) in &self.claimed {
            // Claims that can't be deleted expire.
            let _ = bucket.delete(&entry(&self.state, name), *revision).await;
        }
        let _ = lease.close(bucket).await;
    }
}

/// Result of a claim.
enum TickClaim {
    /// The revision of the entry.
    Ours(u64),
    /// Another router has the route's ticks, or was faster.
    Of(Option<String>),
}

/// Claims a route's ticks.
async fn claim(bucket: &Bucket, lease: &Lease, state: &str, name: &RouteName) -> anyhow::Result<TickClaim> {
    let (key, me) = (entry(state, name), lease.replica());
    let found = bucket.get(&key).await?;
    match found.value.as_ref().and_then(|value| value.get("replica")).and_then(Value::as_str) {
        // Left over from a call that had no answer.
        Some(by) if by == me => return Ok(TickClaim::Ours(found.revision)),
        Some(by) if !lease.is_gone(bucket, by).await? => return Ok(TickClaim::Of(Some(by.to_owned()))),
        _ => {}
    }
    let value = json!({ "replica": me, "state": state, "key": &*name.0, "route": &*name.1 });
    Ok(bucket.put(&key, &value, found.revision).await?.map_or(TickClaim::Of(None), TickClaim::Ours))
}

/// Key of a route's entry: a digest, as names may have characters that keys can't.
fn entry(state: &str, (key, route): &RouteName) -> String {
    let mut digest = Sha256::new();
    for part in [state, key, route] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    format!("tick.{:.32}", format!("{:x}", digest.finalize()))
}

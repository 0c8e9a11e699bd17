//! Claims of ticks: of the routers that share a state, one ticks for a route.
//!
//! Each route has an entry in the bucket of the tenures that names the router that ticks for it,
//! whose lease shows that it lives. A router that has not renewed its lease for three quarters of
//! the time stops ticking; the others wait for all of it. So no two tick at the same time. The
//! entry has the tick that is under way, too, which the next router repeats if this one dies.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{
    sync::{Mutex, Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

mod claim;

pub use claim::RouteClaim;

use super::shared::{BUCKET, LEASE};
use crate::{
    fleet::Lease,
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

/// A claim, for the keeper and the driver of the ticks.
pub type SharedClaim = Arc<Mutex<RouteClaim>>;

/// The claims of this router, and the time at which they end without a renewal.
type HeldRoutes = (BTreeMap<RouteName, SharedClaim>, Instant);

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
    /// The claims of this router.
    claimed: BTreeMap<RouteName, SharedClaim>,
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
        let (sender, held) = watch::channel((BTreeMap::new(), Instant::now()));
        let (opened, claimed, state) = (None, BTreeMap::new(), state.to_owned());
        let keeper = ClaimKeeper { connection, expiry, replicas, state, snapshots, opened, claimed, held: sender };
        let closing = Arc::<Notify>::default();
        let keeper = tokio::spawn(keeper.keep(Arc::clone(&closing)));
        Self { held, closing, keeper }
    }

    /// Returns the claim on a route, if this router ticks for it.
    pub fn claim(&self, route: &RouteName) -> Option<SharedClaim> {
        let (routes, until) = &*self.held.borrow();
        routes.get(route).filter(|_| Instant::now() < *until).cloned()
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
            self.held.send_replace((self.claimed.clone(), renewed + fence));
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
            let lease = Lease::open(&bucket, LEASE, &json!({}), self.expiry).await?;
            self.opened = Some((bucket, lease));
        }
        let Some((bucket, lease)) = &self.opened else { return Ok(()) };
        if !lease.renew(bucket, &json!({})).await? {
            tracing::warn!("other routers took this one for dead, and tick in its place");
            self.claimed.clear();
        }
        for (_, claim) in self.claimed.extract_if(.., |name, _| !wanted.contains(name)).collect::<Vec<_>>() {
            claim.lock().await.give_back().await?;
        }
        let mut others = BTreeSet::new();
        for name in wanted {
            // One that is in use has just been written to.
            if self.claimed.get(&name).is_some_and(|claim| claim.try_lock().is_ok_and(|claim| claim.is_lost())) {
                self.claimed.remove(&name);
            }
            if self.claimed.contains_key(&name) {
                continue;
            }
            match RouteClaim::make((bucket, lease), &self.state, &name).await? {
                Ok(claim) => {
                    tracing::debug!(key = &*name.0, route = &*name.1, "this router ticks for the route");
                    self.claimed.insert(name, Arc::new(Mutex::new(claim)));
                }
                Err(other) => others.extend(other),
            }
        }
        lease.retain(|replica| others.contains(replica));
        Ok(())
    }

    async fn give_back(self) {
        self.held.send_replace((BTreeMap::new(), Instant::now()));
        let Some((bucket, lease)) = &self.opened else { return };
        for claim in self.claimed.values() {
            // Claims that can't be given back expire.
            let _ = claim.lock().await.give_back().await;
        }
        let _ = lease.close(bucket).await;
    }
}

//! Background work of tenures: renewing the lease, and cleaning up subscriptions without holders.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures_util::{StreamExt as _, stream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    holdings::{Holdings, HookRunner},
    ledger::{OrphanTenure, TenureLedger, TenureRecord, TenureScope},
    shared::SharedLedger,
};
use crate::filter::Filter;

/// Renewals within the time of a lease.
const RENEWALS: u32 = 4;
/// Most hooks that run at once in the background.
const AT_ONCE: usize = 16;

/// Takes part among the replicas, once the first filter needs it. Never returns.
pub(super) async fn keep(holdings: Arc<Holdings>) {
    let TenureLedger::Shared(ledger) = &holdings.ledger else { return };
    let is_lost = AtomicBool::new(false);
    // At once: tidying may take as long as many cleanups do, which must not cost the lease.
    tokio::join!(renew(&holdings, ledger, &is_lost), tidy(&holdings, ledger, &is_lost));
}

async fn renew(holdings: &Holdings, ledger: &SharedLedger, is_lost: &AtomicBool) {
    let mut ticks = ticks(ledger);
    loop {
        ticks.tick().await;
        if !holdings.has_hooks() {
            continue;
        }
        match ledger.renew().await {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!("other routers took this one for dead: entering its subscriptions again");
                is_lost.store(true, Ordering::Release);
            }
            Err(error) => tracing::warn!(error = format!("{error:#}"), "can't renew the lease on subscriptions yet"),
        }
    }
}

async fn tidy(holdings: &Holdings, ledger: &SharedLedger, is_lost: &AtomicBool) {
    let mut ticks = ticks(ledger);
    loop {
        ticks.tick().await;
        // Cleared before entering again: a loss in the meantime is not missed.
        if is_lost.swap(false, Ordering::AcqRel) {
            if !holdings.enter_again().await {
                is_lost.store(true, Ordering::Release);
            }
        } else if holdings.has_hooks() {
            holdings.sweep().await;
        }
    }
}

fn ticks(ledger: &SharedLedger) -> Interval {
    let mut ticks = interval(ledger.expiry() / RENEWALS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

impl Holdings {
    /// Cleans up subscriptions that are held upstream but have no holder.
    pub(super) async fn sweep(&self) {
        match self.ledger.orphans(|scope| self.has(scope)).await {
            Ok(orphans) => stream::iter(orphans).for_each_concurrent(AT_ONCE, |orphan| self.adopt(orphan)).await,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "can't look for subscriptions without a holder yet");
            }
        }
    }

    /// Cleans up after an orphan, unless it is entered or another replica was faster.
    async fn adopt(&self, orphan: OrphanTenure) {
        let TenureRecord { scope, token, .. } = &orphan.record;
        let can_clean_up = token.is_none() || self.filter(&scope.filter).is_some_and(|filter| filter.has_lifecycle());
        if !can_clean_up {
            // Another replica, or another run, may have the filter.
            tracing::info!(
                subscription = %scope.subscription, filter = scope.filter,
                "this subscription has no holder, and its filter is not in service here"
            );
            return;
        }
        let holding = self.lock(scope).await;
        if holding.upstream.is_none() {
            match self.ledger.take_over(&orphan).await {
                Ok(true) => self.finish(&orphan.record, None).await,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        subscription = %scope.subscription, error = format!("{error:#}"),
                        "can't clean up yet"
                    );
                }
            }
        }
        self.forget_if_empty(scope, holding);
    }

    /// Claims everything anew that is held here. Returns whether all of it could be claimed.
    async fn enter_again(&self) -> bool {
        let entering = stream::iter(self.scopes()).map(|scope| self.enter_one_again(scope)).buffer_unordered(AT_ONCE);
        entering.all(async |entered| entered).await
    }

    async fn enter_one_again(&self, scope: TenureScope) -> bool {
        let mut holding = self.lock(&scope).await;
        let mut entered = true;
        if let Some((record, HookRunner { filter, endpoints })) = holding.upstream.take() {
            let filter = self.filter(&scope.filter).filter(Filter::has_lifecycle).unwrap_or(filter);
            let current = HookRunner { filter, endpoints };
            let record = match self.subscribe(&current, TenureRecord { token: None, ..record.clone() }).await {
                Ok((record, _)) => record,
                Err(error) => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(subscription = %scope.subscription, error, "can't enter a subscription again yet");
                    entered = false;
                    record
                }
            };
            holding.upstream = Some((record, current));
        }
        self.forget_if_empty(&scope, holding);
        entered
    }
}

//! Tenures: holding subscriptions upstream. When the first holder enters, the filter subscribes;
//! after the last one has left, it cleans up, whichever holder and replica that is (X9, L47 to
//! L51).

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{
    config::KeptIn,
    endpoint::Endpoint,
    filter::{CallError, Filter, Params},
    nats::Connection,
    registry::SubscriptionId,
};

mod file;
mod holdings;
mod keeper;
mod ledger;
mod shared;
mod ticks;

use file::FileLedger;
use holdings::Holdings;
use ledger::{TenureLedger, TenureScope};
pub use shared::BUCKET as TENURES;
use shared::SharedLedger;
pub use ticks::TickClaims;

/// Time without a sign of life after which the other replicas take one for dead.
pub const LEASE: Duration = Duration::from_secs(20);

/// All tenures of one router.
#[derive(Debug)]
pub struct Tenures {
    holdings: Arc<Holdings>,
    /// Task that renews the lease, if there is one.
    keeper: Option<AbortHandle>,
}

/// Request to hold a subscription.
#[derive(Clone, Debug)]
pub struct TenureRequest {
    pub filter: Filter,
    pub key: String,
    /// Endpoints of the API that the hooks may call.
    pub endpoints: Vec<Endpoint>,
    /// Normalised params, without secrets.
    pub params: Params,
    /// Params whose values are secret, and where those are kept.
    pub secrets: Vec<(String, KeptIn)>,
    pub subscription: SubscriptionId,
    /// Name in messages to others, such as ``route `large` `` or `process 4711`.
    pub name: String,
    /// True if only one holder is allowed at a time in this router (L19).
    pub is_single: bool,
}

/// Error while entering a subscription. Nothing is held then.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error("subscription `{subscription}` has room for one consumer, and {by} holds it")]
    Taken { subscription: SubscriptionId, by: String },
    #[error("key `{key}` could not be subscribed upstream")]
    PreConsume {
        key: String,
        #[source]
        source: CallError,
    },
    #[error("can't settle who holds subscription `{subscription}`")]
    Ledger {
        subscription: SubscriptionId,
        #[source]
        source: anyhow::Error,
    },
    #[error("the router is stopping")]
    Stopping,
}

impl Tenures {
    /// Creates the tenures of a router without replicas. Tokens are kept in the file `tenures.json`
    /// of a folder, which is created if absent; those left there by an earlier run are held until
    /// [`Self::clear`].
    ///
    /// # Errors
    /// If the file exists and can't be read.
    ///
    /// # Panics
    /// If called outside a runtime.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let ledger = TenureLedger::File(FileLedger::open(folder)?);
        Ok(Self { holdings: Holdings::new(ledger), keeper: None })
    }

    /// Creates the tenures of a router that may have replicas. First and last hold across all that
    /// share the bucket `trommel_tenures`, which is created when a filter with hooks is in service.
    /// A replica that is silent for as long as `lease` is taken for dead, and the others clean up
    /// after it. A new bucket has so many `replicas`.
    ///
    /// # Panics
    /// If called outside a runtime.
    pub fn across_replicas(connection: Connection, lease: Duration, replicas: usize) -> Self {
        let holdings = Holdings::new(TenureLedger::Shared(Box::new(SharedLedger::new(connection, lease, replicas))));
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&holdings)));
        Self { holdings, keeper: Some(keeper.abort_handle()) }
    }

    /// Sets the filters in service, and the endpoints of the API that each key lets its filter
    /// call. Cleanups run on these, even if an earlier filter of the same name subscribed.
    pub fn set_filters(&self, filters: impl IntoIterator<Item = Filter>, endpoints: HashMap<String, Vec<Endpoint>>) {
        let filters = filters.into_iter().map(|filter| (filter.name().to_owned(), filter)).collect();
        self.holdings.set_filters(filters, endpoints);
    }

    /// Enters a subscription, and subscribes upstream if it was not held. Waits for a cleanup that
    /// runs. Cancel safe: an entry that was begun is finished and then given back.
    ///
    /// # Errors
    /// See [`EnterError`].
    pub async fn enter(&self, entrant: TenureRequest) -> Result<Tenure, EnterError> {
        let (holdings, subscription) = (Arc::clone(&self.holdings), entrant.subscription.clone());
        let entering = self.holdings.runtime.spawn(holdings.enter(entrant));
        entering.await.unwrap_or_else(|error| Err(EnterError::Ledger { subscription, source: error.into() }))
    }

    /// Cleans up the subscriptions left by an earlier run and not entered since. To be called once,
    /// when everything that the configuration names has entered. With replicas, the keeper does
    /// this.
    pub async fn clear(&self) {
        if let TenureLedger::File(_) = self.holdings.ledger {
            self.holdings.sweep().await;
        }
    }

    /// Ends every tenure, all at once, each cleanup within its own deadline. Nothing is entered
    /// from now on.
    pub async fn close(&self) {
        let holdings = &self.holdings;
        // Before the scopes are listed: an entry that comes later is refused.
        holdings.is_closed.store(true, Ordering::Release);
        let ending = holdings.scopes().into_iter().map(|scope| {
            let holdings = Arc::clone(holdings);
            tokio::spawn(async move {
                let mut holding = holdings.lock(&scope).await;
                holding.holders.clear();
                holdings.end(&scope, holding).await;
            })
        });
        for ended in futures_util::future::join_all(ending).await {
            if let Err(error) = ended {
                tracing::error!(%error, "a cleanup ended badly");
            }
        }
        // Only now, as the lease had to be renewed during the cleanups.
        self.stop_keeper();
        if let TenureLedger::Shared(ledger) = &holdings.ledger
            && let Err(error) = ledger.close().await
        {
            tracing::warn!(
                error = format!("{error:#}"),
                "the other routers learn only in a while that this one has left"
            );
        }
    }

    fn stop_keeper(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
    }
}

impl Drop for Tenures {
    fn drop(&mut self) {
        self.stop_keeper();
    }
}

/// A held subscription. Dropping it leaves, too, on a task of its own.
#[derive(Debug)]
pub struct Tenure {
    holdings: Arc<Holdings>,
    scope: TenureScope,
    ticket: u64,
    is_first: bool,
    has_left: bool,
}

impl Tenure {
    fn new(holdings: Arc<Holdings>, scope: TenureScope, ticket: u64, is_first: bool) -> Self {
        Self { holdings, scope, ticket, is_first, has_left: false }
    }

    /// Returns whether the subscription was not held before, in any of the replicas.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Leaves the subscription; for the last holder, returns after the cleanup. Cancel safe:
    /// leaving goes on anyway.
    pub async fn leave(mut self) {
        self.has_left = true;
        let leaving = self.holdings.runtime.spawn(Arc::clone(&self.holdings).leave(self.scope.clone(), self.ticket));
        if let Err(error) = leaving.await {
            tracing::error!(subscription = %self.scope.subscription, %error, "leaving a subscription ended badly");
        }
    }
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if !self.has_left {
            self.holdings.runtime.spawn(Arc::clone(&self.holdings).leave(self.scope.clone(), self.ticket));
        }
    }
}

#[cfg(test)]
mod tests;

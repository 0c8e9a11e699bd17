//! Who holds a subscription upstream. The first one to enter it has the filter subscribe, the last one to leave has it
//! clean up, whoever that is and whichever of the replicas it is in (X9, L47 to L51).

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::AbortHandle;

use crate::{
    endpoint::Endpoint,
    filter::{CallError, Filter, Params},
    nats::Connection,
    registry::SubscriptionId,
};

mod file;
mod holdings;
mod keeper;
mod lease;
mod ledger;
mod shared;

use file::FileLedger;
use holdings::Holdings;
use ledger::{Ledger, Scope};
use shared::SharedLedger;

/// How long a replica may be silent before the others take it for dead.
pub const LEASE: Duration = Duration::from_secs(20);

/// All tenures of one router.
#[derive(Debug)]
pub struct Tenures {
    holdings: Arc<Holdings>,
    /// Renews the lease, where there is one.
    keeper: Option<AbortHandle>,
}

/// Who wants to hold which subscription.
#[derive(Clone, Debug)]
pub struct Entrant {
    pub filter: Filter,
    pub key: String,
    /// What the hooks may call of the API.
    pub endpoints: Vec<Endpoint>,
    /// Normalised.
    pub params: Params,
    pub subscription: SubscriptionId,
    /// What to call this one before others, such as ``route `large` `` or `process 4711`.
    pub name: String,
    /// Whether there may be one at a time in this router (L19).
    pub is_single: bool,
}

/// Why a subscription could not be entered. Nothing is held then.
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
    /// For a router that is alone. Tokens are kept in the file `tenures.json` of a folder, which is made when absent;
    /// what an earlier run left there is held until [`Self::clear`].
    ///
    /// # Errors
    /// When the file is there and can't be read.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn in_folder(folder: &Path) -> anyhow::Result<Self> {
        let ledger = Ledger::File(FileLedger::open(folder)?);
        Ok(Self { holdings: Holdings::new(ledger), keeper: None })
    }

    /// For a router that may have replicas. First and last hold across all that share the bucket `trommel_tenures`,
    /// which is made when a filter with hooks is in service. One that is silent for as long as `lease` is taken for
    /// dead, and the others clean up after it. A bucket that is made has so many `replicas`.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn across_replicas(connection: Connection, lease: Duration, replicas: usize) -> Self {
        let holdings = Holdings::new(Ledger::Shared(Box::new(SharedLedger::new(connection, lease, replicas))));
        let keeper = tokio::spawn(keeper::keep(Arc::clone(&holdings)));
        Self { holdings, keeper: Some(keeper.abort_handle()) }
    }

    /// The filters in service from now on, and what each key lets its filter call of the API. Cleanups run on these, whichever filter of the name it was that subscribed.
    pub fn set_filters(&self, filters: impl IntoIterator<Item = Filter>, endpoints: HashMap<String, Vec<Endpoint>>) {
        let filters = filters.into_iter().map(|filter| (filter.name().to_owned(), filter)).collect();
        self.holdings.set_filters(filters, endpoints);
    }

    /// Holds a subscription, and subscribes upstream when nobody held it. Waits for a cleanup that runs. Cancel safe:
    /// what was begun is finished and then given back.
    ///
    /// # Errors
    /// See [`EnterError`].
    pub async fn enter(&self, entrant: Entrant) -> Result<Tenure, EnterError> {
        let (holdings, subscription) = (Arc::clone(&self.holdings), entrant.subscription.clone());
        let entering = self.holdings.runtime.spawn(holdings.enter(entrant));
        entering.await.unwrap_or_else(|error| Err(EnterError::Ledger { subscription, source: error.into() }))
    }

    /// Cleans up what an earlier run left behind and nobody has entered since. To be called once, when everything that
    /// the configuration names has entered. Replicas see to it by themselves.
    pub async fn clear(&self) {
        if let Ledger::File(_) = self.holdings.ledger {
            self.holdings.sweep().await;
        }
    }

    /// Ends every tenure, each cleanup within its own deadline, all at once. Nothing is entered from now on.
    pub async fn close(&self) {
        let holdings = &self.holdings;
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
        // Until here the lease had to be renewed.
        self.stop_keeper();
        if let Ledger::Shared(ledger) = &holdings.ledger
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

/// A subscription that is held. Dropping it leaves, too, on a task of its own.
#[derive(Debug)]
pub struct Tenure {
    holdings: Arc<Holdings>,
    scope: Scope,
    ticket: u64,
    is_first: bool,
    has_left: bool,
}

impl Tenure {
    fn new(holdings: Arc<Holdings>, scope: Scope, ticket: u64, is_first: bool) -> Self {
        Self { holdings, scope, ticket, is_first, has_left: false }
    }

    /// Whether nobody held the subscription before, in any of the replicas.
    pub fn is_first(&self) -> bool {
        self.is_first
    }

    /// Gives the subscription up; the last one to do so returns when it is cleaned up. Cancel safe: it goes on anyway.
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

//! Scopes that this process holds, each changed by one task at a time: a task that subscribes or
//! cleans up has the scope to itself until that has returned (L51).

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, sync::OwnedMutexGuard, time::timeout};

use super::{
    EnterError, Tenure, TenureRequest,
    ledger::{ClaimAnswer, RecordedSecret, ReleaseAnswer, TenureLedger, TenureRecord, TenureScope},
};
use crate::{
    endpoint::Endpoint,
    filter::{Caller, Filter},
    poison::ignore_poison,
};

/// Longest time that a single consumer waits for its predecessor's cleanup (L19).
const PATIENCE: Duration = Duration::from_secs(3);

/// All scopes of the process, and everything needed to begin and end one.
#[derive(Debug)]
pub(super) struct Holdings {
    pub(super) ledger: TenureLedger,
    /// The filters in service, by name.
    filters: Mutex<HashMap<String, Filter>>,
    /// Endpoints of the API that a key lets its filter call, by key.
    endpoints: Mutex<HashMap<String, Vec<Endpoint>>>,
    scopes: Mutex<HashMap<TenureScope, Arc<tokio::sync::Mutex<ScopeHolding>>>>,
    next_ticket: AtomicU64,
    pub(super) is_closed: AtomicBool,
    pub(super) runtime: Handle,
}

/// One scope in this process, locked by the task that subscribes or cleans up until that has
/// returned (L51).
#[derive(Debug, Default)]
pub(super) struct ScopeHolding {
    /// Names of the holders, by ticket.
    pub(super) holders: BTreeMap<u64, String>,
    /// Record of the subscription upstream, and the filter that entered last. `None` if the filter
    /// has no hooks.
    pub(super) upstream: Option<(TenureRecord, HookRunner)>,
}

/// A filter, and the endpoints of the API that its hooks may call.
#[derive(Clone, Debug)]
pub(super) struct HookRunner {
    pub(super) filter: Filter,
    pub(super) endpoints: Vec<Endpoint>,
}

impl Holdings {
    pub(super) fn new(ledger: TenureLedger) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            filters: Mutex::default(),
            endpoints: Mutex::default(),
            scopes: Mutex::default(),
            next_ticket: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            runtime: Handle::current(),
        })
    }

    pub(super) async fn enter(self: Arc<Self>, entrant: TenureRequest) -> Result<Tenure, EnterError> {
        let TenureRequest { filter, key, endpoints, params, secrets, subscription, name, is_single } = entrant;
        let secrets = secrets.into_iter().map(RecordedSecret::new).collect();
        let scope = TenureScope { filter: filter.name().to_owned(), subscription };
        let mut holding = if is_single {
            let busy = |_| EnterError::Taken { subscription: scope.subscription.clone(), by: "a cleanup".to_owned() };
            timeout(PATIENCE, self.lock(&scope)).await.map_err(busy)?
        } else {
            self.lock(&scope).await
        };
        let wanted = TenureRecord { scope: scope.clone(), key, params, secrets, token: None };
        let entered = self.hold(&mut holding, HookRunner { filter, endpoints }, wanted, is_single).await;
        let entered = entered.map(|is_first| {
            let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
            holding.holders.insert(ticket, name);
            Tenure::new(Arc::clone(&self), scope.clone(), ticket, is_first)
        });
        self.forget_if_empty(&scope, holding);
        entered
    }

    /// Subscribes upstream if the holding has not done so yet. Returns whether the scope was not
    /// held before.
    async fn hold(
        &self,
        holding: &mut ScopeHolding,
        able: HookRunner,
        wanted: TenureRecord,
        is_single: bool,
    ) -> Result<bool, EnterError> {
        let subscription = &wanted.scope.subscription;
        if self.is_closed.load(Ordering::Acquire) {
            return Err(EnterError::Stopping);
        }
        if let Some(by) = holding.holders.values().next().filter(|_| is_single) {
            return Err(EnterError::Taken { subscription: subscription.clone(), by: by.clone() });
        }
        if !able.filter.has_lifecycle() {
            return Ok(holding.holders.is_empty());
        }
        let mut is_first = false;
        let record = match holding.upstream.take() {
            Some((record, _)) => record,
            None => {
                let (record, first) = self.subscribe(&able, wanted).await?;
                is_first = first;
                record
            }
        };
        holding.upstream = Some((record, able));
        Ok(is_first)
    }

    /// Claims the subscription, and runs the hook for the first consumer if it was not held.
    /// Returns its record, and whether it was not held before.
    pub(super) async fn subscribe(
        &self,
        able: &HookRunner,
        wanted: TenureRecord,
    ) -> Result<(TenureRecord, bool), EnterError> {
        let TenureRecord { scope, key, .. } = wanted.clone();
        let failed = |source| EnterError::Ledger { subscription: scope.subscription.clone(), source };
        let unfinished = match self.ledger.claim(&wanted).await.map_err(failed)? {
            ClaimAnswer::Held(record) => return Ok((record, false)),
            ClaimAnswer::First { unfinished } => unfinished,
        };
        if let Some(unfinished) = unfinished {
            self.clean_up(&unfinished, Some(able)).await;
        }
        let HookRunner { filter, endpoints } = able;
        match filter.pre_consume(Caller { key: &key, route: "", endpoints }, &wanted.handed()).await {
            Ok(token) => {
                let record = TenureRecord { token, ..wanted };
                if let Err(source) = self.ledger.hold(&record).await {
                    // A subscription that no ledger remembers is given back.
                    self.clean_up(&record, Some(able)).await;
                    self.end_in_ledger(&scope).await;
                    return Err(failed(source));
                }
                tracing::info!(subscription = %scope.subscription, filter = filter.name(), "subscribed upstream");
                Ok((record, true))
            }
            Err(source) => {
                self.end_in_ledger(&scope).await;
                Err(EnterError::PreConsume { key, source })
            }
        }
    }

    pub(super) async fn leave(self: Arc<Self>, scope: TenureScope, ticket: u64) {
        let mut holding = self.lock(&scope).await;
        holding.holders.remove(&ticket);
        self.end(&scope, holding).await;
    }

    /// Gives the subscription up if it has no holders any more.
    pub(super) async fn end(&self, scope: &TenureScope, mut holding: OwnedMutexGuard<ScopeHolding>) {
        if holding.holders.is_empty()
            && let Some((record, able)) = holding.upstream.take()
        {
            match self.ledger.release(record).await {
                Ok(ReleaseAnswer::Last(record)) => self.finish(&record, Some(&able)).await,
                Ok(ReleaseAnswer::NotLast) => {}
                Err(error) => tracing::warn!(
                    subscription = %scope.subscription,
                    error = format!("{error:#}"),
                    "can't find out whether others hold the subscription: they clean up when this router's lease \
                     has expired"
                ),
            }
        }
        self.forget_if_empty(scope, holding);
    }

    /// Cleans up and records that in the ledger.
    pub(super) async fn finish(&self, record: &TenureRecord, entered: Option<&HookRunner>) {
        if self.clean_up(record, entered).await {
            self.end_in_ledger(&record.scope).await;
        } else if let Err(error) = self.ledger.abandon(&record.scope).await {
            tracing::warn!(
                subscription = %record.scope.subscription, error = format!("{error:#}"),
                "a cleanup is left undone"
            );
        }
    }

    /// Runs the hook on the filter in service, else on the one that entered. Returns false if
    /// neither has it.
    async fn clean_up(&self, record: &TenureRecord, entered: Option<&HookRunner>) -> bool {
        let TenureRecord { scope: TenureScope { filter, subscription }, key, token, .. } = record;
        let Some(token) = token else { return true };
        let current = self.filter(filter);
        let endpoints = match entered {
            Some(entered) => entered.endpoints.clone(),
            None => self.endpoints(key),
        };
        let entered = entered.map(|entered| &entered.filter);
        let Some(able) = current.as_ref().into_iter().chain(entered).find(|filter| filter.has_lifecycle()) else {
            tracing::warn!(%subscription, filter, "cleanup skipped: no filter with this name and hook is loaded");
            return false;
        };
        match able.cleanup(Caller { key, route: "", endpoints: &endpoints }, &record.handed(), token).await {
            Ok(()) => tracing::info!(%subscription, filter, "cleaned up upstream"),
            Err(error) => {
                let error = format!("{:#}", anyhow::Error::from(error));
                tracing::warn!(%subscription, filter, error, "cleanup failed; subscribing again does no harm upstream");
            }
        }
        true
    }

    /// Returns the filter of this name that is in service.
    pub(super) fn filter(&self, name: &str) -> Option<Filter> {
        ignore_poison(self.filters.lock()).get(name).cloned()
    }

    fn endpoints(&self, key: &str) -> Vec<Endpoint> {
        ignore_poison(self.endpoints.lock()).get(key).cloned().unwrap_or_default()
    }

    async fn end_in_ledger(&self, scope: &TenureScope) {
        if let Err(error) = self.ledger.end(scope).await {
            tracing::warn!(
                subscription = %scope.subscription,
                error = format!("{error:#}"),
                "can't note that a subscription has ended: it will be cleaned up again"
            );
        }
    }

    /// Locks the holding of a scope for this task.
    pub(super) async fn lock(&self, scope: &TenureScope) -> OwnedMutexGuard<ScopeHolding> {
        let holding = {
            let mut scopes = ignore_poison(self.scopes.lock());
            Arc::clone(scopes.entry(scope.clone()).or_default())
        };
        holding.lock_owned().await
    }

    pub(super) fn forget_if_empty(&self, scope: &TenureScope, holding: OwnedMutexGuard<ScopeHolding>) {
        let mut scopes = ignore_poison(self.scopes.lock());
        // One reference is the table's, one the guard's: a third belongs to a waiting task.
        let is_alone = Arc::strong_count(OwnedMutexGuard::mutex(&holding)) == 2;
        if is_alone && holding.holders.is_empty() && holding.upstream.is_none() {
            scopes.remove(scope);
        }
    }

    pub(super) fn set_filters(&self, filters: HashMap<String, Filter>, endpoints: HashMap<String, Vec<Endpoint>>) {
        *ignore_poison(self.filters.lock()) = filters;
        *ignore_poison(self.endpoints.lock()) = endpoints;
    }

    /// Returns whether any filter in service has the hooks.
    pub(super) fn has_hooks(&self) -> bool {
        let filters = ignore_poison(self.filters.lock());
        filters.values().any(Filter::has_lifecycle)
    }

    /// Scopes that are held or being entered.
    pub(super) fn scopes(&self) -> Vec<TenureScope> {
        ignore_poison(self.scopes.lock()).keys().cloned().collect()
    }

    pub(super) fn has(&self, scope: &TenureScope) -> bool {
        ignore_poison(self.scopes.lock()).contains_key(scope)
    }
}

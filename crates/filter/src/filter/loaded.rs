//! Component in service, with the calls that the rest of the router makes.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, atomic::AtomicU32},
};

use super::{
    BrokenCall, CallError, CallFault, EventFields, Manifest, Params,
    account::MemoryCharge,
    error,
    granted::{Caller, GrantedResources},
    guest::LinkedHooks,
    health::FilterHealth,
    idle::IdleInstances,
    inspect::ComponentImports,
    instance::{Blueprint, FailedCall, GuestInstance, at_once},
    interest::DeclaredInterest,
    measures::KeyMeasures,
    state,
    subscription::{CallLimits, RouteSubscription},
};
use crate::{
    api::ApiClients,
    condition::{self, Conditions, PathSets},
    config::InstanceScope,
    metrics::FilterMetrics,
    poison::ignore_poison,
};

mod matcher;
mod process;
mod quarantine;
#[cfg(test)]
mod tests;
mod tick;

pub use matcher::Matcher;

/// Number of consecutive broken batches after which the batch call itself, not an event, seems to
/// be the cause.
const MOST_BREAKS: u32 = 3;

/// A component with one content, in service. Its code and instances go with its last clone.
#[derive(Clone)]
pub struct Filter(Arc<FilterInner>);

struct FilterInner {
    identity: FilterIdentity,
    manifest: Manifest,
    /// Bytes of memory of an instance before its first event.
    memory: usize,
    imports: ComponentImports,
    /// Blueprint of match instances, which may call nothing.
    matching: Blueprint,
    /// Blueprint of process instances, which may call what was granted.
    processing: Blueprint,
    /// `None` without the export.
    hooks: Option<LinkedHooks>,
    /// Idle process instances.
    idle: Arc<Mutex<IdleInstances>>,
    /// Memory charge of its machine code.
    _code: Arc<MemoryCharge>,
    health: FilterHealth,
    /// Consecutive batches of `process` that broke.
    batch_breaks: AtomicU32,
    metrics: Arc<FilterMetrics>,
    /// Store of all filters, and its limit in bytes. `None` without the grant.
    state: Option<(Arc<state::StateStore>, usize)>,
    /// Client of the API. `None` without the grant, or without an API.
    api: Option<ApiClients>,
    pointers: Arc<PathSets>,
}

/// Name and content of a component.
#[derive(Clone, Debug)]
pub(super) struct FilterIdentity {
    pub(super) name: Arc<str>,
    /// SHA-256 of the file, in hex.
    pub(super) digest: Arc<str>,
}

impl FilterIdentity {
    /// Makes a fault of a failed call: the guest's or the host's.
    pub(super) fn blame(&self, call: &'static str, failed: FailedCall) -> CallFault {
        let FailedCall { error, memory_refused, by_host, last_words, .. } = failed;
        if let Some(lack) = by_host {
            return CallFault::Host(error::report(error).context(lack));
        }
        CallFault::Broke(BrokenCall {
            filter: Arc::clone(&self.name),
            digest: Arc::clone(&self.digest),
            call,
            reason: error::reason(&error, memory_refused),
            detail: error::detail(&error, &last_words),
        })
    }
}

/// Arguments of [`Filter::new`] besides the manifest.
pub(super) struct FilterParts {
    pub(super) identity: FilterIdentity,
    pub(super) memory: usize,
    pub(super) code: Arc<MemoryCharge>,
    pub(super) imports: ComponentImports,
    pub(super) matching: Blueprint,
    pub(super) processing: Blueprint,
    pub(super) hooks: Option<LinkedHooks>,
    pub(super) instances: InstanceScope,
    pub(super) metrics: Arc<FilterMetrics>,
    pub(super) state: Option<(Arc<state::StateStore>, usize)>,
    pub(super) api: Option<ApiClients>,
    pub(super) pointers: Arc<PathSets>,
}

impl Filter {
    pub(super) fn new(parts: FilterParts, manifest: Manifest) -> Self {
        let FilterParts { identity, memory, code, imports, matching, processing, hooks, .. } = parts;
        let FilterParts { instances, metrics, state, api, pointers, .. } = parts;
        let idle = Arc::new(Mutex::new(IdleInstances::new(instances)));
        processing.account.watch(&idle);
        Self(Arc::new(FilterInner {
            identity,
            manifest,
            memory,
            imports,
            matching,
            processing,
            hooks,
            idle,
            _code: code,
            health: FilterHealth::default(),
            batch_breaks: AtomicU32::new(0),
            metrics,
            state,
            api,
            pointers,
        }))
    }

    /// The file's name without `.wasm`.
    pub fn name(&self) -> &str {
        &self.0.identity.name
    }

    /// SHA-256 of the file, in hex.
    pub fn digest(&self) -> &str {
        &self.0.identity.digest
    }

    pub fn manifest(&self) -> &Manifest {
        &self.0.manifest
    }

    /// Bytes of memory of an instance before its first event.
    pub fn memory(&self) -> usize {
        self.0.memory
    }

    /// Interfaces that it imports besides `log`.
    pub fn imports(&self) -> Vec<&'static str> {
        let ComponentImports { wasi, state, api } = self.0.imports;
        let named = [("api", api), ("state", state), ("wasi", wasi)].into_iter();
        named.filter(|(_, is_imported)| *is_imported).map(|(name, _)| name).collect()
    }

    /// Normalises a route's params, sorted by name; unchanged without a hook for it.
    ///
    /// # Errors
    /// If the filter refuses or breaks. Takes no longer than the load limit.
    pub async fn normalize_params(&self, caller: impl Into<Caller<'_>>, params: Params) -> Result<Params, CallError> {
        if !self.0.manifest.hooks.normalize_params {
            return Ok(params);
        }
        let granted = self.0.grant(caller.into());
        let taken = self.0.take(&granted.key).await;
        let mut instance = taken.map_err(|failed| self.0.blame("instantiate", failed))?;
        let answer = instance.normalize_params(&granted, &params).await;
        let answer = answer.map_err(|error| self.0.blame("normalize-params", instance.failed(error)))?;
        self.0.put_back(&granted.key, instance);
        let mut params = answer.map_err(CallError::Said)?;
        params.sort();
        Ok(params)
    }

    /// Creates a route's subscription, after a trial of the guest's constructor and its
    /// `conditions`. The params must be normalised.
    ///
    /// # Errors
    /// If the guest breaks, or its conditions are invalid. Takes no longer than the load limit.
    pub async fn subscribe(
        &self,
        caller: impl Into<Caller<'_>>,
        params: Params,
        limits: CallLimits,
    ) -> Result<Arc<RouteSubscription>, CallError> {
        let filter = self.clone();
        let caller = caller.into();
        let (granted, route) = (self.0.grant(caller), caller.route.into());
        // The guest may compute for as long as the load limit, which would block a worker of the
        // runtime.
        let trial = tokio::task::spawn_blocking(move || filter.0.subscribe(granted, route, params, limits));
        trial.await.map_err(|error| CallError::Host(error.into()))?
    }

    /// The same component reading other parts of events than its manifest asks for.
    pub fn reading(&self, match_reads: EventFields, process_reads: EventFields) -> Self {
        let FilterInner {
            identity,
            manifest,
            memory,
            imports,
            matching,
            processing,
            metrics,
            state,
            api,
            pointers,
            _code,
            ..
        } = &*self.0;
        let parts = FilterParts {
            identity: identity.clone(),
            memory: *memory,
            code: Arc::clone(_code),
            imports: *imports,
            instances: InstanceScope::default(),
            matching: matching.clone(),
            processing: processing.clone(),
            hooks: None,
            metrics: Arc::clone(metrics),
            state: state.clone(),
            api: api.clone(),
            pointers: Arc::clone(pointers),
        };
        Self::new(parts, Manifest { match_reads, process_reads, ..manifest.clone() })
    }

    /// Creates a matcher for one lane.
    pub fn matcher(&self) -> Matcher {
        Matcher::new(self.clone())
    }

    pub(super) fn hooks(&self) -> Option<&LinkedHooks> {
        self.0.hooks.as_ref()
    }

    /// Blueprint of process instances, which may call what was granted.
    pub(super) fn processing(&self) -> &Blueprint {
        &self.0.processing
    }

    pub(super) fn grant(&self, caller: Caller<'_>) -> Arc<GrantedResources> {
        self.0.grant(caller)
    }

    pub(super) fn blame(&self, call: &'static str, failed: FailedCall) -> CallFault {
        self.0.blame(call, failed)
    }
}

/// Filters are equal if they share their instances, not merely their content.
impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Filter").field(&self.0.identity).finish()
    }
}

impl FilterInner {
    fn blame(&self, call: &'static str, failed: FailedCall) -> CallFault {
        let fault = self.identity.blame(call, failed);
        if matches!(fault, CallFault::Broke(_)) {
            self.metrics.breaks.inc();
        }
        fault
    }

    /// Like [`Self::blame`], for a call about an event: wasted time counts towards quarantine.
    fn broke(&self, call: &'static str, failed: FailedCall) -> CallFault {
        if self.health.waste(failed.wasted) {
            self.show_health();
        }
        self.blame(call, failed)
    }

    fn grant(&self, Caller { key, route, endpoints }: Caller<'_>) -> Arc<GrantedResources> {
        let state = self.state.as_ref().map(|(state, limit)| state.scope(&self.identity.name, (key, route), *limit));
        let (key, metrics) = (Arc::from(key), self.manifest.metrics.iter());
        let declared = metrics.map(|metric| (&*metric.name, metric.kind));
        let measures = KeyMeasures(self.metrics.measured.of_key(&key, declared));
        Arc::new(GrantedResources { key, state, api: self.api.clone(), endpoints: endpoints.to_vec(), measures })
    }

    fn idle(&self) -> MutexGuard<'_, IdleInstances> {
        ignore_poison(self.idle.lock())
    }

    /// Takes a process instance for one call about an event of the key.
    async fn take(&self, key: &Arc<str>) -> Result<GuestInstance, FailedCall> {
        let idle = self.idle().take(key);
        if let Some(instance) = idle {
            return Ok(instance);
        }
        match self.processing.instantiate().await {
            // Idle instances of other keys only save time.
            Err(failed) if failed.by_host.is_some() && self.idle().clear() => self.processing.instantiate().await,
            instance => instance,
        }
    }

    fn put_back(&self, key: &Arc<str>, instance: GuestInstance) {
        if !instance.is_worn() {
            self.idle().put_back(key, instance);
        }
    }

    fn match_instance(&self) -> Result<GuestInstance, FailedCall> {
        at_once(self.matching.instantiate())
    }

    fn subscribe(
        &self,
        granted: Arc<GrantedResources>,
        route: Arc<str>,
        params: Params,
        limits: CallLimits,
    ) -> Result<Arc<RouteSubscription>, CallError> {
        let mut instance = self.match_instance().map_err(|failed| self.blame("instantiate", failed))?;
        let resource = at_once(instance.construct(&granted.key, &params))
            .map_err(|error| self.blame("constructor", instance.failed(error)))?
            .map_err(CallError::Said)?;
        let DeclaredInterest { conditions, match_reads, process_reads, sinks } =
            at_once(instance.interest(resource, &self.manifest))
                .map_err(|error| self.blame("conditions", instance.failed(error)))?;
        let conditions = conditions.map_err(CallError::Expression)?;
        // One walk over the payload finds what is tested and what is read.
        let reads = match_reads.pointers().chain(process_reads.pointers());
        let pointers: Vec<_> = condition::pointers(&conditions).chain(reads).collect();
        let conditions = Conditions::new(conditions, limits.match_cpu, &self.pointers, &pointers);
        let conditions = conditions.map_err(CallError::Condition)?;
        let match_reads = match_reads.resolve("matches", &self.pointers, &pointers)?;
        let process_reads = process_reads.resolve("process", &self.pointers, &pointers)?;
        Ok(Arc::new(RouteSubscription {
            granted,
            params,
            limits,
            conditions,
            hooks: self.manifest.hooks,
            route,
            match_reads,
            process_reads,
            sinks,
        }))
    }
}

//! Component in service, with the calls that the rest of the router makes.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use super::{
    BrokenCall, CallError, CallFault, EventFields, Manifest, Params, ProcessError, Verdict,
    account::MemoryCharge,
    error,
    granted::{Caller, GrantedResources},
    health::FilterHealth,
    idle::IdleInstances,
    inspect::ComponentImports,
    instance::{Blueprint, FailedCall, GuestInstance, NO_MEMORY, at_once},
    state,
    subscription::{CallLimits, RouteSubscription},
    v0_1::LinkedHooks,
};
use crate::{
    api::ApiClient,
    condition::{Conditions, PathSets},
    config::InstanceScope,
    event::Event,
    metrics::{FilterMetrics, SampledTime},
    poison::ignore_poison,
};

mod matcher;

pub use matcher::Matcher;

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
    metrics: Arc<FilterMetrics>,
    /// Store of all filters, and its limit in bytes. `None` without the grant.
    state: Option<(Arc<state::StateStore>, usize)>,
    /// Client of the API. `None` without the grant, or without an API.
    api: Option<ApiClient>,
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
        let FailedCall { error, memory_refused, by_host, .. } = failed;
        if let Some(lack) = by_host {
            return CallFault::Host(error::report(error).context(lack));
        }
        CallFault::Broke(BrokenCall {
            filter: Arc::clone(&self.name),
            digest: Arc::clone(&self.digest),
            call,
            reason: error::reason(&error, memory_refused),
            detail: error::detail(&error),
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
    pub(super) api: Option<ApiClient>,
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
        let granted = self.0.grant(caller.into());
        // The guest may compute for as long as the load limit, which would block a worker of the
        // runtime.
        let trial = tokio::task::spawn_blocking(move || filter.0.subscribe(granted, params, limits));
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

    /// Asks the guest for its verdict on an event. The caller bounds the calls under way at once.
    ///
    /// If the future is dropped the event is not processed, and the instance is gone.
    ///
    /// # Errors
    /// See [`ProcessError`].
    pub async fn process(
        &self,
        subscription: &Arc<RouteSubscription>,
        event: &Event,
        attempt: u32,
    ) -> Result<Verdict, ProcessError> {
        let FilterInner { manifest, metrics, .. } = &*self.0;
        if !manifest.hooks.process {
            return Ok(Verdict::Keep);
        }
        let key = &subscription.granted.key;
        let mut instance = self.0.take(key).await.map_err(|failed| self.0.broke("instantiate", failed))?;
        let began = SampledTime::begin(metrics.processes.inc());
        let answer = instance.process(subscription, event, attempt, manifest.process_reads).await;
        metrics.process_time.end(began);
        match answer {
            // A guest that handles a refused allocation returns a failure, but the host is at
            // fault.
            Ok(Err(failure)) if instance.was_starved() => {
                Err(ProcessError::Host(anyhow::Error::new(failure).context(NO_MEMORY)))
            }
            Ok(answer) => {
                self.0.put_back(key, instance);
                let held = self.0.processing.account.hold_outputs(answer?);
                held.ok_or_else(|| ProcessError::Host(anyhow::anyhow!(NO_MEMORY)))
            }
            Err(error) => Err(self.0.broke("process", instance.failed(error)).into()),
        }
    }

    /// Counts one break of this filter, in any call. Returns true if this one quarantines it.
    pub fn record_break(&self) -> bool {
        let quarantined = self.0.health.record_break();
        self.0.show_health();
        quarantined
    }

    /// Quarantines the filter, as requested by [`super::Failure::Broken`]. Returns true if new.
    pub fn quarantine(&self) -> bool {
        let quarantined = self.0.health.quarantine();
        self.0.show_health();
        quarantined
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

    /// Returns whether the filter is quarantined. Costs one relaxed load.
    pub fn is_quarantined(&self) -> bool {
        self.0.health.is_quarantined()
    }

    /// Lifts the quarantine and clears the record of breaks.
    pub fn lift(&self) {
        self.0.health.lift();
        self.0.show_health();
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

    fn show_health(&self) {
        self.metrics.quarantined.set(self.health.is_quarantined().into());
    }

    fn grant(&self, Caller { key, endpoints }: Caller<'_>) -> Arc<GrantedResources> {
        let state = self.state.as_ref().map(|(state, limit)| state.scope(&self.identity.name, key, *limit));
        Arc::new(GrantedResources { key: key.into(), state, api: self.api.clone(), endpoints: endpoints.to_vec() })
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
        params: Params,
        limits: CallLimits,
    ) -> Result<Arc<RouteSubscription>, CallError> {
        let mut instance = self.match_instance().map_err(|failed| self.blame("instantiate", failed))?;
        let resource = at_once(instance.construct(&granted.key, &params))
            .map_err(|error| self.blame("constructor", instance.failed(error)))?;
        let written = if self.manifest.hooks.conditions {
            at_once(instance.conditions(resource)).map_err(|error| self.blame("conditions", instance.failed(error)))?
        } else {
            Vec::new()
        };
        let conditions = Conditions::new(written, limits.match_cpu, &self.pointers).map_err(CallError::Condition)?;
        let hooks = self.manifest.hooks;
        Ok(Arc::new(RouteSubscription { granted, params, limits, conditions, hooks }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{ComponentMemory, FilterSettings, Grant, GuestLimits},
        event::{Headers, Origin},
        filter::Host,
    };

    const MISBEHAVE: &[u8] = include_bytes!("../../../../tests/guests/misbehave.wasm");

    async fn filter(instances: u32, limits: GuestLimits) -> Filter {
        let host = Host::with_room((instances, ComponentMemory::UNLIMITED), None, None, Arc::default()).unwrap();
        let name = "misbehave".to_owned();
        let settings = FilterSettings { grants: vec![Grant::State], limits, ..FilterSettings::new(name) };
        host.load("misbehave", MISBEHAVE.to_vec(), &settings).await.unwrap()
    }

    async fn subscribe(filter: &Filter) -> Arc<RouteSubscription> {
        let limits = CallLimits::new(&GuestLimits::default(), &Default::default());
        filter.subscribe("key", vec![("mode".to_owned(), "ok".to_owned())], limits).await.unwrap()
    }

    fn event() -> Event {
        Event {
            id: "1".into(),
            uid: Default::default(),
            event_type: "t".into(),
            subject: "s".into(),
            source_time: None,
            observed_at: 0,
            attempt: 1,
            headers: Headers::default(),
            payload: "{}".into(),
            origin: Arc::new(Origin { source: "s".to_owned(), stream: "S".to_owned() }),
            sequence: 1,
        }
    }

    /// A host without room is not a fault of the guest, and freed room is used.
    #[tokio::test]
    async fn a_full_pool_is_the_hosts_fault() {
        let filter = filter(2, GuestLimits::default()).await;
        let subscription = subscribe(&filter).await;
        let mut matchers = [filter.matcher(), filter.matcher()];
        for matcher in &mut matchers {
            assert!(matcher.matches(&subscription, &event()).unwrap());
        }
        let Err(CallFault::Host(error)) = filter.matcher().matches(&subscription, &event()) else { panic!("no room") };
        let error = format!("{error:#}");
        assert!(
            error.starts_with("no room for another instance of a filter: maximum concurrent limit of 2"),
            "{error}"
        );
        assert!(matches!(filter.process(&subscription, &event(), 1).await, Err(ProcessError::Host(_))));
        assert_eq!(filter.0.metrics.breaks.get(), 0);
        drop(matchers);
        assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
    }

    /// A hundred thousand instances fit no address space: they are made on demand instead.
    #[tokio::test]
    async fn without_a_pool_instances_are_made_on_demand() {
        let filter = filter(100_000, GuestLimits::default()).await;
        let subscription = subscribe(&filter).await;
        assert!(filter.matcher().matches(&subscription, &event()).unwrap());
        assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
    }

    #[tokio::test]
    async fn process_instances_are_used_again() {
        let filter = filter(2, GuestLimits::default()).await;
        let subscription = subscribe(&filter).await;
        for _ in 0..3 {
            filter.process(&subscription, &event(), 1).await.unwrap();
            assert_eq!(filter.0.idle().all().len(), 1);
        }
    }

    #[tokio::test]
    async fn objects_of_subscriptions_that_are_gone_are_dropped() {
        let filter = filter(10, GuestLimits::default()).await;
        let kept = subscribe(&filter).await;
        let mut matcher = filter.matcher();
        for _ in 0..1_000 {
            matcher.matches(&subscribe(&filter).await, &event()).unwrap();
            matcher.matches(&kept, &event()).unwrap();
            filter.process(&subscribe(&filter).await, &event(), 1).await.unwrap();
        }
        let matching = matcher.objects();
        let processing: usize = filter.0.idle().all().map(GuestInstance::objects).sum();
        assert!(matching <= 64 && processing <= 64, "{matching} and {processing} objects are left");
    }

    /// An instance that has used up most of its memory is replaced before it fails.
    #[tokio::test]
    async fn worn_instances_are_replaced() {
        let filter = filter(10, GuestLimits { memory: 1_300 << 10, ..GuestLimits::default() }).await;
        let subscription = subscribe(&filter).await;
        let mut matcher = filter.matcher();
        assert!(matcher.matches(&subscription, &event()).unwrap());
        assert!(!matcher.has_instance());
        assert_eq!(filter.process(&subscription, &event(), 1).await.unwrap(), Verdict::Keep);
        assert_eq!(filter.0.idle().all().len(), 0);
    }
}

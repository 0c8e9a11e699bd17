//! Instance of a guest: the store, the functions, and the guest's objects for the subscriptions
//! that it serves.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::timeout;
use wasmtime::{Engine, Store, UpdateDeadline, component::ResourceAny};

use super::{
    Failure, Manifest, Params,
    account::MemoryAccount,
    batch::EventColumns,
    error::{self, BreakReason, Violation},
    granted::GrantedResources,
    guest::{GuestFunctions, LinkedComponent},
    interest::DeclaredInterest,
    journal::{GuestLog, LogRate},
    measures::UndeclaredMetrics,
    pace::CallPace,
    sandbox::{InstanceKind, InstanceMemory, Sandbox},
    subscription::{RouteSubscription, time_for, time_of_batch},
};
use crate::{config::GuestLimits, event::Event, projection::ProjectedValues};

mod annotations;
mod process;
mod tick;

/// Most component handles of an instance, the guest's objects for subscriptions included.
const MAX_HANDLES: usize = 100_000;
/// Most bytes that a guest may hand over at once where no output limit applies: manifests, params,
/// conditions, calls to the host.
const MAX_HANDED_OVER: usize = 4 << 20;
/// Calls after which an instance is replaced, so that a leak of a few bytes a call stays small.
const MAX_CALLS: u64 = 1_000_000;
/// Number of guest objects below which abandoned ones are not looked for.
const FIRST_SWEEP: usize = 64;

/// Everything needed to make instances of one component.
#[derive(Clone)]
pub(super) struct Blueprint {
    pub(super) engine: Engine,
    pub(super) filter: Arc<str>,
    pub(super) kind: InstanceKind,
    pub(super) linked: LinkedComponent,
    /// True if calls must be made asynchronously, because some imports are.
    pub(super) has_wasi: bool,
    /// True if `process` can call nothing that it may have to wait for.
    pub(super) only_computes: bool,
    pub(super) pace: Arc<CallPace>,
    pub(super) limits: GuestLimits,
    pub(super) log_rate: Arc<LogRate>,
    /// True if the filter has metrics of its own.
    pub(super) has_metrics: bool,
    pub(super) undeclared: Arc<UndeclaredMetrics>,
    pub(super) account: Arc<MemoryAccount>,
}

pub(super) struct GuestInstance {
    store: Store<Sandbox>,
    guest: GuestFunctions,
    has_wasi: bool,
    only_computes: bool,
    pace: Arc<CallPace>,
    has_metrics: bool,
    limits: GuestLimits,
    /// Largest total size of one event's outputs, and largest size of one output, in bytes.
    most: (usize, usize),
    subscriptions: GuestObjects,
    /// Objects for `filter-batch`.
    batches: GuestObjects,
    calls: u64,
}

/// The guest's objects for the subscriptions that an instance serves.
#[derive(Default)]
struct GuestObjects {
    /// Objects by the subscription's address. The weak reference keeps the address from being used
    /// again.
    known: HashMap<usize, (Weak<RouteSubscription>, ResourceAny)>,
    sweep_at: usize,
}

impl GuestObjects {
    fn get(&self, subscription: &Arc<RouteSubscription>) -> Option<ResourceAny> {
        self.known.get(&address(subscription)).map(|(_, resource)| *resource)
    }

    fn insert(&mut self, subscription: &Arc<RouteSubscription>, resource: ResourceAny) {
        self.known.insert(address(subscription), (Arc::downgrade(subscription), resource));
    }

    /// Removes the objects of subscriptions that are gone, and returns them. Looks for them only
    /// once in a while.
    fn abandoned(&mut self) -> Vec<ResourceAny> {
        if self.known.len() < self.sweep_at.max(FIRST_SWEEP) {
            return Vec::new();
        }
        let abandoned = self.known.extract_if(|_, (subscription, _)| subscription.strong_count() == 0);
        let abandoned = abandoned.map(|(_, (_, resource))| resource).collect();
        self.sweep_at = self.known.len() * 2;
        abandoned
    }
}

/// A failed call or instantiation.
pub(super) struct FailedCall {
    pub(super) error: wasmtime::Error,
    /// True if the guest was denied memory.
    pub(super) memory_refused: bool,
    /// Resource that the host lacked, if the host and not the guest is at fault.
    pub(super) by_host: Option<&'static str>,
    /// The whole time limit of the call if it was used up, otherwise 0.
    pub(super) wasted: Duration,
    /// Lines that the guest logged or printed during the call.
    pub(super) last_words: String,
}

impl From<Violation> for FailedCall {
    fn from(violation: Violation) -> Self {
        let (wasted, last_words) = Default::default();
        Self { error: violation.into(), memory_refused: false, by_host: None, wasted, last_words }
    }
}

impl Blueprint {
    /// Creates the store of one instance, with the budgets of the load limit.
    pub(super) fn store(&self) -> Store<Sandbox> {
        let journal = GuestLog::new(Arc::clone(&self.filter), Arc::clone(&self.log_rate));
        let mut sandbox =
            Sandbox::new(journal, self.kind, InstanceMemory::new(self.limits.memory, Arc::clone(&self.account)));
        sandbox.telemetry.undeclared = Arc::clone(&self.undeclared);
        let mut store = Store::new(&self.engine, sandbox);
        store.limiter(|sandbox| &mut sandbox.memory);
        store.set_max_component_handles(MAX_HANDLES);
        store.set_hostcall_fuel(MAX_HANDED_OVER);
        let kind = self.kind;
        // Counts the ticks during which the guest ran, so that a thread held up by the system does
        // not shorten its time.
        store.epoch_deadline_callback(move |mut store| {
            let sandbox = store.data_mut();
            if sandbox.ticks == 0 {
                return Ok(UpdateDeadline::Interrupt);
            }
            sandbox.ticks -= 1;
            Ok(match kind {
                InstanceKind::Process if !sandbox.holds_thread => {
                    // A guest that uses up its budget lets other tasks run in between.
                    UpdateDeadline::Yield(1)
                }
                InstanceKind::Match | InstanceKind::Process => UpdateDeadline::Continue(1),
            })
        });
        let GuestLimits { load, host_calls, log_lines, .. } = self.limits;
        store.data_mut().begin(load, host_calls, log_lines);
        store.set_epoch_deadline(1);
        store
    }

    /// Runs the guest's own start code, within the load limit. For a process instance, which may
    /// wait, this needs a runtime with a clock.
    pub(super) async fn instantiate(&self) -> Result<GuestInstance, FailedCall> {
        let mut store = self.store();
        let starting = self.linked.instantiate(&mut store);
        let started = match self.kind {
            InstanceKind::Match => starting.await,
            InstanceKind::Process => within(self.limits.load, starting).await,
        };
        match started {
            Ok(guest) => Ok(GuestInstance {
                store,
                guest,
                has_wasi: self.has_wasi,
                only_computes: self.only_computes,
                pace: Arc::clone(&self.pace),
                has_metrics: self.has_metrics,
                limits: self.limits,
                most: self.account.most(),
                subscriptions: GuestObjects::default(),
                batches: GuestObjects::default(),
                calls: 0,
            }),
            Err(error) => {
                let failed = failed(&store, error);
                let is_hosts = !failed.memory_refused && !error::is_from_guest(&failed.error);
                Err(FailedCall { by_host: failed.by_host.or(is_hosts.then_some(NO_INSTANCE)), ..failed })
            }
        }
    }
}

/// Error if the host has no room for an instance.
const NO_INSTANCE: &str = "no room for another instance of a filter";
/// Error if the host has no memory for the components.
pub(super) const NO_MEMORY: &str =
    "the components have used up their part of `[limits] memory`: raise it if that goes on";

/// Collects the details of a failed call from its error and the store.
pub(super) fn failed(store: &Store<Sandbox>, error: wasmtime::Error) -> FailedCall {
    let Sandbox { memory, cpu, journal, .. } = store.data();
    let is_starved = memory.starved && error::reason(&error, memory.refused) == BreakReason::Memory;
    let by_host = error::has_no_room(&error).then_some(NO_INSTANCE).or(is_starved.then_some(NO_MEMORY));
    let wasted = error::time_used_up(&error, *cpu);
    FailedCall { memory_refused: memory.refused, error, by_host, wasted, last_words: journal.last_words() }
}

/// Calls of the contract. After an error the instance must be dropped.
impl GuestInstance {
    pub(super) fn failed(&self, error: wasmtime::Error) -> FailedCall {
        failed(&self.store, error)
    }

    /// Returns whether the instance should be replaced before its next call.
    pub(super) fn is_worn(&self) -> bool {
        self.calls >= MAX_CALLS || self.store.data().memory.is_worn()
    }

    /// Returns whether the last call was denied memory that its own limit allows.
    pub(super) fn was_starved(&self) -> bool {
        self.store.data().memory.starved
    }

    /// Bytes of all its memories and tables.
    pub(super) fn memory(&self) -> usize {
        self.store.data().memory.used
    }

    pub(super) async fn describe(&mut self) -> wasmtime::Result<Manifest> {
        self.begin_load();
        self.guest.describe(&mut self.store).await
    }

    pub(super) async fn normalize_params(
        &mut self,
        granted: &Arc<GrantedResources>,
        params: &Params,
    ) -> wasmtime::Result<Result<Params, Failure>> {
        self.begin_load();
        self.store.data_mut().grant(granted, self.limits.load);
        let key = &granted.key;
        let answer = within(self.limits.load, self.guest.normalize_params(&mut self.store, key, params)).await;
        self.store.data().journal.end(key, None, answer.is_err());
        answer
    }

    /// Constructs the guest's object for one route, which the caller drops with the instance.
    pub(super) async fn construct(
        &mut self,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<ResourceAny, Failure>> {
        self.begin_load();
        let resource = self.guest.subscribe(&mut self.store, key, params).await;
        self.store.data().journal.end(key, None, resource.is_err());
        resource
    }

    pub(super) async fn interest(
        &mut self,
        resource: ResourceAny,
        manifest: &Manifest,
    ) -> wasmtime::Result<DeclaredInterest> {
        self.begin_load();
        self.guest.interest(&mut self.store, resource, manifest).await
    }

    /// Calls `matches`. `values` are those of the fields that it reads.
    pub(super) fn matches(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        event: &Event,
        values: &ProjectedValues<'_>,
    ) -> wasmtime::Result<bool> {
        let resource = match self.subscriptions.get(subscription) {
            Some(known) => known,
            None => at_once(self.resource(subscription))?,
        };
        self.calls += 1;
        if self.has_metrics {
            self.store.data_mut().granted = Arc::clone(&subscription.granted);
        }
        let limits = &subscription.limits;
        let cpu = time_for(limits.match_cpu, event.payload.len());
        self.store.data_mut().begin(cpu, 0, limits.log_lines);
        self.store.set_epoch_deadline(1);
        let (store, reads) = (&mut self.store, subscription.match_reads.parts);
        let answer = if self.has_wasi {
            store.data().set_clock(event.observed_at);
            match &self.guest {
                GuestFunctions::V0_1(guest) => at_once(guest.matches_async(store, resource, event, reads)),
                GuestFunctions::V0_2(guest) => at_once(guest.matches_async(store, resource, values)),
            }
        } else {
            match &self.guest {
                GuestFunctions::V0_1(guest) => guest.matches(store, resource, event, reads),
                GuestFunctions::V0_2(guest) => guest.matches(store, resource, values),
            }
        };
        self.store.data().journal.end(subscription.key(), Some(event), answer.is_err());
        answer
    }

    /// Calls `matches` for the `count` events of the columns, the first of which was seen at
    /// `observed_at`. The answer has a bit for each.
    pub(super) fn matches_batch(
        &mut self,
        subscription: &Arc<RouteSubscription>,
        columns: &EventColumns,
        (count, observed_at): (usize, u64),
    ) -> wasmtime::Result<Vec<u64>> {
        let known = match &self.guest {
            GuestFunctions::V0_1(_) => self.batches.get(subscription),
            GuestFunctions::V0_2(_) => self.subscriptions.get(subscription),
        };
        let resource = match known {
            Some(known) => known,
            None => at_once(self.batch(subscription))?,
        };
        self.calls += 1;
        if self.has_metrics {
            self.store.data_mut().granted = Arc::clone(&subscription.granted);
        }
        let limits = &subscription.limits;
        let cpu = time_of_batch(limits.match_cpu, count, columns.arena().len());
        self.store.data_mut().begin(cpu, 0, limits.log_lines);
        self.store.set_epoch_deadline(1);
        let store = &mut self.store;
        let answers = if self.has_wasi {
            store.data().set_clock(observed_at);
            match &self.guest {
                GuestFunctions::V0_1(guest) => at_once(guest.batch()?.matches_async(store, resource, columns)),
                GuestFunctions::V0_2(guest) => at_once(guest.matches_batch_async(store, resource, columns)),
            }
        } else {
            match &self.guest {
                GuestFunctions::V0_1(guest) => guest.batch()?.matches(store, resource, columns),
                GuestFunctions::V0_2(guest) => guest.matches_batch(store, resource, columns),
            }
        };
        self.store.data().journal.end(subscription.key(), None, answers.is_err());
        let answers = answers?;
        if answers.len() != count.div_ceil(64) {
            return Err(Violation::Answers { found: answers.len(), events: count }.into());
        }
        Ok(answers)
    }

    async fn resource(&mut self, subscription: &Arc<RouteSubscription>) -> wasmtime::Result<ResourceAny> {
        if let Some(known) = self.subscriptions.get(subscription) {
            return Ok(known);
        }
        let abandoned = self.subscriptions.abandoned();
        self.drop_objects(abandoned).await?;
        let made = self.construct(subscription.key(), &subscription.params).await?;
        let resource = made.map_err(Violation::Constructor)?;
        self.subscriptions.insert(subscription, resource);
        Ok(resource)
    }

    /// Returns the guest's object for batches, which version 0.1 has apart.
    async fn batch(&mut self, subscription: &Arc<RouteSubscription>) -> wasmtime::Result<ResourceAny> {
        let abandoned = self.batches.abandoned();
        self.drop_objects(abandoned).await?;
        self.begin_load();
        let GuestFunctions::V0_1(guest) = &self.guest else { return self.resource(subscription).await };
        let (batch, key) = (guest.batch()?, subscription.key());
        let resource = batch.subscribe(&mut self.store, key, &subscription.params).await?;
        self.batches.insert(subscription, resource);
        Ok(resource)
    }

    async fn drop_objects(&mut self, abandoned: Vec<ResourceAny>) -> wasmtime::Result<()> {
        for resource in abandoned {
            self.begin_load();
            resource.resource_drop_async(&mut self.store).await?;
        }
        Ok(())
    }

    /// Number of the guest's objects that are alive.
    #[cfg(test)]
    pub(super) fn objects(&self) -> usize {
        self.subscriptions.known.len() + self.batches.known.len()
    }

    /// Opens the budgets of a call that is not about one event.
    fn begin_load(&mut self) {
        let GuestLimits { load, host_calls, log_lines, .. } = self.limits;
        self.store.data_mut().begin(load, host_calls, log_lines);
        self.store.data_mut().is_about_event = false;
        self.store.set_epoch_deadline(1);
    }
}

fn address(subscription: &Arc<RouteSubscription>) -> usize {
    Arc::as_ptr(subscription).addr()
}

/// Runs a call that may only compute, by a single poll.
pub(super) fn at_once<T, E: From<Violation>>(call: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(Violation::Waited.into()),
    }
}

/// Runs a call within a wall-clock limit. Nearly every call is done at the first poll; only the
/// others are worth a timer.
pub(super) async fn within<T>(wall: Duration, call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    let mut call = pin!(call);
    match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
        Poll::Ready(answer) => answer,
        Poll::Pending => timeout(wall, call).await.unwrap_or_else(|_| Err(Violation::Wall(wall).into())),
    }
}

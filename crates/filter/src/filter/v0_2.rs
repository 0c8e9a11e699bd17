//! Version 0.2 of the contract: its bindings, and the conversion to and from the router's own
//! types. Events are handed over as the values of those fields that a subscription asked for.

use std::time::Duration;

use smallvec::SmallVec;
use wasmtime::{
    Store,
    component::{HasSelf, InstancePre, Linker, ResourceAny},
};

use super::{
    Failure, FailureCause, FailureKind, Manifest, Params, Verdict,
    batch::EventColumns,
    error::{Violation, cut_code, cut_reason},
    interest::{DeclaredInterest, DeclaredReads},
    outputs::OutputLimits,
    sandbox::Sandbox,
    subscription::{ReadEvent, RouteSubscription},
};
use crate::{condition, event::Event, projection::ProjectedValues};
// The bindings' own module, not this crate.
use self::trommel::filter::{api, log, state, telemetry, types};

mod imports;
mod lifecycle;
mod verdict;

pub(super) use lifecycle::LinkedHooks;

wasmtime::component::bindgen!({
    path: "../../wit/v0.2.0",
    world: "filter-component",
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: {
        "trommel:filter/api.call": async | trappable,
        "trommel:filter/state.get": async | trappable,
        "trommel:filter/state.get-many": async | trappable,
        "trommel:filter/state.set": async | trappable,
        "trommel:filter/state.set-many": async | trappable,
        "trommel:filter/state.delete": async | trappable,
        "trommel:filter/state.delete-many": async | trappable,
        "trommel:filter/state.keys": async | trappable,
        "trommel:filter/state.increment": async | trappable,
        "trommel:filter/state.swap": async | trappable,
        default: trappable,
    },
    exports: { default: async },
});

/// Links the imports that every guest is given.
pub(super) fn add_log(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)?;
    log::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)?;
    telemetry::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)
}

/// Links the imports that a guest may be granted.
pub(super) fn add_imports(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    api::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)?;
    state::add_to_linker::<_, HasSelf<Sandbox>>(linker, |sandbox| sandbox)
}

/// A component that is linked and ready to be instantiated.
#[derive(Clone)]
pub(super) struct LinkedComponent(FilterComponentPre<Sandbox>);

impl LinkedComponent {
    pub(super) fn new(component: InstancePre<Sandbox>) -> wasmtime::Result<Self> {
        FilterComponentPre::new(component).map(Self)
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<GuestFunctions> {
        self.0.instantiate_async(store).await.map(GuestFunctions)
    }
}

/// Functions of one instance.
pub(super) struct GuestFunctions(FilterComponent);

impl GuestFunctions {
    pub(super) async fn describe(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<Manifest> {
        let text = self.0.trommel_filter_filter().call_describe(store).await?;
        Manifest::parse(&text).map_err(|why| Violation::Manifest(cut_reason(why)).into())
    }

    pub(super) async fn normalize_params(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<Params, Failure>> {
        let answer = self.0.trommel_filter_filter().call_normalize_params(store, key, &borrow(params)).await?;
        Ok(answer.map_err(Failure::from))
    }

    pub(super) async fn subscribe(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<ResourceAny, Failure>> {
        let filter = self.0.trommel_filter_filter();
        let made = filter.subscription().call_constructor(store, key, &borrow(params)).await?;
        Ok(made.map_err(Failure::from))
    }

    pub(super) async fn interest(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
    ) -> wasmtime::Result<DeclaredInterest> {
        let filter = self.0.trommel_filter_filter();
        let types::Interest { condition, match_reads, process_reads, sinks } =
            filter.subscription().call_interest(store, subscription).await?;
        Ok(DeclaredInterest {
            conditions: condition::parse(&condition),
            match_reads: DeclaredReads::Names(match_reads),
            process_reads: DeclaredReads::Names(process_reads),
            sinks: sinks.into_iter().map(Into::into).collect(),
        })
    }

    /// Calls `matches` on a store that needs no fiber: cheaper than [`Self::matches_async`].
    pub(super) fn matches(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        values: &ProjectedValues<'_>,
    ) -> wasmtime::Result<bool> {
        let filter = self.0.trommel_filter_filter();
        Ok(filter.subscription().func_matches().call(store, (subscription, &lent(values)))?.0)
    }

    pub(super) async fn matches_async(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        values: &ProjectedValues<'_>,
    ) -> wasmtime::Result<bool> {
        self.0.trommel_filter_filter().subscription().call_matches(store, subscription, &lent(values)).await
    }

    pub(super) fn matches_batch(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        columns: &EventColumns,
    ) -> wasmtime::Result<Vec<u64>> {
        let filter = self.0.trommel_filter_filter();
        Ok(filter.subscription().func_matches_batch().call(store, (subscription, batch(columns)))?.0)
    }

    pub(super) async fn matches_batch_async(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        columns: &EventColumns,
    ) -> wasmtime::Result<Vec<u64>> {
        self.0.trommel_filter_filter().subscription().call_matches_batch(store, subscription, batch(columns)).await
    }

    /// Calls `process` on a store that needs no fiber: cheaper than [`Self::process`].
    pub(super) fn process_at_once(
        &self,
        store: &mut Store<Sandbox>,
        object: ResourceAny,
        subscription: &RouteSubscription,
        read: &ReadEvent<'_>,
        limits: OutputLimits,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let filter = self.0.trommel_filter_filter();
        let (answer,) = filter.subscription().func_process().call(store, (object, &lent(&read.values)))?;
        Ok(verdict::of(answer, subscription, (read.event, &read.outline), limits)?)
    }

    pub(super) async fn process(
        &self,
        store: &mut Store<Sandbox>,
        object: ResourceAny,
        subscription: &RouteSubscription,
        read: &ReadEvent<'_>,
        limits: OutputLimits,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let filter = self.0.trommel_filter_filter();
        let answer = filter.subscription().call_process(store, object, &lent(&read.values)).await?;
        Ok(verdict::of(answer, subscription, (read.event, &read.outline), limits)?)
    }

    pub(super) async fn tick(
        &self,
        store: &mut Store<Sandbox>,
        object: ResourceAny,
        subscription: &RouteSubscription,
        now: u64,
        limits: OutputLimits,
    ) -> wasmtime::Result<Result<Verdict, Failure>> {
        let answer = self.0.trommel_filter_filter().subscription().call_tick(store, object, now).await?;
        match answer {
            Ok(emissions) => Ok(Ok(verdict::of_emissions(emissions, subscription, limits)?)),
            Err(failure) => Ok(Err(failure.into())),
        }
    }

    /// Answers for each of the events of the columns.
    pub(super) async fn process_batch(
        &self,
        store: &mut Store<Sandbox>,
        object: ResourceAny,
        subscription: &RouteSubscription,
        events: &[&Event],
        columns: &EventColumns,
        limits: OutputLimits,
    ) -> wasmtime::Result<Vec<Result<Verdict, Failure>>> {
        let filter = self.0.trommel_filter_filter();
        let answers = filter.subscription().call_process_batch(store, object, batch(columns)).await?;
        if answers.len() != events.len() {
            return Err(Violation::Outcomes { found: answers.len(), events: events.len() }.into());
        }
        let known = events.iter().copied().zip(columns.outlines());
        let verdict = |(answer, event)| verdict::of(answer, subscription, event, limits);
        Ok(answers.into_iter().zip(known).map(verdict).collect::<Result<_, _>>()?)
    }
}

fn borrow(params: &Params) -> Vec<(&str, &str)> {
    params.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn lent<'a>(values: &'a ProjectedValues<'_>) -> SmallVec<[Option<&'a [u8]>; 8]> {
    values.iter().map(Option::as_deref).collect()
}

fn batch(columns: &EventColumns) -> types::EventBatch<'_> {
    types::EventBatch { arena: columns.arena(), index: columns.index() }
}

impl From<types::Cause> for FailureCause {
    fn from(types::Cause { code, detail }: types::Cause) -> Self {
        Self { code: code.and_then(cut_code), detail: cut_reason(detail) }
    }
}

impl From<types::Failure> for Failure {
    fn from(types::Failure { kind, cause }: types::Failure) -> Self {
        let kind = match kind {
            types::FailureKind::Malformed => FailureKind::Malformed,
            types::FailureKind::Retry(after) => FailureKind::Retry(Duration::from_millis(after.into())),
            types::FailureKind::Failed => FailureKind::Failed,
            types::FailureKind::Defer(after) => FailureKind::Defer(Duration::from_millis(after.into())),
            types::FailureKind::Broken => FailureKind::Broken,
        };
        Self { kind, cause: cause.into() }
    }
}

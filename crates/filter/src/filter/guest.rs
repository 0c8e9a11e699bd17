//! A component of one of the contract's versions: each has a module of its own with its bindings,
//! which the version that the component names chooses when it is loaded.

use wasmtime::{
    Store,
    component::{InstancePre, Linker, ResourceAny},
};

use super::{Failure, Manifest, Params, interest::DeclaredInterest, sandbox::Sandbox, v0_1, v0_2};

/// Supported versions, the oldest first.
pub(super) const VERSIONS: [&str; 3] = ["0.1.0", "0.1.1", "0.2.0"];

/// The WIT packages, the oldest first. A component is checked against the one that it was built
/// for.
pub(super) const WITS: [&str; 3] = [
    include_str!("../../../../wit/v0.1.0/filter.wit"),
    include_str!("../../../../wit/v0.1.1/filter.wit"),
    include_str!("../../../../wit/v0.2.0/filter.wit"),
];

/// Versions whose components have the same bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContractSeries {
    V0_1,
    V0_2,
}

/// A component that is linked and ready to be instantiated.
#[derive(Clone)]
pub(super) enum LinkedComponent {
    V0_1(v0_1::LinkedComponent),
    V0_2(v0_2::LinkedComponent),
}

/// Functions of one instance.
pub(super) enum GuestFunctions {
    V0_1(v0_1::GuestFunctions),
    V0_2(v0_2::GuestFunctions),
}

/// A component that exports `lifecycle`, linked and ready to be instantiated.
#[derive(Clone)]
pub(super) enum LinkedHooks {
    V0_1(v0_1::LinkedHooks),
    V0_2(v0_2::LinkedHooks),
}

/// Links the imports that every guest is given, of every version.
pub(super) fn add_log(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    v0_1::add_log(linker)?;
    v0_2::add_log(linker)
}

/// Links the imports that a guest may be granted, of every version.
pub(super) fn add_imports(linker: &mut Linker<Sandbox>) -> wasmtime::Result<()> {
    v0_1::add_imports(linker)?;
    v0_2::add_imports(linker)
}

impl LinkedComponent {
    /// `has_batch` tells whether it exports `filter-batch` of version 0.1.1.
    pub(super) fn new(
        series: ContractSeries,
        component: InstancePre<Sandbox>,
        has_batch: bool,
    ) -> wasmtime::Result<Self> {
        Ok(match series {
            ContractSeries::V0_1 => Self::V0_1(v0_1::LinkedComponent::new(component, has_batch)?),
            ContractSeries::V0_2 => Self::V0_2(v0_2::LinkedComponent::new(component)?),
        })
    }

    pub(super) async fn instantiate(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<GuestFunctions> {
        Ok(match self {
            Self::V0_1(linked) => GuestFunctions::V0_1(linked.instantiate(store).await?),
            Self::V0_2(linked) => GuestFunctions::V0_2(linked.instantiate(store).await?),
        })
    }
}

impl GuestFunctions {
    pub(super) async fn describe(&self, store: &mut Store<Sandbox>) -> wasmtime::Result<Manifest> {
        match self {
            Self::V0_1(guest) => guest.describe(store).await,
            Self::V0_2(guest) => guest.describe(store).await,
        }
    }

    pub(super) async fn normalize_params(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<Params, Failure>> {
        match self {
            Self::V0_1(guest) => guest.normalize_params(store, key, params).await,
            Self::V0_2(guest) => guest.normalize_params(store, key, params).await,
        }
    }

    /// Constructs the guest's object for a route. That of version 0.1 can't refuse.
    pub(super) async fn subscribe(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<ResourceAny, Failure>> {
        match self {
            Self::V0_1(guest) => guest.subscribe(store, key, params).await.map(Ok),
            Self::V0_2(guest) => guest.subscribe(store, key, params).await,
        }
    }

    pub(super) async fn interest(
        &self,
        store: &mut Store<Sandbox>,
        subscription: ResourceAny,
        manifest: &Manifest,
    ) -> wasmtime::Result<DeclaredInterest> {
        match self {
            Self::V0_1(guest) => guest.interest(store, subscription, manifest).await,
            Self::V0_2(guest) => guest.interest(store, subscription).await,
        }
    }
}

impl LinkedHooks {
    pub(super) fn new(series: ContractSeries, component: InstancePre<Sandbox>) -> wasmtime::Result<Self> {
        Ok(match series {
            ContractSeries::V0_1 => Self::V0_1(v0_1::LinkedHooks::new(component)?),
            ContractSeries::V0_2 => Self::V0_2(v0_2::LinkedHooks::new(component)?),
        })
    }

    pub(super) async fn pre_consume(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<Option<String>, Failure>> {
        match self {
            Self::V0_1(hooks) => hooks.pre_consume(store, key, params).await,
            Self::V0_2(hooks) => hooks.pre_consume(store, key, params).await,
        }
    }

    pub(super) async fn cleanup(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
        token: &str,
    ) -> wasmtime::Result<Result<(), Failure>> {
        match self {
            Self::V0_1(hooks) => hooks.cleanup(store, key, params, token).await,
            Self::V0_2(hooks) => hooks.cleanup(store, key, params, token).await,
        }
    }
}

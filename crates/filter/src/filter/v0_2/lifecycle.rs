//! The optional part of version 0.2: the hooks for the first consumer's arrival and the last one's
//! departure.

use wasmtime::{Store, component::InstancePre};

use super::{Failure, Params, Sandbox, borrow};

wasmtime::component::bindgen!({
    path: "../../wit/v0.2.0",
    world: "filter-lifecycle",
    // The types and the imports are those of the smaller world.
    with: { "trommel:filter": super::trommel::filter },
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
    exports: { default: async },
});

/// A component that exports `lifecycle`, linked and ready to be instantiated.
#[derive(Clone)]
pub(in crate::filter) struct LinkedHooks(FilterLifecyclePre<Sandbox>);

impl LinkedHooks {
    pub(in crate::filter) fn new(component: InstancePre<Sandbox>) -> wasmtime::Result<Self> {
        FilterLifecyclePre::new(component).map(Self)
    }

    pub(in crate::filter) async fn pre_consume(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<Result<Option<String>, Failure>> {
        let guest = self.0.instantiate_async(&mut *store).await?;
        let answer = guest.trommel_filter_lifecycle().call_pre_consume(store, key, &borrow(params)).await?;
        Ok(answer.map_err(Failure::from))
    }

    pub(in crate::filter) async fn cleanup(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
        token: &str,
    ) -> wasmtime::Result<Result<(), Failure>> {
        let guest = self.0.instantiate_async(&mut *store).await?;
        let answer = guest.trommel_filter_lifecycle().call_cleanup(store, key, &borrow(params), token).await?;
        Ok(answer.map_err(Failure::from))
    }
}

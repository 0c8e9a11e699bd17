//! The optional part of version 0.1.1: `matches` for many events in one call.

use wasmtime::{
    Store,
    component::{Instance, InstancePre, ResourceAny},
};

use self::exports::trommel::filter::filter_batch::{EventBatch, Guest, GuestIndices};
use super::{Params, Sandbox, borrow};
use crate::filter::batch::EventColumns;

wasmtime::component::bindgen!({
    path: "../../wit/v0.1.1",
    world: "filter-batched",
    // The types and the imports are those of the smaller world.
    with: { "trommel:filter": super::trommel::filter },
    ownership: Borrowing { duplicate_if_necessary: true },
    imports: { default: trappable },
    exports: { default: async },
});

/// Indices of a component's functions.
#[derive(Clone)]
pub(super) struct BatchIndices(GuestIndices);

impl BatchIndices {
    pub(super) fn new(component: &InstancePre<Sandbox>) -> wasmtime::Result<Self> {
        GuestIndices::new(component).map(Self)
    }

    pub(super) fn load(&self, store: &mut Store<Sandbox>, instance: &Instance) -> wasmtime::Result<BatchFunctions> {
        self.0.load(store, instance).map(BatchFunctions)
    }
}

/// Functions of one instance.
pub(in crate::filter) struct BatchFunctions(Guest);

impl BatchFunctions {
    pub(in crate::filter) async fn subscribe(
        &self,
        store: &mut Store<Sandbox>,
        key: &str,
        params: &Params,
    ) -> wasmtime::Result<ResourceAny> {
        self.0.batch().call_constructor(store, key, &borrow(params)).await
    }

    /// Calls `matches` on a store that needs no fiber, as [`super::GuestFunctions::matches`] does.
    pub(in crate::filter) fn matches(
        &self,
        store: &mut Store<Sandbox>,
        batch: ResourceAny,
        columns: &EventColumns,
    ) -> wasmtime::Result<Vec<u64>> {
        Ok(self.0.batch().func_matches().call(store, (batch, events(columns)))?.0)
    }

    pub(in crate::filter) async fn matches_async(
        &self,
        store: &mut Store<Sandbox>,
        batch: ResourceAny,
        columns: &EventColumns,
    ) -> wasmtime::Result<Vec<u64>> {
        self.0.batch().call_matches(store, batch, events(columns)).await
    }
}

fn events(columns: &EventColumns) -> EventBatch<'_> {
    EventBatch { arena: columns.arena(), index: columns.index() }
}

//! Tenures of the routes upstream, by key and route. A route that is also in the next generation
//! keeps its tenure.

use std::{collections::HashMap, sync::Arc};

use super::{Loader, draft::SnapshotDraft};
use crate::{
    config::{self, Problems},
    filter::{Filter, Params},
    registry::{EnterError, SubscriptionId, Tenure, TenureRequest, Tenures},
};

pub(super) type TenuresByRoute = HashMap<(String, String), (SubscriptionId, Arc<Tenure>)>;

impl Loader {
    /// Holds the subscriptions of the routes in force, from now on, and cleans up those left by an
    /// earlier run.
    ///
    /// # Errors
    /// Returns all problems with subscriptions that can't be held.
    pub async fn hold_all(&mut self, tenures: Arc<Tenures>) -> Result<(), Problems> {
        self.tenures = Some(Arc::clone(&tenures));
        let (registry, filters) = (self.registry.clone(), self.filters.clone());
        self.held = self.draft(&registry, &filters, |_| true).await.map_err(Problems::new)?.held;
        self.show_filters();
        // Only after everything that the configuration names has entered.
        tenures.clear().await;
        Ok(())
    }

    /// Returns whether a route or a consumer of some key would hold a subscription upstream.
    pub fn holds_upstream(&self) -> bool {
        let has_hooks = |key: &config::KeyConfig| {
            let filter = key.filter.as_ref().and_then(|name| self.filters.get(name));
            filter.is_some_and(|component| component.filter.has_lifecycle())
        };
        self.registry.keys.iter().any(|key| key.single_consumer || has_hooks(key))
    }

    /// Hands the filters in service to the tenures, for their cleanups.
    pub(super) fn show_filters(&self) {
        let Some(tenures) = &self.tenures else { return };
        let endpoints = self.registry.keys.iter().map(|key| (key.name.clone(), key.api.clone())).collect();
        tenures.set_filters(self.filters.values().map(|component| component.filter.clone()), endpoints);
    }

    /// Holds the subscription of a route for the next generation. `who` is its name in messages to
    /// others.
    pub(super) async fn hold(
        &self,
        draft: &mut SnapshotDraft,
        key: &config::KeyConfig,
        filter: &Filter,
        route: &config::RouteConfig,
        who: String,
        params: &Params,
    ) -> Result<(), EnterError> {
        let Some(tenures) = &self.tenures else { return Ok(()) };
        if !filter.has_lifecycle() && !key.single_consumer {
            return Ok(());
        }
        let subscription = SubscriptionId::new(&key.name, &key.params, params);
        let at = (key.name.clone(), route.name.clone());
        let tenure = match self.held.get(&at) {
            Some((held, tenure)) if *held == subscription => Arc::clone(tenure),
            _ => {
                let entrant = TenureRequest {
                    filter: filter.clone(),
                    key: key.name.clone(),
                    endpoints: key.api.clone(),
                    params: params.clone(),
                    secrets: route.secrets.iter().map(|(name, secret)| (name.clone(), secret.kept.clone())).collect(),
                    subscription: subscription.clone(),
                    name: who,
                    is_single: key.single_consumer,
                };
                Arc::new(tenures.enter(entrant).await?)
            }
        };
        draft.held.insert(at, (subscription, tenure));
        Ok(())
    }
}

//! Cache of subscriptions, so that a route's params are normalised once and not with every reload
//! of something else (L28).

use std::{collections::HashMap, sync::Arc};

use crate::{
    config::{self, GuestLimits},
    endpoint::Endpoint,
    filter::{CallLimits, Caller, Filter, Params, RouteSubscription},
};

/// Everything that a route's subscription depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SubscriptionKey {
    filter: String,
    digest: String,
    key: String,
    endpoints: Vec<Endpoint>,
    route: String,
    params: Params,
    limits: CallLimits,
}

impl SubscriptionKey {
    pub(super) fn new(
        filter: &Filter,
        limits: &GuestLimits,
        key: &config::KeyConfig,
        route: &config::RouteConfig,
    ) -> Self {
        Self {
            filter: filter.name().to_owned(),
            digest: filter.digest().to_owned(),
            key: key.name.clone(),
            endpoints: key.api.clone(),
            route: route.name.clone(),
            params: route.params.clone(),
            limits: CallLimits::new(limits, &key.limits),
        }
    }
}

#[derive(Default)]
pub(super) struct SubscriptionCache(HashMap<SubscriptionKey, Arc<RouteSubscription>>);

impl SubscriptionCache {
    /// Returns the existing subscription or makes a new one: normalises the params and tries the
    /// guest's constructor.
    ///
    /// # Errors
    /// If the filter refuses the params or breaks.
    pub(super) async fn make(
        &mut self,
        wanted: SubscriptionKey,
        filter: &Filter,
    ) -> anyhow::Result<Arc<RouteSubscription>> {
        if let Some(made) = self.0.get(&wanted) {
            return Ok(Arc::clone(made));
        }
        let caller = Caller { key: &wanted.key, route: &wanted.route, endpoints: &wanted.endpoints };
        let params = filter.normalize_params(caller, wanted.params.clone()).await?;
        let made = filter.subscribe(caller, params, wanted.limits).await?;
        self.0.insert(wanted, Arc::clone(&made));
        Ok(made)
    }

    /// Drops those that no snapshot has.
    pub(super) fn retain_used(&mut self) {
        self.0.retain(|_, made| Arc::strong_count(made) > 1);
    }
}

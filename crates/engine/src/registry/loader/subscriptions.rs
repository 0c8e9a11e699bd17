//! Cache of subscriptions, so that a route's params are normalised once and not with every reload
//! of something else (L28).

use std::{collections::HashMap, sync::Arc};

use anyhow::anyhow;

use crate::{
    config::{self, FilterSettings, Grant, ParamSecret},
    endpoint::Endpoint,
    filter::{CallLimits, Caller, Filter, Params, RouteSubscription},
};

/// Everything that a route's subscription depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SubscriptionKey {
    filter: String,
    digest: String,
    key: String,
    endpoints: Vec<Endpoint>,
    route: String,
    params: Params,
    secrets: Vec<(String, ParamSecret)>,
    limits: CallLimits,
    /// Grants of the filter, and the bytes that it may keep in `state`.
    granted: (Vec<Grant>, usize),
}

/// A route's subscription.
#[derive(Clone)]
pub(super) struct MadeSubscription {
    pub(super) subscription: Arc<RouteSubscription>,
    /// Its params as normalised by the filter, without those that have a secret's value.
    pub(super) shown: Params,
}

#[derive(Default)]
pub(super) struct SubscriptionCache(HashMap<SubscriptionKey, MadeSubscription>);

impl SubscriptionCache {
    /// Returns the existing subscription or makes a new one: normalises the params and tries the
    /// guest's constructor.
    ///
    /// # Errors
    /// If a secret can't be read, or the filter refuses the params or breaks.
    pub(super) async fn make(
        &mut self,
        filter: &Filter,
        settings: &FilterSettings,
        key: &config::KeyConfig,
        route: &config::RouteConfig,
    ) -> anyhow::Result<MadeSubscription> {
        let wanted = SubscriptionKey {
            filter: filter.name().to_owned(),
            digest: filter.digest().to_owned(),
            key: key.name.clone(),
            endpoints: key.api.clone(),
            route: route.name.clone(),
            params: route.params.clone(),
            secrets: route.secrets.clone(),
            limits: CallLimits::new(&settings.limits, &key.limits),
            granted: (settings.grants.clone(), settings.limits.state),
        };
        if let Some(made) = self.0.get(&wanted) {
            return Ok(made.clone());
        }
        let caller = Caller { key: &wanted.key, route: &wanted.route, endpoints: &wanted.endpoints };
        let secrets = read(&wanted.secrets)?;
        let params = filter.normalize_params(caller, handed(key, &wanted.params, &secrets)).await?;
        let is_secret = |(name, value): &(String, String)| {
            secrets.iter().any(|(secret, kept)| secret == name || value.contains(kept.as_str()))
        };
        let shown = params.iter().filter(|param| !is_secret(param)).cloned().collect();
        let subscription = filter.subscribe(caller, params, wanted.limits).await?;
        let made = MadeSubscription { subscription, shown };
        self.0.insert(wanted, made.clone());
        Ok(made)
    }

    /// Drops those that no snapshot has.
    pub(super) fn retain_used(&mut self) {
        self.0.retain(|_, made| Arc::strong_count(&made.subscription) > 1);
    }
}

/// Reads the values of secrets.
fn read(secrets: &[(String, ParamSecret)]) -> anyhow::Result<Params> {
    let value = |(name, secret): &(String, ParamSecret)| {
        let value = secret.kept.read().map_err(|error| anyhow!("the secret of param `{name}` can't be used: {error}"));
        Ok((name.clone(), value?))
    };
    secrets.iter().map(value).collect()
}

/// The params that a filter is handed, sorted by name.
fn handed(key: &config::KeyConfig, params: &Params, secrets: &Params) -> Params {
    let kind = |name: &str| key.params.iter().find(|declared| declared.name == name).map(|declared| declared.kind);
    let plain = params.iter().map(|(name, value)| {
        let text = kind(name).map_or(value.as_str(), |kind| config::handed(kind, value));
        (name.clone(), text.to_owned())
    });
    let mut all: Params = plain.chain(secrets.iter().cloned()).collect();
    all.sort();
    all
}

//! A filter host and events to call it with.

use std::{path::Path, sync::Arc};

use trommel::{
    config::{ComponentMemory, FilterSettings, Grant, GuestLimits, LimitOverrides, StateConfig},
    event::{Event, Headers, Origin},
    filter::{CallLimits, Filter, Host, LoadError, Params, RouteSubscription, StateStore},
    metrics::Metrics,
};

pub(crate) fn host() -> Host {
    Host::new(None, None, Arc::new(Metrics::default())).unwrap()
}

/// A host whose components have so much memory together, part of which their outputs may have.
pub(crate) fn host_with(memory: ComponentMemory) -> Host {
    let state = StateStore::new(&StateConfig::default());
    Host::within(memory, None, Default::default(), state, Arc::new(Metrics::default())).unwrap()
}

pub(crate) fn settings(name: &str, limits: GuestLimits) -> FilterSettings {
    FilterSettings { grants: vec![Grant::State], limits, ..FilterSettings::new(name.to_owned()) }
}

/// The file of a component that ships or that is made for tests.
pub(crate) fn file(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = ["plugins", "tests/guests"].map(|folder| root.join(folder).join(format!("{name}.wasm")));
    built.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_else(|| panic!("no component `{name}`"))
}

pub(crate) async fn load(host: &Host, name: &str, limits: GuestLimits) -> Filter {
    host.load(name, file(name), &settings(name, limits)).await.unwrap()
}

/// An error with its causes, as the router prints it.
pub(crate) fn chain(error: LoadError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}

pub(crate) fn params(pairs: &[(&str, &str)]) -> Params {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A route of the key `key`, with the filter's own limits.
pub(crate) async fn subscribe(filter: &Filter, limits: GuestLimits, pairs: &[(&str, &str)]) -> Arc<RouteSubscription> {
    let limits = CallLimits::new(&limits, &LimitOverrides::default());
    filter.subscribe("key", params(pairs), limits).await.unwrap()
}

pub(crate) fn event(payload: &str) -> Event {
    let mut headers = Headers::default();
    headers.push("a", "1");
    headers.push("a", "2");
    Event {
        id: "id-1".into(),
        uid: Default::default(),
        event_type: "created".into(),
        subject: "orders.eu.created".into(),
        source_time: Some("2026-01-02T03:04:05Z".into()),
        observed_at: 1_767_323_045_000_000_000,
        attempt: 1,
        headers,
        payload: payload.to_owned().into(),
        origin: Arc::new(Origin { source: "orders".to_owned(), stream: "ORDERS".to_owned() }),
        sequence: 1,
    }
}

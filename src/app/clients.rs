//! Listeners and those who may use them.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    admin,
    app::{RouterControls, outlets::DispatcherRecall},
    config::{self, Config, ConfigPlace, Problem, Problems, SourceKind, Webhook},
    schema_registry::SchemaRegistry,
    self_service::{self, SelfServiceView},
    source::http,
    webhook::dispatch::Dispatcher,
};

/// Checks that every listener can authenticate its clients, and the router itself at the schema
/// registry.
pub(super) fn check_clients(config: &Config) -> Result<(), Problems> {
    let problem = |source: &config::SourceConfig| match &source.kind {
        SourceKind::Http(settings) => {
            let error = http::check(settings).err()?;
            let message = format!("source `{}` can't know its clients: {error:#}", source.name);
            Some(Problem::error(settings.place.clone(), message))
        }
        _ => None,
    };
    let admin = config.admin.as_ref().and_then(|settings| admin::check(settings).err());
    let admin = admin.map(|error| {
        let message = format!("`[admin]` can't know its clients: {error:#}");
        Problem::error(ConfigPlace::file("trommel.toml"), message)
    });
    let self_service = config.self_service.as_ref().and_then(|settings| {
        let error = self_service::check(settings).err()?;
        Some(Problem::error(settings.place.clone(), format!("`[webhooks]` can't know its clients: {error:#}")))
    });
    let registry = config.schema_registry.as_ref().and_then(|settings| {
        let error = SchemaRegistry::new(settings).err()?;
        Some(Problem::error(settings.place.clone(), format!("the schema registry can't be asked: {error:#}")))
    });
    let clients = config.sources.iter().filter_map(problem).chain(admin).chain(self_service);
    let problems: Vec<_> = clients.chain(registry).collect();
    if problems.is_empty() { Ok(()) } else { Err(Problems::new(problems)) }
}

/// What the listener for webhooks works on.
pub(super) fn self_service_view(
    config: &Config,
    controls: &RouterControls,
    webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    (dispatcher, recall): &(Dispatcher, DispatcherRecall),
) -> SelfServiceView {
    SelfServiceView {
        dir: config.dir.clone(),
        keys: config.keys.clone(),
        webhooks,
        store: Arc::clone(&dispatcher.store),
        recall: recall.clone(),
        reload: Arc::clone(&controls.reload),
        stop: controls.stop.clone(),
    }
}

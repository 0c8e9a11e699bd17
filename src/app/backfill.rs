//! A range of a stream sent to one webhook, as its routes would have done when the events came.

use std::collections::HashSet;

use crate::{
    app::replay::give_up_broken,
    config::{
        Config, DeadLetterTarget, OnFailure, ReplaySource, RouterRole, SINK_RETRY, SinkConfig, SinkKind, SourceConfig,
        SourceKind, StreamRange,
    },
};

/// Settings of a backfill.
#[derive(Clone, Debug)]
pub struct BackfillSettings {
    /// Name of the webhook that gets the deliveries.
    pub webhook: String,
    /// The only key whose routes are run; `None` runs all.
    pub key: Option<String>,
    /// The source whose envelope opens the messages.
    pub source: SourceConfig,
    pub range: StreamRange,
    /// Most events per second.
    pub rate: Option<u64>,
}

/// Returns the names of the routes that feed a sink.
pub fn feeding<'a>(config: &'a Config, sink: &str, key: Option<&str>) -> Vec<&'a str> {
    let feeds = |sinks: &[String]| sinks.iter().any(|other| other == sink);
    let registry = &config.registry;
    let routes = registry.routes.iter().filter(|route| key.is_none_or(|key| route.key == key) && feeds(&route.sinks));
    let by_type = registry.type_routes.iter().filter(|route| key.is_none() && feeds(&route.sinks));
    routes.map(|route| route.name.as_str()).chain(by_type.map(|route| route.key.name.as_str())).collect()
}

/// The configuration of a router that reads that range and nothing else, and stores deliveries for
/// that webhook alone. Sources, routes and the dedup window keep their names and settings, so that
/// outputs have the ids that they had: what the webhook has got already it does not get again.
pub fn backfill(mut config: Config, settings: BackfillSettings) -> Config {
    let BackfillSettings { webhook, key, source, range, rate } = settings;
    config.sinks.retain_mut(|sink| match &mut sink.kind {
        SinkKind::Webhook(deliveries) => {
            deliveries.only = Some(webhook.clone());
            true
        }
        _ => false,
    });
    let Some(sink) = config.sinks.first().map(|sink| sink.name.clone()) else { return config };
    let feeding: HashSet<_> = feeding(&config, &sink, key.as_deref()).into_iter().map(str::to_owned).collect();
    let registry = &mut config.registry;
    registry.routes.retain(|route| feeding.contains(&route.name));
    registry.routes.iter_mut().for_each(|route| route.sinks = vec![sink.clone()]);
    // The others stay: what they take, the one for the rest does not.
    for route in &mut registry.type_routes {
        let sink = if feeding.contains(&route.key.name) { &sink } else { NOWHERE };
        route.sinks = vec![sink.to_owned()];
    }
    let used: HashSet<_> = registry.routes.iter().map(|route| route.key.as_str()).collect();
    registry.keys.retain(|key| used.contains(key.name.as_str()));
    let filters: HashSet<_> = registry.keys.iter().filter_map(|key| key.filter.clone()).collect();
    config.filters = filters.iter().map(|name| give_up_broken(&config, name)).collect();
    config.sinks.push(nowhere());
    config.role = RouterRole::Replay;
    config.sources = vec![SourceConfig { kind: SourceKind::Replay(ReplaySource { range, rate }), ..source }];
    config.dead_letter = DeadLetterTarget::Discard;
    config.admin = None;
    config.self_service = None;
    config.telemetry = None;
    config
}

/// A name that no sink of a folder can have.
const NOWHERE: &str = "nothing else";

fn nowhere() -> SinkConfig {
    SinkConfig {
        name: NOWHERE.to_owned(),
        on_failure: OnFailure::Stop,
        retry: SINK_RETRY,
        encode: None,
        kind: SinkKind::Null,
    }
}

//! A router that only serves attached consumers: it changes nothing that others see.

use std::process;

use crate::config::{Config, DeadLetterTarget, DeliverPolicy, JetStreamSource, RouterRole, SourceKind};

/// The configuration of such a router: no routes, sinks or listeners, and no stream is made. From
/// JetStream it reads new messages only, through a consumer that the server forgets, so that the
/// durable one stays where it is.
pub(super) fn observer(mut config: Config) -> Config {
    config.role = RouterRole::Observer;
    config.registry = config.registry.without_routes();
    config.sinks.clear();
    config.admin = None;
    config.self_service = None;
    config.telemetry = None;
    config.dead_letter = DeadLetterTarget::Discard;
    // Requests to a listener are for the router that has it.
    config.sources.retain(|source| !matches!(source.kind, SourceKind::Http(_)));
    for (number, source) in config.sources.iter_mut().enumerate() {
        match &mut source.kind {
            SourceKind::JetStream(settings) => {
                let durable = format!("trommel-observer-{}-{number}", process::id());
                *settings = JetStreamSource { durable, deliver: DeliverPolicy::Live, ..settings.clone() };
            }
            // In the group it would take messages away from the routers.
            SourceKind::Nats(settings) => settings.queue = None,
            _ => {}
        }
    }
    config
}

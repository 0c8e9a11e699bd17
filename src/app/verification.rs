//! A range of a router's streams run through all of its keys, for the comparison with its sinks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    app::replay::give_up_broken,
    config::{Config, DeadLetterTarget, Grant, ReplaySource, RouterRole, SourceKind, StreamRange},
};

/// A run whose outputs are to be recorded.
pub struct VerificationRun {
    pub config: Config,
    /// Keys that are left out: the decisions of their filters may depend on more than the event.
    pub unchecked: BTreeSet<String>,
}

/// The configuration of a router that processes these ranges of its sources once more. It has the
/// folder's keys, except those whose filters may keep state or call the API: they would do so
/// again.
pub fn verification(mut config: Config, ranges: &BTreeMap<String, StreamRange>) -> VerificationRun {
    let depends = |filter: &Option<String>| {
        let grants = filter.as_deref().map(|name| config.filter(name).grants).unwrap_or_default();
        grants.iter().any(|grant| matches!(grant, Grant::State | Grant::Api))
    };
    let registry = &config.registry;
    let keys = registry.keys.iter().filter(|key| depends(&key.filter));
    let unchecked: BTreeSet<_> = keys.map(|key| key.name.clone()).collect();
    let filters: BTreeSet<_> = registry.keys.iter().filter_map(|key| key.filter.clone()).collect();
    config.filters = filters.iter().map(|name| give_up_broken(&config, name)).collect();
    config.registry.keys.retain(|key| !unchecked.contains(&key.name));
    // A failure that depends on the event alone would only repeat.
    config.registry.keys.iter_mut().for_each(|key| key.retry.patience = Duration::ZERO);
    config.registry.routes.retain(|route| !unchecked.contains(&route.key));
    config.sources.retain_mut(|source| {
        let Some(range) = ranges.get(&source.name) else { return false };
        source.kind = SourceKind::Replay(ReplaySource { range: range.clone(), rate: None });
        true
    });
    config.role = RouterRole::Replay;
    config.dead_letter = DeadLetterTarget::Discard;
    config.admin = None;
    config.self_service = None;
    config.telemetry = None;
    VerificationRun { config, unchecked }
}

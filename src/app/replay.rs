//! A range of a stream run through one key once more.

use std::path::{Path, PathBuf};

use crate::{
    config::{
        Config, DeadLetterTarget, FilterSettings, KeyConfig, OnFailure, OnQuarantine, ReplaySource, RetryPolicy,
        RouteConfig, RouterRole, SinkConfig, SinkKind, SourceConfig, SourceKind, StreamRange,
    },
    filter::Params,
};

/// Settings of a replay.
#[derive(Clone, Debug)]
pub struct ReplaySettings {
    pub key: KeyConfig,
    /// Params as in the key's declarations.
    pub params: Params,
    /// The source whose envelope opens the messages.
    pub source: SourceConfig,
    pub range: StreamRange,
    /// Most events per second.
    pub rate: Option<u64>,
    /// One of the folder's sinks; `None` means standard output.
    pub sink: Option<String>,
    /// A component that replaces the key's own.
    pub component: Option<PathBuf>,
}

/// The configuration of a router that replays: it reads that range and nothing else, writes to that
/// sink, and leaves everything else as it is. Its route has a name of its own, so that streams do
/// not drop its outputs as repeats.
pub fn replay(mut config: Config, replay: ReplaySettings) -> Config {
    let ReplaySettings { mut key, params, source, range, rate, sink, component } = replay;
    if let Some(component) = component {
        serve(&mut config, &mut key, &component);
    }
    config.filters = key.filter.iter().map(|name| give_up_broken(&config, name)).collect();
    config.role = RouterRole::Replay;
    config.sources = vec![SourceConfig { kind: SourceKind::Replay(ReplaySource { range, rate }), ..source }];
    let sink = sink.unwrap_or_else(|| {
        config.sinks = vec![stdout()];
        STDOUT.to_owned()
    });
    config.sinks.retain(|other| other.name == sink);
    let route = RouteConfig {
        name: "replay".to_owned(),
        key: key.name.clone(),
        conditions: Vec::new(),
        params,
        secrets: key.secrets(),
        sinks: vec![sink],
        place: key.place.clone(),
    };
    config.registry.type_routes.clear();
    config.registry.routes = vec![route];
    config.registry.keys = vec![key];
    config.dead_letter = DeadLetterTarget::Discard;
    config.dedup = None;
    config.admin = None;
    config.self_service = None;
    config.telemetry = None;
    config
}

/// Replaces the key's filter by a component, which has the same grants.
fn serve(config: &mut Config, key: &mut KeyConfig, component: &Path) {
    let name = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    config.plugins = component.parent().map(Path::to_owned).unwrap_or_default();
    for settings in config.filters.iter_mut().filter(|settings| key.filter.as_ref() == Some(&settings.name)) {
        settings.name.clone_from(&name);
    }
    key.filter = Some(name);
}

/// The filter's settings, except that events do not wait for a quarantined filter: nothing reloads
/// it here, so the run would not end.
pub(super) fn give_up_broken(config: &Config, name: &str) -> FilterSettings {
    FilterSettings { on_quarantine: OnQuarantine::DeadLetter, ..config.filter(name) }
}

const STDOUT: &str = "standard output";

fn stdout() -> SinkConfig {
    let retry = RetryPolicy { min: Default::default(), max: Default::default(), patience: Default::default() };
    SinkConfig { name: STDOUT.to_owned(), on_failure: OnFailure::Stop, retry, encode: None, kind: SinkKind::Stdout }
}

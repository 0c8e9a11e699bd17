//! Dead letters run once more, through the folder's keys as they are now.

use std::{collections::BTreeSet, mem};

use crate::{
    app::{letter_key::letter_signer, replay::give_up_broken},
    config::{
        Config, DeadLetterTarget, EnvelopeFormat, LetterChoice, LetterSource, OnFailure, RouterRole, SinkConfig,
        SinkKind, SourceConfig, SourceKind,
    },
};

/// Selection and mode of a retry.
#[derive(Clone, Debug)]
pub struct RetrySettings {
    pub which: LetterChoice,
    /// Discards outputs and keeps the letters.
    pub dry_run: bool,
    /// Includes letters without a proof that this router wrote them.
    pub accept_unproven: bool,
}

/// The configuration of a router that retries: its input is these letters; its keys, routes and
/// sinks are the folder's. Outputs keep their ids, so a stream drops those that the first try has
/// stored there, for as long as its duplicate window lasts, and stores the others.
///
/// Returns an error if the keys that prove letters can't be used.
pub fn retry(
    mut config: Config,
    RetrySettings { which, dry_run, accept_unproven }: RetrySettings,
) -> anyhow::Result<Config> {
    let signer = letter_signer(&config)?;
    let filters: BTreeSet<_> = config.registry.keys.iter().filter_map(|key| key.filter.as_deref()).collect();
    config.filters = filters.into_iter().map(|name| give_up_broken(&config, name)).collect();
    config.role = RouterRole::Replay;
    // An event that fails again has its letter already.
    let from = mem::replace(&mut config.dead_letter, DeadLetterTarget::Discard);
    let envelopes = config.sources.drain(..).map(|source| (source.name, source.envelope)).collect();
    let kind = SourceKind::Letters(LetterSource { from, which, signer, accept_unproven, envelopes, keep: dry_run });
    // A placeholder: each event is opened with the envelope of its letter's source.
    let envelope = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
    config.sources = vec![SourceConfig { name: "dead letters".to_owned(), expect_every: None, envelope, kind }];
    config.sinks = fed(&config).cloned().collect();
    for sink in &mut config.sinks {
        // A refused output keeps its letter, and the retry comes to its end.
        sink.on_failure = OnFailure::DeadLetter;
        if dry_run {
            sink.kind = SinkKind::Null;
        }
    }
    // Several letters may be about one event.
    config.dedup = None;
    config.admin = None;
    config.self_service = None;
    Ok(config)
}

/// Sinks that a route leads to.
pub fn fed(config: &Config) -> impl Iterator<Item = &SinkConfig> {
    let registry = &config.registry;
    let leads_to = |sinks: &[String], sink: &SinkConfig| sinks.contains(&sink.name);
    config.sinks.iter().filter(move |sink| {
        registry.routes.iter().any(|route| leads_to(&route.sinks, sink))
            || registry.type_routes.iter().any(|route| leads_to(&route.sinks, sink))
    })
}

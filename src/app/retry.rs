//! Dead letters through the folder's keys as they are now, once more.

use std::{collections::BTreeSet, mem};

use crate::{
    app::{letter_key::letter_signer, replay::give_up_broken},
    config::{Config, DeadLetter, Envelope, LetterSource, OnFailure, Role, Sink, SinkKind, Source, SourceKind, Which},
};

/// What is retried.
#[derive(Clone, Debug)]
pub struct Retry {
    pub which: Which,
    /// Outputs go nowhere, and letters stay.
    pub dry_run: bool,
    /// Also those that nothing proves to be this router's.
    pub accept_unproven: bool,
}

/// The configuration of a router that retries: its input is these letters, its keys, routes and sinks are the folder's.
/// Outputs have the ids that they always have. What the first try has brought to a stream is known there, for as long as
/// its duplicate window lasts; what it has not is not.
///
/// # Errors
/// When what proves letters can't be used.
pub fn retry(mut config: Config, Retry { which, dry_run, accept_unproven }: Retry) -> anyhow::Result<Config> {
    let signer = letter_signer(&config)?;
    let filters: BTreeSet<_> = config.registry.keys.iter().filter_map(|key| key.filter.as_deref()).collect();
    config.filters = filters.into_iter().map(|name| give_up_broken(&config, name)).collect();
    config.role = Role::Replay;
    // One that dies again has its letter already.
    let from = mem::replace(&mut config.dead_letter, DeadLetter::Discard);
    let envelopes = config.sources.drain(..).map(|source| (source.name, source.envelope)).collect();
    let kind = SourceKind::Letters(LetterSource { from, which, signer, accept_unproven, envelopes, keep: dry_run });
    // Each letter says how its event is opened.
    let envelope = Envelope::Plain { id: None, event_type: None, subject: None, source_time: None };
    config.sources = vec![Source { name: "dead letters".to_owned(), envelope, kind }];
    config.sinks = fed(&config).cloned().collect();
    for sink in &mut config.sinks {
        // What a sink does not take keeps its letter, and the retry comes to its end.
        sink.on_failure = OnFailure::DeadLetter;
        if dry_run {
            sink.kind = SinkKind::Null;
        }
    }
    // Several letters may be about one event.
    config.dedup = None;
    config.admin = None;
    Ok(config)
}

/// The sinks that a route leads to.
pub fn fed(config: &Config) -> impl Iterator<Item = &Sink> {
    let registry = &config.registry;
    let leads_to = |sinks: &[String], sink: &Sink| sinks.contains(&sink.name);
    config.sinks.iter().filter(move |sink| {
        registry.routes.iter().any(|route| leads_to(&route.sinks, sink))
            || registry.type_routes.iter().any(|route| leads_to(&route.sinks, sink))
    })
}

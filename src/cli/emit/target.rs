//! Where an event goes: the source that is to take it, and what its subjects begin with.

use super::EmitCommand;
use crate::{
    cli::refusal::{CommandRefusal, RefusalKind},
    config::{Config, EnvelopeFormat, SourceConfig, SourceKind, quoted},
    event::Pattern,
    nats::Connection,
};

/// A source that is to take the event.
pub(super) struct EmitTarget<'a> {
    pub(super) source: &'a SourceConfig,
    /// First tokens of all its subjects, where the envelope's type is without them; may be empty.
    pub(super) prefix: String,
    /// True to send by core NATS.
    pub(super) is_core: bool,
}

/// Sources that an event can be published to: the named one, or all that read a server.
pub(super) fn candidates<'a>(emit: &EmitCommand, config: &'a Config) -> Result<Vec<&'a SourceConfig>, CommandRefusal> {
    let reads = |source: &&SourceConfig| matches!(source.kind, SourceKind::JetStream(_) | SourceKind::Nats(_));
    let readers: Vec<_> = config.sources.iter().filter(reads).collect();
    let refused = |message: String| {
        let refusal = CommandRefusal::new(RefusalKind::Validation, "which_source", message).param("--source");
        let names = quoted(readers.iter().map(|source| source.name.as_str()), "or");
        let hint = if names.is_empty() { other_ways(config) } else { format!("name one with `--source`: {names}") };
        refusal.hint(hint)
    };
    match &emit.source {
        Some(name) => {
            let named = readers.iter().copied().find(|source| source.name == *name);
            let named = named.ok_or_else(|| refused(format!("there is no source `{name}` that reads a server")))?;
            Ok(vec![named])
        }
        None if readers.is_empty() => Err(refused("no source of this router reads a stream or core NATS".to_owned())),
        None => Ok(readers),
    }
}

/// How to hand events to the sources that a router has instead.
fn other_ways(config: &Config) -> String {
    let way = |source: &SourceConfig| match &source.kind {
        SourceKind::Lines(lines) => match &lines.path {
            Some(path) => format!("`{}` reads lines: append one to `{}`", source.name, path.display()),
            None => format!("`{}` reads lines: write them to the standard input of `trommel run`", source.name),
        },
        SourceKind::Http(_) => format!("`{}` takes requests: POST the event to it", source.name),
        SourceKind::Program(_) => format!("`{}` is of the program that embeds the router", source.name),
        SourceKind::Bus(_) => format!("`{}` reads the bus of the program that embeds the router", source.name),
        _ => format!("`{}` reads no server", source.name),
    };
    config.sources.iter().map(way).collect::<Vec<_>>().join("\n")
}

impl<'a> EmitTarget<'a> {
    /// Finds the source: the only candidate, or that whose stream takes the event's subject.
    pub(super) async fn find(
        emit: &EmitCommand,
        config: &'a Config,
        connection: &Connection,
    ) -> Result<Self, CommandRefusal> {
        let candidates = candidates(emit, config)?;
        let source = match candidates[..] {
            [only] => only,
            _ => among(emit, &candidates, connection).await?,
        };
        let prefix = match source.envelope {
            EnvelopeFormat::Helix => literal_prefix(&subjects(source, config, connection).await),
            _ => String::new(),
        };
        Ok(Self { source, prefix, is_core: emit.core || matches!(source.kind, SourceKind::Nats(_)) })
    }
}

/// The candidate that reads the event's subject, as the server knows it.
async fn among<'a>(
    emit: &EmitCommand,
    candidates: &[&'a SourceConfig],
    connection: &Connection,
) -> Result<&'a SourceConfig, CommandRefusal> {
    let mut found = Vec::new();
    for source in candidates {
        let subject = match (&emit.subject, &source.envelope) {
            (Some(subject), _) => subject.clone(),
            (None, EnvelopeFormat::JbMesh) if !emit.event_type.starts_with("events.") => {
                format!("events.{}", emit.event_type)
            }
            (None, _) => emit.event_type.clone(),
        };
        let takes = |patterns: &[Pattern]| patterns.is_empty() || patterns.iter().any(|it| it.matches(&subject));
        let reads = match &source.kind {
            SourceKind::JetStream(settings) if takes(&settings.subjects) => {
                // What the server does not say is no reason to stop: another source may fit.
                let streams = connection.streams_of(&subject).await.unwrap_or_default();
                streams.contains(&settings.stream)
            }
            SourceKind::Nats(settings) => takes(&settings.subjects),
            _ => false,
        };
        if reads {
            found.push(*source);
        }
    }
    match found[..] {
        [first, ..] if found.iter().all(|source| source.envelope == first.envelope) => Ok(first),
        _ => {
            let what = if found.is_empty() { "none of the router's sources reads" } else { "several sources read" };
            let message = format!("{what} `{}`", emit.subject.as_ref().unwrap_or(&emit.event_type));
            let names = quoted(candidates.iter().map(|source| source.name.as_str()), "or");
            let refusal = CommandRefusal::new(RefusalKind::Validation, "which_source", message).param("--source");
            Err(refusal.hint(format!("give the whole subject, or name a source with `--source`: {names}")))
        }
    }
}

/// Patterns of the subjects that a source reads: its own, or those of its stream.
async fn subjects(source: &SourceConfig, config: &Config, connection: &Connection) -> Vec<String> {
    let texts = |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
    match &source.kind {
        SourceKind::Nats(settings) => texts(&settings.subjects),
        SourceKind::JetStream(settings) if !settings.subjects.is_empty() => texts(&settings.subjects),
        SourceKind::JetStream(settings) => {
            if let Some(stream) = config.streams.iter().find(|stream| stream.name == settings.stream) {
                return texts(&stream.subjects);
            }
            let info = connection.stream_info(&settings.stream).await.ok().flatten();
            let subjects = info.and_then(|info| info.config.get("subjects").cloned());
            subjects.and_then(|subjects| serde_json::from_value(subjects).ok()).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// First tokens that all patterns have, up to the first wildcard.
fn literal_prefix(patterns: &[String]) -> String {
    let literal = |pattern: &String| {
        let tokens = pattern.split('.').take_while(|token| !matches!(*token, "*" | ">"));
        tokens.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut prefixes = patterns.iter().map(literal);
    let first = prefixes.next().unwrap_or_default();
    let common = prefixes.fold(first, |common, tokens| {
        common.into_iter().zip(tokens).take_while(|(one, other)| one == other).map(|(one, _)| one).collect()
    });
    common.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_all_patterns_begin_with() {
        for (patterns, prefix) in [
            (&["helix.nodes.>"][..], "helix.nodes"),
            (&["a.b.*", "a.c.>"], "a"),
            (&["a.>", "b.>"], ""),
            (&[">"], ""),
            (&[], ""),
        ] {
            let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
            assert_eq!(literal_prefix(&patterns), prefix);
        }
    }
}

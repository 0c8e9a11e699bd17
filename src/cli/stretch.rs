//! Selection of a stream's messages for a command, and the means to read them.

use std::{str::FromStr, time::SystemTime};

use clap::Args;
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::{
    cli::{
        keys::unknown_key,
        refusal::{CommandRefusal, RefusalKind},
    },
    config::{self, Config, EnvelopeFormat, RangeBegin, SourceConfig, SourceKind, StreamRange, quoted},
    event::Pattern,
    nats::{self, ApiError, ConnectError, ConnectTrouble, Connection, ConnectionLife, HistoryError},
};

#[derive(Args, Debug)]
pub(super) struct StreamArgs {
    /// The stream to read; by default that of the router's only source
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only messages whose subject fits this pattern
    #[arg(long, value_name = "PATTERN")]
    subject: Option<Pattern>,
}

/// Bounds of a stretch of a stream.
#[derive(Args, Debug)]
pub(super) struct RangeArgs {
    /// Begin at this sequence
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "from_time")]
    from_seq: Option<u64>,
    /// Begin with messages stored at this time or later: `2026-03-14T08:00:00Z`, `2026-03-14`, or
    /// `90m` for 90 minutes ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    from_time: Option<Timestamp>,
    /// End with this sequence, or before this time; by default with the message that is the last
    /// one now
    #[arg(long, value_name = "SEQUENCE|TIME")]
    to: Option<RangeEnd>,
}

/// End of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeEnd {
    Sequence(u64),
    Time(Timestamp),
}

impl FromStr for RangeEnd {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Sequence).or_else(|_| time(text).map(Self::Time))
    }
}

impl RangeArgs {
    /// Returns these bounds of a stream.
    pub(super) fn of(&self, stream: String, subjects: Vec<String>, limit: Option<u64>) -> StreamRange {
        let begin = match (self.from_seq, self.from_time) {
            (Some(sequence), _) => RangeBegin::Sequence(sequence.max(1)),
            (None, time) => time.map_or(RangeBegin::First, RangeBegin::Time),
        };
        let (to, until) = match self.to {
            Some(RangeEnd::Sequence(sequence)) => (Some(sequence), None),
            Some(RangeEnd::Time(time)) => (None, Some(time)),
            None => (None, None),
        };
        StreamRange { stream, subjects, begin, until, to, limit }
    }

    /// Describes these bounds of a stream, as in ` of subject `orders.>` from sequence 5`.
    pub(super) fn words(&self, subjects: &[String]) -> String {
        let subjects = quoted(subjects.iter().map(String::as_str), "or");
        let parts = [
            (!subjects.is_empty()).then(|| format!(" of subject {subjects}")),
            self.from_seq.map(|sequence| format!(" from sequence {sequence}")),
            self.from_time.map(|time| format!(" from {time}")),
            self.to.map(|end| match end {
                RangeEnd::Sequence(sequence) => format!(" to sequence {sequence}"),
                RangeEnd::Time(time) => format!(" before {time}"),
            }),
        ];
        parts.into_iter().flatten().collect()
    }
}

/// A selected stream, and the source that opens its messages.
pub(super) struct SelectedStream {
    pub(super) stream: String,
    /// Empty means all.
    pub(super) subjects: Vec<String>,
    /// Source that reads the stream, or one that takes messages as they are.
    pub(super) source: SourceConfig,
}

impl StreamArgs {
    /// Resolves the stream: the one that is named, or that of the router's only source.
    ///
    /// # Errors
    /// Returns an error if it is not clear which stream is meant.
    pub(super) fn choose(&self, config: &Config) -> Result<SelectedStream, CommandRefusal> {
        let sources = config.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::JetStream(settings) => Some((source, settings)),
            _ => None,
        });
        let sources: Vec<_> = sources.collect();
        let stream = match (&self.stream, &sources[..]) {
            (Some(stream), _) => stream.clone(),
            (None, [(_, settings)]) => settings.stream.clone(),
            (None, []) => {
                let refusal = CommandRefusal::new(
                    RefusalKind::Validation,
                    "no_stream",
                    "no source of this router reads a stream",
                );
                return Err(refusal.param("--stream").hint("name one with `--stream`"));
            }
            (None, _) => {
                let streams = quoted(sources.iter().map(|(_, settings)| settings.stream.as_str()), "or");
                let refusal =
                    CommandRefusal::new(RefusalKind::Validation, "which_stream", "the router reads several streams");
                return Err(refusal.param("--stream").hint(format!("name one with `--stream`: {streams}")));
            }
        };
        let read = sources.iter().find(|(_, settings)| settings.stream == stream);
        let subjects = match (&self.subject, read) {
            (Some(subject), _) => vec![subject.as_str().to_owned()],
            (None, Some((_, settings))) if self.stream.is_none() => {
                settings.subjects.iter().map(|subject| subject.as_str().to_owned()).collect()
            }
            (None, _) => Vec::new(),
        };
        let source = read.map_or_else(|| as_they_are(&stream), |(source, _)| (*source).clone());
        Ok(SelectedStream { stream, subjects, source })
    }
}

fn as_they_are(stream: &str) -> SourceConfig {
    let envelope = EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None };
    // A placeholder: the command that reads the stream replaces it.
    let kind = SourceKind::Lines(config::LinesSource { path: None });
    SourceConfig { name: stream.to_owned(), expect_every: None, envelope, kind }
}

/// Finds a key of the folder by its name.
pub(super) fn key<'a>(config: &'a Config, name: &str) -> Result<&'a config::KeyConfig, CommandRefusal> {
    let keys = &config.registry.keys;
    let found = keys.iter().find(|key| key.name == name);
    found.ok_or_else(|| unknown_key(name, keys, &config.dir).param("--key"))
}

/// Connects to the server in the configuration.
///
/// # Errors
/// Returns an error if the configuration has no server, or if it can't be reached.
pub(super) async fn connect(config: &Config, role: &str) -> Result<Connection, CommandRefusal> {
    let Some(settings) = &config.nats else {
        let refusal = CommandRefusal::new(RefusalKind::Validation, "no_server", "this router has no server to ask");
        return Err(refusal.hint("add `[nats]` with, say, `url = \"nats://127.0.0.1:4222\"` to `trommel.toml`"));
    };
    Ok(nats::connect(settings, role, ConnectionLife::Reconnecting).await?)
}

/// Parses a time: `2026-03-14T08:00:00Z`, `2026-03-14` (UTC), or `90m` for 90 minutes ago.
///
/// # Errors
/// Returns a description of a valid time.
pub(super) fn time(text: &str) -> Result<Timestamp, &'static str> {
    const LOOKS: &str = "a time looks like `2026-03-14T08:00:00Z`, `2026-03-14`, or like `90m` for so long ago";
    // A server would misread a time outside of its range.
    let counted = |time: Timestamp| match i64::try_from(time.as_nanosecond()) {
        Ok(_) => Ok(time),
        Err(_) => Err("servers count times from the year 1678 to the year 2261: take one of these"),
    };
    if let Ok(time) = text.parse::<Timestamp>() {
        return counted(time);
    }
    if let Ok(date) = text.parse::<Date>() {
        return date.to_zoned(TimeZone::UTC).map_err(|_| LOOKS).and_then(|start| counted(start.timestamp()));
    }
    let ago = config::duration(text).map_err(|_| LOOKS)?;
    let now = Timestamp::try_from(SystemTime::now()).map_err(|_| LOOKS)?;
    SignedDuration::try_from(ago).ok().and_then(|ago| now.checked_sub(ago).ok()).ok_or(LOOKS)
}

impl From<ConnectError> for CommandRefusal {
    fn from(error: ConnectError) -> Self {
        let (kind, subtype) = match error.trouble {
            ConnectTrouble::Settings => (RefusalKind::Validation, "nats_settings"),
            ConnectTrouble::Auth => (RefusalKind::Auth, "nats_auth"),
            ConnectTrouble::Tls => (RefusalKind::Network, "nats_tls"),
            ConnectTrouble::Network => (RefusalKind::Network, "nats"),
        };
        Self::new(kind, subtype, format!("{:#}", anyhow::Error::new(error).context("could not connect to NATS")))
    }
}

impl From<HistoryError> for CommandRefusal {
    fn from(error: HistoryError) -> Self {
        let (kind, subtype) = match &error {
            HistoryError::NoStream(_) => (RefusalKind::Precondition, "no_stream"),
            HistoryError::Api(_, ApiError::NoPermission(_)) => (RefusalKind::Auth, "no_permission"),
            HistoryError::Api(..) | HistoryError::Failed(..) => (RefusalKind::Network, "jetstream"),
        };
        Self::new(kind, subtype, format!("{:#}", anyhow::Error::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_three_ways() {
        let at = |text: &str| time(text).unwrap();
        assert_eq!(at("2026-03-14T08:00:00+01:00"), at("2026-03-14T07:00:00Z"));
        assert_eq!(at("2026-03-14"), at("2026-03-14T00:00:00Z"));
        let ago = Timestamp::now().duration_since(at("90m")).as_secs();
        assert!((5390..5410).contains(&ago), "{ago}");
        for text in ["", "yesterday", "2026-13-01", "-5m", "2999-01-01", "1066-10-14T09:00:00Z"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}

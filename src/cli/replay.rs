//! `trommel replay DIR --key KEY`

use std::{path::PathBuf, process::ExitCode, str::FromStr, time::Duration};

use clap::{ArgGroup, Args};
use jiff::Timestamp;

use crate::{
    app::{self, ReplaySettings},
    cli::{
        CacheArgs,
        consume::params,
        logs::LogArgs,
        refusal::{CommandRefusal, RefusalKind},
        run::ForegroundRouter,
        stretch::{SelectedStream, StreamArgs, key, time},
    },
    config::{Config, RangeBegin, StreamRange, nearest, quoted},
    folder,
};

/// Run the messages of a stream through a key again, apart from the running router
///
/// Reads the stream through an ephemeral consumer and acknowledges nothing: the position of the
/// durable consumer does not change. Outputs go to standard output, or to one of the router's
/// sinks.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("from").required(true).args(["from_seq", "from_time"])))]
pub struct ReplayCommand {
    #[command(flatten)]
    stretch: StreamArgs,
    /// Key whose filter gets the messages
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A param of the key; may be repeated
    #[arg(short, long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// Begin at this sequence
    #[arg(long, value_name = "SEQUENCE")]
    from_seq: Option<u64>,
    /// Begin with messages stored at this time or later: `2026-03-14T08:00:00Z`, `2026-03-14`, or
    /// `90m` for 90 minutes ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    from_time: Option<Timestamp>,
    /// End with this sequence, or before this time; by default with the message that is the last
    /// one now
    #[arg(long, value_name = "SEQUENCE|TIME")]
    to: Option<ReplayEnd>,
    /// At most this many events a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Component to use instead of the key's own
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Sink of the router to write to instead of standard output
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Print errors as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    logs: LogArgs,
}

/// End of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayEnd {
    Sequence(u64),
    Time(Timestamp),
}

impl FromStr for ReplayEnd {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self::Sequence).or_else(|_| time(text).map(Self::Time))
    }
}

impl ReplayCommand {
    pub fn execute(self) -> ExitCode {
        match self.prepare() {
            Ok((config, replayed)) => {
                let foreground = ForegroundRouter {
                    cache: &self.cache,
                    logs: &self.logs,
                    place: None,
                    idle_exit: None,
                    connect_timeout: Some(Duration::ZERO),
                    journal: None,
                };
                foreground.run(Ok(app::replay(config, replayed)))
            }
            Err(refusal) => refusal.end(self.json || self.logs.is_json()),
        }
    }

    /// Checks all of the input, before anything happens.
    fn prepare(&self) -> Result<(Config, ReplaySettings), CommandRefusal> {
        let config = folder::load(&self.stretch.dir)?;
        let SelectedStream { stream, subjects, source } = self.stretch.choose(&config)?;
        let key = key(&config, &self.key)?.clone();
        let params = params(&key, &self.params)?;
        if let Some(sink) = &self.sink {
            known_sink(&config, sink)?;
        }
        if let Some(component) = &self.component {
            is_component(component)?;
        }
        let begin = match (self.from_seq, self.from_time) {
            (Some(sequence), _) => RangeBegin::Sequence(sequence.max(1)),
            (None, time) => time.map_or(RangeBegin::First, RangeBegin::Time),
        };
        let (to, until) = match self.to {
            Some(ReplayEnd::Sequence(sequence)) => (Some(sequence), None),
            Some(ReplayEnd::Time(time)) => (None, Some(time)),
            None => (None, None),
        };
        let range = StreamRange { stream, subjects, begin, until, to, limit: None };
        let (rate, sink, component) = (self.rate, self.sink.clone(), self.component.clone());
        Ok((config, ReplaySettings { key, params, source, range, rate, sink, component }))
    }
}

fn known_sink(config: &Config, name: &str) -> Result<(), CommandRefusal> {
    let names = || config.sinks.iter().map(|sink| sink.name.as_str());
    if names().any(|known| known == name) {
        return Ok(());
    }
    let near = nearest(name, names());
    let hint = match (near.is_empty(), config.sinks.is_empty()) {
        (false, _) => format!("did you mean {}?", quoted(near, "or")),
        (true, false) => format!("sinks: {}", quoted(names(), "and")),
        (true, true) => "this router has no sinks: without `--sink` it is standard output".to_owned(),
    };
    let refusal = CommandRefusal::new(RefusalKind::Validation, "unknown_sink", format!("there is no sink `{name}`"));
    Err(refusal.param("--sink").hint(hint))
}

fn is_component(path: &std::path::Path) -> Result<(), CommandRefusal> {
    if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
        return Ok(());
    }
    let message = format!("`{}` is not a component: expected a `.wasm` file", path.display());
    Err(CommandRefusal::new(RefusalKind::Validation, "component", message).param("--component"))
}

//! `trommel verify DIR`.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use jiff::Timestamp;

use crate::{
    app::{self, RouterControls, RunError, VerificationRun},
    cli::{
        CacheArgs, exit,
        refusal::{CommandRefusal, RefusalKind},
        stretch::{self, connect},
    },
    config::{self, Config, DEAD_FILE, DeadLetterTarget, OnFailure, SinkKind, StreamRange},
    dead_letters::LetterStore,
    folder,
    metrics::Metrics,
    summary::RunSummary,
    verify::{LetterIndex, OutputRecording, OutputTable, find_in_database, find_in_files, find_in_streams},
};

mod report;
mod settled;

use report::VerifyReport;
use settled::{SettledRange, settled_stretch};

/// Check that every event of a stretch is accounted for: at its sinks, in the dead letters, or
/// dropped by decision
///
/// Reads the router's streams of JetStream once more, runs the events through the folder's keys as
/// they are now without writing anything, and looks for the outputs: in streams by their
/// `Nats-Msg-Id`, in folders by the names of the files, in the database of webhooks by id, and in
/// files, and in streams without ids, by comparing payloads. What is missing there and in the dead
/// letters is a gap; what is there more often than it should be is a double. Events that the router
/// has not settled yet are left out.
///
/// Not checked are outputs to core NATS, standard output and sinks of type `null`, what a sink does
/// not keep for good, and keys whose filters may keep state or call the API. Where outputs have no
/// ids, equal ones are told apart by their number alone. An output takes 48 bytes of memory.
///
/// Ends with 0 when all is accounted for, doubles or not, and with 1 when there are gaps.
#[derive(Args, Debug)]
pub struct VerifyCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// Begin with this sequence, or with messages stored at this time or later:
    /// `2026-03-14T08:00:00Z`, `2026-03-14`, or `-1h` for an hour ago
    #[arg(long, value_name = "SEQUENCE|TIME", allow_hyphen_values = true)]
    from: Option<VerifyBound>,
    /// End with this sequence, or before this time; by default with the last event that is settled
    #[arg(long, value_name = "SEQUENCE|TIME", allow_hyphen_values = true)]
    to: Option<VerifyBound>,
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Bound of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum VerifyBound {
    Sequence(u64),
    Time(Timestamp),
}

impl FromStr for VerifyBound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        let time = stretch::time(text.strip_prefix('-').unwrap_or(text));
        time.map(Self::Time).map_err(|_| {
            "expected a sequence as `1234`, a time as `2026-03-14T08:00:00Z` or `2026-03-14`, or `-1h` for an hour \
             ago"
            .to_owned()
        })
    }
}

/// Result of a recording run over the stretches.
struct RecordedRun {
    table: OutputTable,
    summary: RunSummary,
    unchecked: BTreeSet<String>,
}

impl VerifyCommand {
    pub fn execute(self) -> ExitCode {
        self.run().unwrap_or_else(|refusal| refusal.end(self.json))
    }

    fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let runtime = app::runtime().map_err(|error| internal(&error.into()))?;
        runtime.block_on(async {
            let stretches = self.stretches(&config).await?;
            let RecordedRun { mut table, summary, unchecked } = self.record(&config, &stretches).await?;
            let since = if let Some(VerifyBound::Time(time)) = self.from { Some(time) } else { None };
            find(&config, since, &mut table).await?;
            let letters = letters(&config).await?;
            let policies: BTreeMap<_, _> = config.sinks.iter().map(|sink| (&*sink.name, sink.on_failure)).collect();
            let policy = |sink: &str| policies.get(sink).copied().unwrap_or(OnFailure::Retry);
            let mut report = VerifyReport::new(self.json);
            let totals = table.settle(&letters, policy, |finding| report.finding(&finding));
            report.end(&summary, &totals, &stretches, &unchecked)?;
            Ok(if totals.gaps == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
        })
    }

    /// Part of each source's stream that is verified.
    async fn stretches(&self, config: &Config) -> Result<Vec<SettledRange>, CommandRefusal> {
        let connection = connect(config, "verify").await?;
        let mut stretches = Vec::new();
        for source in &config.sources {
            let config::SourceKind::JetStream(settings) = &source.kind else { continue };
            stretches.push(settled_stretch(&connection, &source.name, settings).await?);
        }
        let has_sequences = [self.from, self.to].iter().any(|bound| matches!(bound, Some(VerifyBound::Sequence(_))));
        if stretches.is_empty() || (has_sequences && stretches.len() > 1) {
            let (message, hint) = match stretches.len() {
                0 => ("no source of this router reads a stream", "only sources of type `jetstream` can be read again"),
                _ => (
                    "the router reads several streams, whose sequences have nothing to do with each other",
                    "give times",
                ),
            };
            return Err(CommandRefusal::new(RefusalKind::Validation, "sources", message).param("--from").hint(hint));
        }
        for stretch in &mut stretches {
            stretch.narrow(self.from, self.to);
        }
        Ok(stretches)
    }

    /// Runs a router over the stretches; its outputs are recorded and not written.
    async fn record(&self, config: &Config, stretches: &[SettledRange]) -> Result<RecordedRun, CommandRefusal> {
        let ranges: BTreeMap<String, StreamRange> =
            stretches.iter().map(|stretch| (stretch.source.clone(), stretch.range.clone())).collect();
        let VerificationRun { config, unchecked } = app::verification(config.clone(), &ranges);
        let (recording, metrics) = (Arc::<OutputRecording>::default(), Arc::<Metrics>::default());
        let controls = RouterControls {
            recording: Some(Arc::clone(&recording)),
            metrics,
            cache: self.cache.code(),
            connect_timeout: Some(Duration::ZERO),
            ..RouterControls::default()
        };
        let summary = app::run(config, controls).await.map_err(|error| match error {
            RunError::Config(problems) => problems.into(),
            RunError::Connect(error) => error.into(),
            RunError::Failed(error) => CommandRefusal::new(RefusalKind::Api, "run", format!("{error:#}")),
        })?;
        let recording = Arc::try_unwrap(recording);
        let recording = recording.map_err(|_| internal(&anyhow::anyhow!("a sink still records after the end")))?;
        Ok(RecordedRun { table: recording.into_table(), summary, unchecked })
    }
}

fn internal(error: &anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"))
}

/// Looks for the outputs at every sink.
async fn find(config: &Config, since: Option<Timestamp>, table: &mut OutputTable) -> Result<(), CommandRefusal> {
    if config.sinks.iter().any(|sink| matches!(sink.kind, SinkKind::Nats(_))) {
        let connection = connect(config, "verify").await?;
        find_in_streams(&connection, &config.sinks, since, table).await?;
    }
    for sink in &config.sinks {
        find_in_files(sink, table).map_err(|(path, error)| {
            let message = format!("sink `{}`: can't read `{}`: {error}", sink.name, path.display());
            CommandRefusal::new(RefusalKind::Precondition, "file", message)
        })?;
        if let SinkKind::Webhook(settings) = &sink.kind {
            find_in_database(&sink.name, settings, table).map_err(|error| {
                CommandRefusal::new(RefusalKind::Precondition, "database", format!("{:#}", anyhow::Error::new(error)))
            })?;
        }
    }
    Ok(())
}

/// Reads the dead letters from the configured place, and those that went only to the file in the
/// folder.
async fn letters(config: &Config) -> Result<LetterIndex, CommandRefusal> {
    let mut index = LetterIndex::default();
    let file = DeadLetterTarget::File(config.dir.join(DEAD_FILE));
    let beside = (config.dead_letter != file).then_some(&file);
    for place in [&config.dead_letter].into_iter().chain(beside) {
        let mut reader = LetterStore::open(place, config.nats.as_ref()).await?.read(0).await?;
        while let Some(entry) = reader.next().await? {
            if let Ok(letter) = &entry.letter {
                index.add(letter);
            }
        }
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_a_stretch_are_sequences_or_times() {
        assert_eq!("17".parse(), Ok(VerifyBound::Sequence(17)));
        let date: Timestamp = "2026-03-14T00:00:00Z".parse().unwrap();
        assert_eq!("2026-03-14".parse(), Ok(VerifyBound::Time(date)));
        let (Ok(VerifyBound::Time(hour)), Ok(VerifyBound::Time(same))) = ("-1h".parse(), "1h".parse()) else {
            panic!("no times")
        };
        assert!(same.duration_since(hour).as_secs() <= 1);
        for text in ["", "-", "yesterday", "--1h"] {
            assert!(text.parse::<VerifyBound>().is_err(), "{text}");
        }
    }
}

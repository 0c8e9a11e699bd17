//! `trommel dlq retry DIR ID...`

use std::{fmt, io::Write, path::Path, process::ExitCode, thread, time::Duration};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;
use tracing::Level;

use super::{FolderArgs, no_key, row::counted, which::LetterSelection};
use crate::{
    app,
    cli::{
        CacheArgs, exit,
        logs::LogArgs,
        refusal::{CommandRefusal, RefusalKind},
        run::{self, ForegroundRouter},
        runtime, terminal,
    },
    config::{Config, LetterChoice, SinkKind, quoted},
    control::{SocketPlace, client::is_locked},
    folder,
    source::letters::{DeathCause, RetriedLetter, RetryEnd, RetryJournal},
    text,
};

/// Run the events of dead letters through their keys once more, as these are now
///
/// A letter goes through the key and the route that it died in, and is dropped when its outputs
/// have arrived, or when the filter drops its event. One that dies again stays, and so does one
/// that is not proven to be this router's. The result of each is printed on standard output, or on
/// standard error if a sink is standard output.
#[derive(Args, Debug)]
pub(super) struct RetryLetters {
    #[command(flatten)]
    pub(super) folder: FolderArgs,
    #[command(flatten)]
    selected: LetterSelection,
    /// Write and drop nothing, only print what would happen
    #[arg(long)]
    dry_run: bool,
    /// Also retry dead letters that are not proven to be this router's: look at them first
    #[arg(long)]
    accept_unproven: bool,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    pub(super) logs: LogArgs,
}

impl RetryLetters {
    pub(super) fn run(&self) -> Result<ExitCode, CommandRefusal> {
        let which = self.selected.which()?;
        let config = folder::load(&self.folder.dir)?;
        if let LetterChoice::These(ids) = &which {
            self.find(&config, ids)?;
        }
        if !self.dry_run {
            check_files(&config, &self.folder.dir)?;
        }
        let prints = !self.dry_run && app::fed(&config).any(|sink| sink.kind == SinkKind::Stdout);
        let wanted = app::RetrySettings { which, dry_run: self.dry_run, accept_unproven: self.accept_unproven };
        let config = app::retry(config, wanted).map_err(|error| no_key(&error))?;
        let (journal, retried) = RetryJournal::new();
        let form = RetryFormat { json: self.folder.json, beside_outputs: prints };
        let telling = thread::spawn(move || tell(retried, form));
        let foreground = ForegroundRouter {
            cache: &self.cache,
            logs: &self.logs,
            place: None,
            idle_exit: None,
            connect_timeout: Some(Duration::ZERO),
            journal: Some(journal),
        };
        let ended = foreground.serve(config);
        let mut totals = telling.join().unwrap_or_default();
        totals.dry_run = self.dry_run;
        let code = if totals.dead + totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) };
        if ended.is_ok() || totals.retried > 0 {
            self.logs.end(Level::INFO, &totals.to_string(), &totals);
        }
        Ok(ended.map_or_else(|error| run::failed(&self.logs, &error), |_| code))
    }

    /// Checks that all ids exist, before anything is retried.
    fn find(&self, config: &Config, ids: &[u64]) -> Result<(), CommandRefusal> {
        runtime()?.block_on(async {
            let letters = self.folder.letters_of(config).await?;
            for id in ids {
                self.folder.find_letter(&letters, *id).await?;
            }
            Ok(())
        })
    }
}

/// Refuses a retry into files while the router runs, since a file has one writer at a time: it is
/// repaired when it is opened, and truncated when a write fails. Either would remove what another
/// process has just appended.
fn check_files(config: &Config, dir: &Path) -> Result<(), CommandRefusal> {
    let files = app::fed(config).filter(|sink| matches!(sink.kind, SinkKind::File(..) | SinkKind::Files(..)));
    let files = quoted(files.map(|sink| sink.name.as_str()), "and");
    let is_running = || SocketPlace::of(dir).is_ok_and(|place| is_locked(&place).unwrap_or(false));
    if files.is_empty() || !is_running() {
        return Ok(());
    }
    let message = format!("the router runs, and what sinks write to files has one writer at a time: {files}");
    let dir = dir.display();
    let hint = format!("`trommel stop {dir}` first, and start it again afterwards; or only look, with `--dry-run`");
    Err(CommandRefusal::new(RefusalKind::Precondition, "router_runs", message).hint(hint))
}

#[derive(Clone, Copy)]
struct RetryFormat {
    json: bool,
    /// True if a sink writes to standard output.
    beside_outputs: bool,
}

/// Prints the result of each dead letter until the last one is retried.
fn tell(mut retried: mpsc::Receiver<RetriedLetter>, RetryFormat { json, beside_outputs }: RetryFormat) -> RetryTotals {
    let (mut totals, mut is_read) = (RetryTotals::default(), true);
    while let Some(one) = retried.blocking_recv() {
        totals.add(&one);
        let line = if json { serde_json::to_string(&one).unwrap_or_default() } else { text(&one) };
        // If the reader has closed the pipe, the rest is retried all the same.
        is_read = is_read
            && match beside_outputs {
                true => writeln!(terminal::stderr(), "{line}"),
                false => writeln!(terminal::stdout(), "{line}"),
            }
            .is_ok();
    }
    totals
}

fn text(RetriedLetter { letter, event, result, outputs, dead }: &RetriedLetter) -> String {
    let outputs: Vec<_> = outputs.iter().map(|(sink, count)| format!("{count} to `{sink}`")).collect();
    let outputs = outputs.join(", ");
    let causes = dead.iter().map(|DeathCause { reason, detail, .. }| match &**detail {
        "" => reason.clone(),
        detail => format!("{reason}: {detail}"),
    });
    let causes = causes.collect::<Vec<_>>().join("; ");
    let became = match (result, &*outputs) {
        (RetryEnd::Emitted, outputs) => format!("emitted: {outputs}"),
        (RetryEnd::Filtered, _) => "filtered".to_owned(),
        (RetryEnd::Dead, "") => format!("dead again: {causes}"),
        (RetryEnd::Dead, outputs) => format!("dead again: {causes}; emitted all the same: {outputs}"),
        (RetryEnd::Failed, _) => "failed: the log says why".to_owned(),
    };
    text::line(&format!("{letter:>10}  {event}  {became}")).into_owned()
}

#[derive(Default, Serialize)]
struct RetryTotals {
    retried: u64,
    emitted: u64,
    filtered: u64,
    dead: u64,
    failed: u64,
    dry_run: bool,
}

impl RetryTotals {
    fn add(&mut self, retried: &RetriedLetter) {
        self.retried += 1;
        *match retried.result {
            RetryEnd::Emitted => &mut self.emitted,
            RetryEnd::Filtered => &mut self.filtered,
            RetryEnd::Dead => &mut self.dead,
            RetryEnd::Failed => &mut self.failed,
        } += 1;
    }
}

impl fmt::Display for RetryTotals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { retried, emitted, filtered, dead, failed, dry_run } = *self;
        if retried == 0 {
            return f.write_str("no such dead letters");
        }
        write!(f, "{} retried", counted(retried))?;
        let all = [(emitted, "emitted"), (filtered, "filtered"), (dead, "dead again"), (failed, "failed")];
        for (at, (count, what)) in all.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(f, "{} {count} {what}", if at == 0 { ":" } else { "," })?;
        }
        match dry_run {
            true => f.write_str("; nothing was written or dropped"),
            false => write!(f, "; {} dropped", emitted + filtered),
        }
    }
}

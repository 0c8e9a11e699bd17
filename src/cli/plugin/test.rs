//! `trommel plugin test`: runs cases through the real host.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use tokio::runtime::Builder;

use super::{
    ComponentFile,
    case::{CaseFile, TestCase},
    chain, settings,
    stand_in::StandIn,
};
use crate::{
    cli::{
        CacheArgs, exit, outcome,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    config::{GuestLimits, LimitOverrides},
    filter::{CallLimits, Caller, Filter, Host},
    registry::FolderWatch,
    text,
    trial::trial,
};

mod diff;
mod junit;

/// Run a filter's cases through the host that a router has
///
/// A case is a line of JSON: an event, params, what the API answers, and what is expected. Cases of
/// one file share the filter's `state`, in order. Retries and dead letters are the router's: a case
/// shows the first answer.
#[derive(Args, Debug)]
pub struct TestPlugin {
    /// The plugin's folder, with one `.wasm` file and cases in `tests/*.ndjson`, or the component
    /// itself
    #[arg(value_name = "DIR|FILE.wasm")]
    plugin: PathBuf,
    /// Cases in another place; may be repeated
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Write the actual outcomes into the cases as the expected ones
    #[arg(long)]
    update: bool,
    /// Run again whenever the component or the cases change
    #[arg(long, conflicts_with = "update")]
    watch: bool,
    /// Write a report for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
}

/// Result of a case.
struct CaseResult {
    name: String,
    place: String,
    took: Duration,
    /// Description of the failure, in lines.
    wrong: Option<String>,
}

impl TestPlugin {
    pub fn execute(self) -> ExitCode {
        let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return CommandRefusal::new(RefusalKind::Internal, "runtime", error.to_string()).end(false),
        };
        runtime.block_on(async {
            if self.watch {
                return self.again_and_again().await;
            }
            self.once().await.unwrap_or_else(|refusal| refusal.end(false))
        })
    }

    async fn again_and_again(&self) -> ExitCode {
        let folder = if self.plugin.is_dir() { &self.plugin } else { self.plugin.parent().unwrap_or(&self.plugin) };
        let mut folders = vec![folder.to_owned(), folder.join("tests")];
        folders.extend(self.cases.iter().filter_map(|cases| cases.parent()).map(Path::to_owned));
        let mut watch = FolderWatch::new(folders, |_| true);
        loop {
            // The next save may fix the problem.
            let _ = self.once().await.map_err(|refusal| refusal.end(false));
            let _ = writeln!(terminal::stderr(), "waiting for a change, ctrl-c ends");
            watch.changed().await;
        }
    }

    async fn once(&self) -> Result<ExitCode, CommandRefusal> {
        let path = component(&self.plugin)?;
        let file = ComponentFile::read(&path)?;
        let mut all = cases(&path, &self.cases)?;
        let internal = |error: anyhow::Error| CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"));
        let bench = TestBench::new(file, self.cache.folder()).await?;
        let mut ran = Vec::new();
        for cases in &mut all {
            let mut filter = FreshFilter { bench: &bench, key: key(&cases.path) };
            for case in &mut cases.cases {
                ran.push(filter.run(&cases.path, case, self.update).await.map_err(internal)?);
            }
            if self.update {
                cases.write().map_err(internal)?;
            }
        }
        if let Some(path) = &self.junit {
            let written = fs::write(path, junit::report(&bench.filter, &ran));
            written.map_err(|error| internal(anyhow::Error::from(error).context(format!("`{}`", path.display()))))?;
        }
        print(&ran, self.update).map_err(|error| internal(error.into()))
    }
}

/// Reads the cases that are named, else those beside the component.
pub(super) fn cases(component: &Path, named: &[PathBuf]) -> Result<Vec<CaseFile>, CommandRefusal> {
    if !named.is_empty() {
        return named.iter().map(|path| CaseFile::read(path)).collect();
    }
    let folder = component.parent().unwrap_or(Path::new(".")).join("tests");
    let found = files(&folder, "ndjson");
    if found.is_empty() {
        let message = format!("there are no cases: no `{}`", folder.join("*.ndjson").display());
        let hint = "write some, one JSON object a line, or name a file with `--cases`";
        return Err(CommandRefusal::new(RefusalKind::Validation, "no_cases", message).hint(hint));
    }
    found.iter().map(|path| CaseFile::read(path)).collect()
}

/// Finds the component of a plugin.
pub(super) fn component(plugin: &Path) -> Result<PathBuf, CommandRefusal> {
    if !plugin.is_dir() {
        return Ok(plugin.to_owned());
    }
    let shown = plugin.display();
    match &*files(plugin, "wasm") {
        [one] => Ok(one.clone()),
        [] => {
            let message = format!("there is no component in `{shown}`");
            let hint = format!("build it first: `{}`", plugin.join("build").display());
            Err(CommandRefusal::new(RefusalKind::Validation, "no_component", message).hint(hint))
        }
        more => {
            let message = format!("there are {} components in `{shown}`", more.len());
            Err(CommandRefusal::new(RefusalKind::Validation, "components", message).hint("name the one that is meant"))
        }
    }
}

/// Files in a folder with this extension, sorted by name.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    found.sort();
    found
}

/// Key for the cases of one file: it keeps their filter state apart from that of other files.
fn key(cases: &Path) -> String {
    cases.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A loaded filter, and the API that it calls.
struct TestBench {
    filter: Filter,
    api: StandIn,
}

impl TestBench {
    async fn new(file: ComponentFile, cache: Option<PathBuf>) -> Result<Self, CommandRefusal> {
        let internal = |error: anyhow::Error| CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"));
        let api = StandIn::start().await.map_err(internal)?;
        let host = Host::new(cache, Some(api.client.clone()), Arc::default()).map_err(internal)?;
        let loaded = host.load(&file.name, file.bytes, &settings(&file.name)).await;
        let filter = loaded.map_err(|error| {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "refused", format!("`{}`: {}", file.name, chain(error)));
            refusal.hint("`trommel plugin check` says more")
        })?;
        Ok(Self { filter, api })
    }
}

/// A filter with separate state for the cases of one file.
struct FreshFilter<'a> {
    bench: &'a TestBench,
    key: String,
}

impl FreshFilter<'_> {
    async fn run(&mut self, path: &Path, case: &mut TestCase, update: bool) -> anyhow::Result<CaseResult> {
        let TestBench { filter, api } = self.bench;
        api.say(case.answers());
        let began = Instant::now();
        let outcome = self.outcome(filter, case).await?;
        let took = began.elapsed();
        let wrong = match (api.unanswered(), case.expected()) {
            (calls, _) if !calls.is_empty() => {
                Some(format!("the filter called `{}`, which `api` of the case does not answer", calls.join("`, `")))
            }
            _ if update => None,
            (_, None) => Some(format!("nothing is expected, and it came out\n{}", diff::pretty(&outcome))),
            (_, Some(expected)) if outcome::fits(expected, &outcome) => None,
            (_, Some(expected)) => Some(diff::diff(expected, &outcome)),
        };
        // A kind alone is kept as long as it is right.
        if update && !case.expected().is_some_and(|expected| outcome::fits(expected, &outcome)) {
            case.expect(outcome);
        }
        Ok(CaseResult { name: case.name(), place: format!("{}:{}", path.display(), case.line), took, wrong })
    }

    async fn outcome(&self, filter: &Filter, case: &TestCase) -> anyhow::Result<Value> {
        let caller = Caller { key: &self.key, route: "", endpoints: &case.endpoints };
        let limits = CallLimits::new(&GuestLimits::default(), &LimitOverrides::default());
        let params = match filter.normalize_params(caller, case.params()).await {
            Ok(params) => params,
            Err(error) => return outcome::of_refusal(error),
        };
        match filter.subscribe(caller, params, limits).await {
            Ok(subscription) => {
                let mut matcher = filter.matcher();
                outcome::of(trial(filter, &subscription, &mut matcher, &case.event, &|_| false).await.end)
            }
            Err(error) => outcome::of_refusal(error),
        }
    }
}

/// Prints failures in full, the other cases on one line each.
fn print(ran: &[CaseResult], update: bool) -> io::Result<ExitCode> {
    let mut out = terminal::stdout();
    for CaseResult { name, place, took, wrong } in ran {
        match wrong {
            None => writeln!(out, "ok    {} ({:.1} µs)", text::line(name), took.as_secs_f64() * 1e6)?,
            Some(wrong) => {
                writeln!(out, "FAIL  {} ({place})", text::line(name))?;
                wrong.lines().try_for_each(|line| writeln!(out, "      {line}"))?;
            }
        }
    }
    let failed = ran.iter().filter(|ran| ran.wrong.is_some()).count();
    let written = if update { ", outcomes written" } else { "" };
    writeln!(out, "{} passed, {failed} failed{written}", ran.len() - failed)?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

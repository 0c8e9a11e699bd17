//! `trommel plugin test`: runs cases through the real host.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use super::{
    ComponentFile,
    case::{CaseFile, TestCase},
    chain,
    declared::DeclaredUse,
};
use crate::{
    cli::{
        CacheArgs,
        cases::{CaseResult, FilterLines, StandIn, diff, junit, print, unanswered},
        outcome,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    filter::{CallError, Caller, CodeCache, CodeQuality, Filter, Host},
    registry::FolderWatch,
    trial::{TrialEnd, trial},
};

/// Run a filter's cases through the host that a router has
///
/// A case is a line of JSON: an event, params, what the API answers, and what is expected. If the
/// folder is a router's, its limits count, and the params that the filter's key declares. Cases of
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
    /// Write the actual outcomes into the cases as the expected ones, and show what changed
    #[arg(long)]
    update: bool,
    /// Show what the filter logs and prints in every case, not only in those that fail
    #[arg(long)]
    verbose: bool,
    /// Run again whenever the component or the cases change
    #[arg(long, conflicts_with = "update")]
    watch: bool,
    /// Write a report for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
}

impl TestPlugin {
    pub fn execute(self) -> ExitCode {
        let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return CommandRefusal::new(RefusalKind::Internal, "runtime", error.to_string()).end(false),
        };
        let lines = FilterLines::start();
        runtime.block_on(async {
            if self.watch {
                return self.again_and_again(&lines).await;
            }
            self.once(&lines).await.unwrap_or_else(|refusal| refusal.end(false))
        })
    }

    async fn again_and_again(&self, lines: &FilterLines) -> ExitCode {
        let folder = if self.plugin.is_dir() { &self.plugin } else { self.plugin.parent().unwrap_or(&self.plugin) };
        let mut folders = vec![folder.to_owned(), folder.join("tests")];
        folders.extend(self.cases.iter().filter_map(|cases| cases.parent()).map(Path::to_owned));
        let mut watch = FolderWatch::new(folders, |_| true);
        loop {
            // The next save may fix the problem.
            let _ = self.once(lines).await.map_err(|refusal| refusal.end(false));
            let _ = writeln!(terminal::stderr(), "waiting for a change, ctrl-c ends");
            watch.changed().await;
        }
    }

    async fn once(&self, lines: &FilterLines) -> Result<ExitCode, CommandRefusal> {
        let path = component(&self.plugin)?;
        let file = ComponentFile::read(&path)?;
        let mut all = cases(&path, &self.cases)?;
        let internal = |error: anyhow::Error| CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"));
        let declared = DeclaredUse::read(&path, &file.name)?;
        let bench = TestBench::new(file, declared, self.cache.folder(), lines.clone()).await?;
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
            let written = fs::write(path, junit::report(bench.filter.name(), &ran));
            written.map_err(|error| internal(anyhow::Error::from(error).context(format!("`{}`", path.display()))))?;
        }
        print(&ran, self.update, self.verbose).map_err(|error| internal(error.into()))
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
    declared: DeclaredUse,
    api: StandIn,
    lines: FilterLines,
}

impl TestBench {
    async fn new(
        file: ComponentFile,
        declared: DeclaredUse,
        cache: Option<PathBuf>,
        lines: FilterLines,
    ) -> Result<Self, CommandRefusal> {
        let internal = |error: anyhow::Error| CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"));
        let api = StandIn::start().await.map_err(internal)?;
        // The code of a new build runs a few cases: what makes it sooner is quicker.
        let cache = CodeCache { folder: cache, quality: CodeQuality::Quick };
        let host = Host::new(cache, api.clients.clone(), Arc::default()).map_err(internal)?;
        let loaded = host.load(&file.name, file.bytes, &declared.settings).await;
        let filter = loaded.map_err(|error| {
            let refusal =
                CommandRefusal::new(RefusalKind::Validation, "refused", format!("`{}`: {}", file.name, chain(error)));
            refusal.hint("`trommel plugin check` says more")
        })?;
        Ok(Self { filter, declared, api, lines })
    }
}

/// A filter with separate state for the cases of one file.
struct FreshFilter<'a> {
    bench: &'a TestBench,
    key: String,
}

impl FreshFilter<'_> {
    async fn run(&mut self, path: &Path, case: &mut TestCase, update: bool) -> anyhow::Result<CaseResult> {
        let TestBench { filter, api, lines, .. } = self.bench;
        api.say(case.answers().collect());
        lines.take();
        let began = Instant::now();
        let (outcome, detail) = self.outcome(filter, case).await?;
        let took = began.elapsed();
        let mut lines = lines.take();
        let is_broken = outcome.get("broke").is_some();
        let but = |wrong: String| match &detail {
            Some(detail) => format!("{wrong}\n{detail}"),
            None => wrong,
        };
        let wrong = match (api.unanswered(), case.expected()) {
            (calls, _) if !calls.is_empty() => Some(unanswered(&calls)),
            _ if update => None,
            (_, None) => Some(but(format!("nothing is expected, and it came out\n{}", diff::pretty(&outcome)))),
            (_, Some(expected)) if outcome::fits(expected, &outcome) => None,
            (_, Some(expected)) => Some(but(diff::diff(expected, &outcome))),
        };
        if wrong.is_some() && is_broken {
            // The break is told with them.
            lines.clear();
        }
        let mut written = None;
        // A kind alone is kept as long as it is right.
        if update && !case.expected().is_some_and(|expected| outcome::fits(expected, &outcome)) {
            let before = case.expected().map(|expected| diff::diff(expected, &outcome));
            written = Some(but(before.unwrap_or_else(|| diff::pretty(&outcome))));
            case.expect(outcome);
        }
        let place = format!("{}:{}", path.display(), case.line);
        Ok(CaseResult { name: case.name(), place, took, wrong, written, lines })
    }

    /// Returns the outcome as cases have it, and what it does not tell of a failure.
    async fn outcome(&self, filter: &Filter, case: &TestCase) -> anyhow::Result<(Value, Option<String>)> {
        let caller = Caller { key: &self.key, route: "", endpoints: &case.endpoints };
        let params = match self.bench.declared.params(case.params()) {
            Ok(params) => params,
            Err(refused) => return Ok((json!({ "refused": refused }), None)),
        };
        let params = match filter.normalize_params(caller, params).await {
            Ok(params) => params,
            Err(error) => return refused(error),
        };
        if case.event.is_tick() && !filter.manifest().hooks.tick {
            anyhow::bail!(
                "case `{}` is a tick, and `hooks` of the filter's manifest does not have `tick`",
                case.name()
            );
        }
        match filter.subscribe(caller, params, self.bench.declared.limits()).await {
            Ok(subscription) => {
                let mut matcher = filter.matcher();
                let end = trial(filter, &subscription, &mut matcher, &case.event, &|_| false).await.end;
                let detail = match &end {
                    TrialEnd::Broke(broken) => Some(broken.to_string()),
                    // With its lines as they are, such as those of a stack.
                    TrialEnd::Said(failure) => Some(failure.to_string()).filter(|text| text.contains('\n')),
                    _ => None,
                };
                Ok((outcome::of(end)?, detail))
            }
            Err(error) => refused(error),
        }
    }
}

fn refused(error: CallError) -> anyhow::Result<(Value, Option<String>)> {
    let detail = match &error {
        CallError::Broke(broken) => Some(broken.to_string()),
        _ => None,
    };
    Ok((outcome::of_refusal(error)?, detail))
}

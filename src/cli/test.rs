//! `trommel test DIR`: runs cases through a folder's router, without a server.

use std::{
    fs,
    io::Write,
    path::{self, Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use clap::{ArgGroup, Args};
use serde_json::json;

use crate::{
    app,
    cli::{
        CacheArgs,
        cases::{CaseResult, FilterLines, StandIn, failed, junit, print, unanswered},
        dry_router::{ArrivalError, DryRouter, MessageEnd},
        exit,
        past::PastArgs,
        refusal::{CommandRefusal, RefusalKind},
        terminal,
    },
    config::{Config, Problem, Problems},
    filter::{CodeCache, CodeQuality},
    folder::{self, CaseEnd, CaseFile, CaseInput, EndUpdate, RouterCase},
    registry::{FolderWatch, is_read},
};

pub(super) mod compare;
mod coverage;
mod names;
mod record;
pub(super) mod row;

use compare::{EndComparison, usual};
use coverage::{CaseCoverage, CoverageReport};
use names::{bad_cases, check_names};
use row::CaseRow;

/// Run a router's cases, without a server: what arrives, and what must come of it
///
/// Cases are in `tests/*.toml`: a message as it arrives at a source, what the API answers, and the
/// ends that are expected, each an output of a sink, a dead letter or a rule that drops the event.
/// What an end does not name is not compared. The cases of a file run in order in one router, those
/// of the next in a fresh one. A case that expects nothing yet fails, and shows what came out.
///
/// With `--record` no case is run: messages of a stream or of a file become cases, which expect
/// what comes out today.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("past").multiple(true).requires("record").args(
    ["stream", "subject", "from_seq", "from_time", "to", "lines"]
)))]
pub struct TestCommand {
    /// The router's folder, with `trommel.toml` in it
    dir: PathBuf,
    /// File of cases in place of `tests/*.toml`; may be repeated
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Write the actual ends into the cases as the expected ones, and show what changed
    #[arg(long)]
    update: bool,
    /// Show what filters log and print in every case, not only in those that fail
    #[arg(long)]
    verbose: bool,
    /// Run again whenever the keys, the components or the cases change
    #[arg(long, conflicts_with = "update")]
    watch: bool,
    /// Write a report for CI
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Fail if the cases reach less of the keys, routes and conditions
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    min_coverage: Option<u8>,
    /// Make a new file of cases of messages, with what comes of them today
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cases", "update", "watch", "junit", "min_coverage"])]
    record: Option<PathBuf>,
    #[command(flatten, next_help_heading = "With --record")]
    past: PastArgs,
    /// At most this many messages; 0 means all
    #[arg(long, value_name = "N", default_value_t = 50, requires = "record", help_heading = "With --record")]
    limit: u64,
    /// Print a JSON object a line
    #[arg(long, help_heading = "Options")]
    json: bool,
    #[command(flatten, next_help_heading = "Options")]
    cache: CacheArgs,
}

/// Results of all cases.
struct TestRun {
    ran: Vec<CaseResult>,
    /// The ends of each case.
    ends: Vec<Vec<CaseEnd>>,
    coverage: CoverageReport,
}

impl TestCommand {
    pub fn execute(self) -> ExitCode {
        let runtime = match app::runtime() {
            Ok(runtime) => runtime,
            Err(error) => return internal(error.into()).end(self.json),
        };
        let lines = FilterLines::start();
        runtime.block_on(async {
            if self.watch {
                return self.again_and_again(&lines).await;
            }
            let ended = match &self.record {
                Some(file) => self.record(file).await,
                None => self.once(&lines).await,
            };
            ended.unwrap_or_else(|refusal| refusal.end(self.json))
        })
    }

    async fn again_and_again(&self, lines: &FilterLines) -> ExitCode {
        let mut folders: Vec<_> = ["", "keys", "filters", "tests"].map(|name| self.dir.join(name)).into();
        if let Ok(config) = folder::load(&self.dir) {
            folders.extend([config.plugins, config.schemas]);
        }
        folders.extend(self.cases.iter().filter_map(|cases| cases.parent()).map(Path::to_owned));
        let mut watch = FolderWatch::new(folders, is_read);
        loop {
            // The next save may fix the problem.
            let _ = self.once(lines).await.map_err(|refusal| refusal.end(self.json));
            let _ = writeln!(terminal::stderr(), "waiting for a change, ctrl-c ends");
            watch.changed().await;
        }
    }

    async fn once(&self, lines: &FilterLines) -> Result<ExitCode, CommandRefusal> {
        let config = folder::load(&self.dir)?;
        let mut files = self.files()?;
        check_names(&config, &files)?;
        let run = self.run(&config, &mut files, lines).await?;
        if let Some(path) = &self.junit {
            let written = fs::write(path, junit::report(&self.dir.display().to_string(), &run.ran));
            written.map_err(|error| internal(anyhow::Error::from(error).context(format!("`{}`", path.display()))))?;
        }
        self.print(&run)
    }

    fn files(&self) -> Result<Vec<CaseFile>, CommandRefusal> {
        let paths = if self.cases.is_empty() {
            CaseFile::list(&self.dir).map_err(|error| internal(error.into()))?
        } else {
            self.cases.iter().map(path::absolute).collect::<Result<_, _>>().map_err(|error| internal(error.into()))?
        };
        if paths.is_empty() {
            let message = format!("there are no cases: no `{}`", self.dir.join("tests/*.toml").display());
            let hint = "write some, or make them of messages with `--record`; a filter's own cases, `tests/*.ndjson`, are run by \
                        `trommel plugin test`";
            return Err(CommandRefusal::new(RefusalKind::Validation, "no_cases", message).hint(hint));
        }
        paths.iter().map(|path| CaseFile::read(&self.dir, path).map_err(|problems| bad_cases(&problems))).collect()
    }

    async fn run(
        &self,
        config: &Config,
        files: &mut [CaseFile],
        lines: &FilterLines,
    ) -> Result<TestRun, CommandRefusal> {
        let mut coverage = CaseCoverage::default();
        let (mut ran, mut all_ends) = (Vec::new(), Vec::new());
        let mut changed = Vec::new();
        for file in files {
            let api = StandIn::start().await.map_err(internal)?;
            api.say(file.api.clone());
            // The code runs a few events: what makes it sooner is quicker.
            let cache = CodeCache { quality: CodeQuality::Quick, ..self.cache.code() };
            let router = DryRouter::start(config.clone(), cache, Some(api.clients.clone())).await?;
            coverage.add(&router);
            let mut has_changed = false;
            for position in 0..file.cases.len() {
                let case = &file.cases[position];
                api.say(case.api.iter().chain(&file.api).cloned().collect());
                lines.take();
                let began = Instant::now();
                let ends = run_case(&router, case, position as u64 + 1, &mut coverage).await?;
                let took = began.elapsed();
                let (name, place, calls) = (case.name.clone(), case.place.to_string(), api.unanswered());
                let (wrong, written) = match calls.is_empty() {
                    true => judge(file, position, &ends, self.update),
                    false => (Some(unanswered(&calls)), None),
                };
                has_changed |= written.is_some();
                let result = CaseResult { name, place, took, wrong, written, lines: lines.take() };
                ran.push(result);
                all_ends.push(ends.into_iter().map(|end| end.all).collect());
            }
            if has_changed {
                changed.push(file);
            }
        }
        // A file that can't be run leaves all of them as they were.
        for file in changed {
            file.save().map_err(|error| internal(error.into()))?;
        }
        Ok(TestRun { ran, ends: all_ends, coverage: coverage.report() })
    }

    fn print(&self, run: &TestRun) -> Result<ExitCode, CommandRefusal> {
        let TestRun { ran, ends, coverage } = run;
        let is_short = self.min_coverage.is_some_and(|least| coverage.percent() < usize::from(least));
        let failed = failed(ran);
        let printed = if self.json {
            let mut out = terminal::stdout();
            let rows = ran.iter().zip(ends).map(|(result, ends)| serde_json::to_string(&CaseRow::new(result, ends)));
            let last = json!({ "passed": ran.len() - failed, "failed": failed, "coverage": coverage });
            rows.chain([Ok(last.to_string())]).try_for_each(|row| writeln!(out, "{}", row?))
        } else {
            print(ran, self.update, self.verbose).and_then(|_| write!(terminal::stdout(), "{}", coverage.text()))
        };
        printed.map_err(|error| internal(error.into()))?;
        if is_short && !self.json {
            let percent = coverage.percent();
            let least = self.min_coverage.unwrap_or_default();
            let _ = writeln!(terminal::stderr(), "the cases reach {percent} % of the parts, less than {least} %");
        }
        Ok(if failed == 0 && !is_short { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
    }
}

/// Runs a case, and notes what it reaches.
async fn run_case(
    router: &DryRouter,
    case: &RouterCase,
    number: u64,
    coverage: &mut CaseCoverage,
) -> Result<Vec<MessageEnd>, CommandRefusal> {
    let ends = match &case.input {
        CaseInput::Message(message) => router.take(message, number, |walk| coverage.note(walk)).await,
        CaseInput::Tick(tick) => router.tick(tick, number).await,
    };
    ends.map_err(|ArrivalError { message, hint, .. }| {
        let problem = Problem { hint, ..Problem::error(case.place.clone(), message) };
        bad_cases(&Problems::new(vec![problem]))
    })
}

/// Compares the ends of a case with what it expects. Returns what is wrong or, with `update`, what
/// was changed in the case.
fn judge(file: &mut CaseFile, position: usize, ends: &[MessageEnd], update: bool) -> (Option<String>, Option<String>) {
    let expected = file.cases.get(position).and_then(|case| case.expect.clone());
    let compared = expected.as_deref().map(|expected| EndComparison::new(expected, ends));
    if compared.as_ref().is_some_and(EndComparison::fits) {
        return (None, None);
    }
    let diff = compared.as_ref().map(EndComparison::diff);
    if !update {
        let nothing = || format!("nothing is expected, and it came out\n{}", as_written(ends));
        return (Some(diff.unwrap_or_else(nothing)), None);
    }
    let add = || usual(ends).into_iter().map(EndUpdate::Add).collect();
    file.expect(position, compared.map_or_else(add, EndComparison::updates));
    (None, Some(diff.unwrap_or_else(|| as_written(ends))))
}

/// The usual ends of a message, as they are written in a case.
fn as_written(ends: &[MessageEnd]) -> String {
    CaseEnd::toml(&usual(ends)).trim().to_owned()
}

fn internal(error: anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"))
}

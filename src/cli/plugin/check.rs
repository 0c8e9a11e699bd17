//! `trommel plugin check`: properties of a component, its needs, and everything that would keep a
//! router from loading it.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};

use super::{ComponentFile, chain, paste, settings, test};
use crate::{
    cli::{
        exit,
        refusal::{CommandRefusal, RefusalKind},
        runtime, terminal,
    },
    config::{GuestLimits, ParamDeclaration},
    filter::{
        CONTRACTS, ComponentForm, ComponentSurvey, EventFields, Filter, FilterHooks, Host, LoadError,
        MetricDeclaration, survey,
    },
    text,
};

/// Size of debugging information in bytes from which there is a warning.
const MUCH_DEBUG: usize = 1 << 20;

/// Show what a component is, what it needs, and what a router would refuse about it
#[derive(Args, Debug)]
pub struct CheckPlugin {
    /// The component, or the plugin's folder with one in it
    #[arg(value_name = "FILE.wasm|DIR")]
    file: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Results of the check.
#[derive(Default)]
struct CheckFindings {
    survey: Option<ComponentSurvey>,
    loaded: Option<LoadedFilter>,
    problems: Vec<String>,
    warnings: Vec<String>,
}

struct LoadedFilter {
    filter: Filter,
    took: Duration,
}

impl CheckPlugin {
    pub fn execute(self) -> ExitCode {
        match self.look() {
            Ok(findings) => self.print(&findings).unwrap_or_else(|error| {
                CommandRefusal::new(RefusalKind::Internal, "stdout", format!("can't print: {error}")).end(self.json)
            }),
            Err(refusal) => refusal.end(self.json),
        }
    }

    fn look(&self) -> Result<CheckFindings, CommandRefusal> {
        let file = ComponentFile::read(&test::component(&self.file)?)?;
        let mut findings = CheckFindings::default();
        match survey(&file.bytes) {
            Ok(survey) => {
                findings.warnings.extend(warnings(&survey));
                let strange = survey.strange.iter();
                findings.problems.extend(strange.map(|name| {
                    format!(
                        "it imports `{name}`, which no router has: filters call `trommel:filter/log`, `api` and \
                        `state`, and WASI 0.2, which has nothing in it"
                    )
                }));
                findings.survey = Some(survey);
            }
            Err(error) => {
                findings.problems.push(chain(error));
                return Ok(findings);
            }
        }
        // Without a cache, so that the time of compiling is measured.
        let host = Host::new(None, None, Arc::default());
        let host = host.map_err(|error| CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}")))?;
        let began = Instant::now();
        match runtime()?.block_on(host.load(&file.name, file.bytes, &settings(&file.name))) {
            Ok(filter) => {
                findings.warnings.extend(doubts(&filter));
                findings.loaded = Some(LoadedFilter { filter, took: began.elapsed() });
            }
            // Already reported above, for every import.
            Err(LoadError::Import { .. }) => {}
            Err(error) => findings.problems.push(chain(error)),
        }
        Ok(findings)
    }

    fn print(&self, findings: &CheckFindings) -> io::Result<ExitCode> {
        let mut out = terminal::stdout();
        if self.json {
            writeln!(out, "{}", findings.json())?;
        } else {
            write!(out, "{}", findings.text())?;
        }
        Ok(if findings.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(exit::INVALID) })
    }
}

/// Hints about parts of the file that cost something.
fn warnings(survey: &ComponentSurvey) -> Vec<String> {
    let mut warnings = Vec::new();
    if survey.debug >= MUCH_DEBUG {
        let (debug, size) = (ByteSize::b(survey.debug as u64), ByteSize::b(survey.size as u64));
        warnings.push(format!(
            "{debug} of its {size} are debugging information, as in a debug build: build it for release \
             (`cargo build --release`, `-O2`), or take it out with `wasm-tools strip`"
        ));
    }
    warnings
}

fn form_name(form: &ComponentForm) -> &'static str {
    match form {
        ComponentForm::Component => "a component",
        ComponentForm::Module => "a core module with its WIT, made a component when it is loaded",
        ComponentForm::Preview1Module => {
            "a core module with its WIT for WASI preview 1, made a component when it is loaded"
        }
    }
}

/// Valid settings that are probably mistakes.
fn doubts(filter: &Filter) -> Vec<String> {
    let manifest = filter.manifest();
    let mut doubts = Vec::new();
    // An instance with more than that is replaced after every call, if it can be called at all.
    if filter.memory() > memory() / 4 * 3 {
        let (has, gets) = (bytes(filter.memory()), bytes(memory()));
        doubts.push(format!(
            "an instance has {has} of memory before its first event, where a router gives it {gets}: \
             `[[filter]]` with its name and `limits = {{ memory = \"256MiB\" }}` in `trommel.toml`"
        ));
    }
    if manifest.hooks == FilterHooks::default() {
        doubts.push("its manifest names no hooks, so that every event passes as it is".to_owned());
    }
    for (hook, is_there, reads) in [
        ("matches", manifest.hooks.matches, manifest.match_reads),
        ("process", manifest.hooks.process, manifest.process_reads),
    ] {
        if !is_there && reads != EventFields::default() {
            doubts.push(format!("its manifest says what `{hook}` reads, but `{hook}` is not among its hooks"));
        }
    }
    doubts
}

impl CheckFindings {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        if let Some(survey) = &self.survey {
            let contract = text::line(survey.contract.as_deref().unwrap_or("none"));
            lines.push(format!("form      {}, {}", form_name(&survey.form), ByteSize::b(survey.size as u64)));
            lines.push(format!("contract  trommel:filter@{contract} (this router has {})", CONTRACTS.join(", ")));
            lines.push(format!("imports   {}", listed(&survey.imports)));
            lines.push(format!("exports   {}", listed(&survey.exports)));
        }
        if let Some(LoadedFilter { filter, took }) = &self.loaded {
            let manifest = filter.manifest();
            let [name, version, description] =
                [&manifest.name, &manifest.version, &manifest.description].map(|said| text::line(said));
            lines.push(format!("filter    {name} {version}: {description}"));
            lines.push(format!("hooks     {}", listed(&hooks(manifest.hooks))));
            if let Some(interval) = manifest.interval {
                lines.push(format!("ticks     every {interval:?}"));
            }
            if !manifest.metrics.is_empty() {
                let metrics = manifest.metrics.iter();
                let metrics: Vec<_> =
                    metrics.map(|metric| format!("{} ({})", metric.name, metric.kind.word())).collect();
                lines.push(format!("metrics   {}", listed(&metrics)));
            }
            if !manifest.capabilities.is_empty() {
                lines.push(format!("grants    {}", listed(&manifest.capabilities)));
            }
            let unasked = unasked(filter);
            if !unasked.is_empty() {
                let unasked = listed(&unasked);
                lines.push(format!("unasked   {unasked}: imported, but not in the manifest; denied without a grant"));
            }
            if self.is_of_0_1() {
                lines.push(format!("reads     matches: {}", listed(&fields(manifest.match_reads))));
                lines.push(format!("          process: {}", listed(&fields(manifest.process_reads))));
            }
            lines.push(format!("digest    sha256:{}", filter.digest()));
            lines.push(format!("memory    {} before the first event, of {}", bytes(filter.memory()), bytes(memory())));
            lines.push(format!("compiled  in {} ms", took.as_millis()));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {}", text::line(warning))));
        lines.extend(self.problems.iter().map(|problem| format!("problem: {}", text::line(problem))));
        if let Some(paste) = self.loaded.as_ref().and_then(|loaded| paste::files(&loaded.filter)) {
            lines.push("it asks for".to_owned());
            lines.extend(paste.lines().map(|line| format!("  {}", text::line(line))));
        }
        lines.push(if self.problems.is_empty() { "a router would take it" } else { "a router would refuse it" }.into());
        lines.join("\n") + "\n"
    }

    /// Returns whether the manifest says what the functions read; later, each subscription does.
    fn is_of_0_1(&self) -> bool {
        let contract = self.survey.as_ref().and_then(|survey| survey.contract.as_deref());
        contract.is_none_or(|contract| contract.starts_with("0.1."))
    }

    fn json(&self) -> Value {
        let survey = self.survey.as_ref().map(|survey| {
            json!({
                "form": match survey.form {
                    ComponentForm::Component => "component",
                    ComponentForm::Module => "module",
                    ComponentForm::Preview1Module => "preview1_module",
                },
                "size": survey.size,
                "debug_size": survey.debug,
                "contract": survey.contract,
                "imports": survey.imports,
                "exports": survey.exports,
            })
        });
        let manifest = self.loaded.as_ref().map(|LoadedFilter { filter, took }| {
            let manifest = filter.manifest();
            json!({
                "name": manifest.name,
                "version": manifest.version,
                "description": manifest.description,
                "hooks": hooks(manifest.hooks),
                "match_reads": fields(manifest.match_reads),
                "process_reads": fields(manifest.process_reads),
                "interval_ms": manifest.interval.map(|interval| u64::try_from(interval.as_millis()).unwrap_or(u64::MAX)),
                "metrics": manifest.metrics.iter().map(metric).collect::<Vec<_>>(),
                "capabilities": manifest.capabilities,
                "unasked": unasked(filter),
                "params": manifest.needs.params.iter().map(param).collect::<Vec<_>>(),
                "api": manifest.needs.endpoints,
                "memory_needed": manifest.needs.memory,
                "output_schema": manifest.needs.output_schema,
                "digest": filter.digest(),
                "memory": filter.memory(),
                "compile_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
        });
        json!({
            "ok": self.problems.is_empty(),
            "file": survey,
            "filter": manifest,
            "warnings": self.warnings,
            "problems": self.problems,
        })
    }
}

/// Imports that the manifest does not ask for. That is no mistake: toolchains of interpreters
/// import all that there is.
fn unasked(filter: &Filter) -> Vec<&'static str> {
    let is_asked_for = |import: &&str| filter.manifest().capabilities.iter().any(|wish| wish == import);
    let imports = filter.imports().into_iter().filter(|import| ["api", "state"].contains(import));
    imports.filter(|import| !is_asked_for(import)).collect()
}

/// Default memory limit of an instance in a router, in bytes.
fn memory() -> usize {
    GuestLimits::default().memory
}

fn bytes(bytes: usize) -> ByteSize {
    ByteSize::b(bytes as u64)
}

fn param(ParamDeclaration { name, kind, required, default, description, .. }: &ParamDeclaration) -> Value {
    let kind = kind.word();
    json!({ "name": name, "type": kind, "required": required, "default": default, "description": description })
}

fn metric(MetricDeclaration { name, kind, description }: &MetricDeclaration) -> Value {
    json!({ "name": name, "kind": kind.word(), "description": description })
}

fn listed(names: &[impl AsRef<str>]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| text::line(name.as_ref())).collect::<Vec<_>>().join(", ")
}

fn hooks(hooks: FilterHooks) -> Vec<&'static str> {
    let FilterHooks { normalize_params, conditions, matches, matches_batch, process, process_batch, tick } = hooks;
    named([
        (normalize_params, "normalize-params"),
        (conditions, "conditions"),
        (matches, "matches"),
        (matches_batch, "matches-batch"),
        (process, "process"),
        (process_batch, "process-batch"),
        (tick, "tick"),
    ])
}

pub(super) fn fields(fields: EventFields) -> Vec<&'static str> {
    let EventFields { id, subject, source_time, headers, payload } = fields;
    named([(id, "id"), (subject, "subject"), (source_time, "source-time"), (headers, "headers"), (payload, "payload")])
}

fn named<const N: usize>(flags: [(bool, &'static str); N]) -> Vec<&'static str> {
    flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect()
}

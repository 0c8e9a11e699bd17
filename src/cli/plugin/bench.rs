//! `trommel plugin bench`: cost of a filter's hooks, and of each further field that they could
//! read.

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::Args;
use serde_json::{Value, json};

use super::{ComponentFile, case::TestCase, chain, check::fields, declared::DeclaredUse, test};
use crate::{
    cli::{
        cases::StandIn,
        refusal::{CommandRefusal, RefusalKind},
        runtime, terminal,
    },
    endpoint::Endpoint,
    event::Event,
    filter::{CallLimits, Caller, EventFields, Filter, Host, RouteSubscription},
};

/// Number of measurements, of which the median counts.
const ROUNDS: usize = 9;
/// Shortest duration of one measurement.
const ROUND: Duration = Duration::from_millis(20);

/// Measure a filter: time of each hook, of an instance, of compiling, and memory
///
/// Runs over the events and params of the plugin's cases. Cases in which the filter fails are left
/// out. The API answers as the cases say, and the time that this takes is part of `process`.
#[derive(Args, Debug)]
pub struct BenchPlugin {
    /// The plugin's folder, with one `.wasm` file and cases in `tests/*.ndjson`, or the component
    /// itself
    #[arg(value_name = "DIR|FILE.wasm")]
    plugin: PathBuf,
    /// File of cases in another place; may be repeated
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

struct FilterMeasurements {
    size: usize,
    compile: Duration,
    /// Time of the first call on a new instance; `memory` is its memory after that.
    instance: Duration,
    memory: usize,
    hooks: Vec<HookTime>,
    events: usize,
}

struct HookTime {
    name: &'static str,
    reads: EventFields,
    nanos: f64,
    /// Times with one more field read.
    widened: Vec<(&'static str, f64)>,
}

/// An event, and the subscription of the route that it goes through.
type BenchInput = (Event, Arc<RouteSubscription>);

/// Limits of the calls, and the calls of the API that they may make.
type AllowedCalls<'a> = (CallLimits, &'a [Endpoint]);

impl BenchPlugin {
    pub fn execute(self) -> ExitCode {
        let measured = self.measure().and_then(|measured| {
            let text = if self.json { format!("{}\n", measured.json()) } else { measured.text() };
            write!(terminal::stdout(), "{text}").map_err(|error| internal(error.into()))
        });
        measured.err().map_or(ExitCode::SUCCESS, |refusal| refusal.end(self.json))
    }

    fn measure(&self) -> Result<FilterMeasurements, CommandRefusal> {
        let path = test::component(&self.plugin)?;
        let cases = test::cases(&path, &self.cases)?;
        let size = fs::metadata(&path).map_or(0, |data| data.len() as usize);
        let file = ComponentFile::read(&path)?;
        let name = file.name.clone();
        let declared = DeclaredUse::read(&path, &name)?;
        let runtime = runtime()?;
        runtime.block_on(async {
            let api = StandIn::start().await.map_err(internal)?;
            let host = Host::new(None, api.clients.clone(), Arc::default()).map_err(internal)?;
            let began = Instant::now();
            let loaded = host.load(&name, file.bytes, &declared.settings).await;
            let compile = began.elapsed();
            let filter = loaded.map_err(|error| {
                let refusal =
                    CommandRefusal::new(RefusalKind::Validation, "refused", format!("`{name}`: {}", chain(error)));
                refusal.hint("`trommel plugin check` says more")
            })?;
            let cases = cases.iter().flat_map(|cases| &cases.cases);
            let cases: Vec<&TestCase> = cases.filter(|case| !case.event.is_tick()).collect();
            api.say(cases.iter().flat_map(|case| case.answers()).collect());
            let pairs = pairs(&filter, &declared, &cases).await?;
            let (instance, memory) = instance(&filter, &pairs).await.map_err(internal)?;
            let endpoints: Vec<_> = cases.iter().flat_map(|case| &case.endpoints).cloned().collect();
            let hooks = hooks(&filter, &pairs, (declared.limits(), &endpoints)).await.map_err(internal)?;
            Ok(FilterMeasurements { size, compile, instance, memory, hooks, events: pairs.len() })
        })
    }
}

fn internal(error: anyhow::Error) -> CommandRefusal {
    CommandRefusal::new(RefusalKind::Internal, "host", format!("{error:#}"))
}

/// Events and subscriptions of the cases that pass through the filter without an error.
///
/// # Errors
/// If there is none; the message says why the first one did not.
async fn pairs(
    filter: &Filter,
    declared: &DeclaredUse,
    cases: &[&TestCase],
) -> Result<Vec<BenchInput>, CommandRefusal> {
    let (mut pairs, mut first) = (Vec::new(), None);
    for case in cases {
        match through(filter, declared, case).await {
            Ok(subscription) => pairs.push((case.event.clone(), subscription)),
            Err(error) => {
                first.get_or_insert_with(|| format!("`{}`: {error:#}", case.name()));
            }
        }
    }
    if pairs.is_empty() {
        let message = format!("no case gets through, the first of them is {}", first.unwrap_or_default());
        return Err(CommandRefusal::new(RefusalKind::Validation, "no_cases", message));
    }
    Ok(pairs)
}

async fn through(filter: &Filter, declared: &DeclaredUse, case: &TestCase) -> anyhow::Result<Arc<RouteSubscription>> {
    let caller = Caller { key: "bench", route: "", endpoints: &case.endpoints };
    let params = declared.params(case.params()).map_err(anyhow::Error::msg)?;
    let params = filter.normalize_params(caller, params).await?;
    let subscription = filter.subscribe(caller, params, declared.limits()).await?;
    if subscription.has_matches() {
        filter.matcher().matches(&subscription, &case.event)?;
    }
    filter.process(&subscription, &case.event, 1).await?;
    Ok(subscription)
}

/// Time of the first call on a new instance: of `matches`, or without it of `process`. Also the
/// memory of an instance.
async fn instance(filter: &Filter, pairs: &[BenchInput]) -> anyhow::Result<(Duration, usize)> {
    let Some((event, subscription)) = pairs.first() else { return Ok(Default::default()) };
    let manifest = filter.manifest();
    let (mut times, mut memory) = (Vec::new(), filter.memory());
    for _ in 0..ROUNDS {
        if subscription.has_matches() {
            let began = Instant::now();
            let mut matcher = filter.matcher();
            matcher.matches(subscription, event).context("`matches`")?;
            times.push(began.elapsed());
            memory = matcher.memory();
        } else {
            // It has no instance yet.
            let fresh = filter.reading(manifest.match_reads, manifest.process_reads);
            let began = Instant::now();
            fresh.process(subscription, event, 1).await.context("`process`")?;
            times.push(began.elapsed());
        }
    }
    times.sort();
    Ok((times[ROUNDS / 2], memory))
}

async fn hooks(filter: &Filter, pairs: &[BenchInput], allowed: AllowedCalls<'_>) -> anyhow::Result<Vec<HookTime>> {
    let manifest = filter.manifest();
    let mut hooks = Vec::new();
    if manifest.hooks.matches {
        let reads = manifest.match_reads;
        let nanos = matches(filter, pairs).await?;
        let mut widened = Vec::new();
        for (name, fields) in wider(reads) {
            let wider = filter.reading(fields, EventFields::default());
            widened.push((name, matches(&wider, &subscribed(&wider, pairs, allowed).await?).await?));
        }
        hooks.push(HookTime { name: "matches", reads, nanos, widened });
    }
    if manifest.hooks.process {
        let reads = manifest.process_reads;
        let nanos = process(filter, pairs).await?;
        let mut widened = Vec::new();
        for (name, fields) in wider(reads) {
            let wider = filter.reading(EventFields::default(), fields);
            widened.push((name, process(&wider, &subscribed(&wider, pairs, allowed).await?).await?));
        }
        hooks.push(HookTime { name: "process", reads, nanos, widened });
    }
    Ok(hooks)
}

/// The same events and params, for a filter that reads other fields.
async fn subscribed(
    filter: &Filter,
    pairs: &[BenchInput],
    (limits, endpoints): AllowedCalls<'_>,
) -> anyhow::Result<Vec<BenchInput>> {
    let caller = Caller { key: "bench", route: "", endpoints };
    let mut subscribed = Vec::new();
    for (event, subscription) in pairs {
        let params = subscription.params().clone();
        subscribed.push((event.clone(), filter.subscribe(caller, params, limits).await?));
    }
    Ok(subscribed)
}

/// Each field that is not read yet, with the fields read if it is added.
fn wider(reads: EventFields) -> Vec<(&'static str, EventFields)> {
    let all = [
        ("id", reads.id, EventFields { id: true, ..reads }),
        ("subject", reads.subject, EventFields { subject: true, ..reads }),
        ("source-time", reads.source_time, EventFields { source_time: true, ..reads }),
        ("headers", reads.headers, EventFields { headers: true, ..reads }),
        ("payload", reads.payload, EventFields { payload: true, ..reads }),
    ];
    all.into_iter().filter(|(_, is_read, _)| !is_read).map(|(name, _, fields)| (name, fields)).collect()
}

/// Measures one call of `matches`, in nanoseconds.
async fn matches(filter: &Filter, pairs: &[BenchInput]) -> anyhow::Result<f64> {
    let mut matcher = filter.matcher();
    nanos(pairs, async |event, subscription| Ok(matcher.matches(subscription, event).map(drop)?)).await
}

/// Measures one call of `process`, in nanoseconds.
async fn process(filter: &Filter, pairs: &[BenchInput]) -> anyhow::Result<f64> {
    nanos(pairs, async |event, subscription| Ok(filter.process(subscription, event, 1).await.map(drop)?)).await
}

async fn nanos(
    pairs: &[BenchInput],
    mut call: impl AsyncFnMut(&Event, &Arc<RouteSubscription>) -> anyhow::Result<()>,
) -> anyhow::Result<f64> {
    let mut rounds = Vec::new();
    // One round more, for warming up.
    for _ in 0..=ROUNDS {
        let (began, mut calls) = (Instant::now(), 0_u32);
        while began.elapsed() < ROUND {
            for (event, subscription) in pairs {
                call(event, subscription).await?;
                calls += 1;
            }
        }
        rounds.push(began.elapsed().as_nanos() as f64 / f64::from(calls));
    }
    Ok(median(&mut rounds[1..]))
}

fn median(rounds: &mut [f64]) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

impl FilterMeasurements {
    fn text(&self) -> String {
        let mut lines = vec![
            format!("component  {}, compiled in {:.1} ms", bytes(self.size), self.compile.as_secs_f64() * 1e3),
            format!(
                "instance   {:.0} µs with its first call, {} of memory",
                self.instance.as_secs_f64() * 1e6,
                bytes(self.memory)
            ),
        ];
        for HookTime { name, reads, nanos, widened } in &self.hooks {
            let reads = fields(*reads);
            let reads = if reads.is_empty() { "no more than the type".to_owned() } else { reads.join(", ") };
            lines.push(format!("{name}    {:8.2} µs a call, reads {reads}", nanos / 1e3));
            let more = widened.iter().map(|(name, nanos)| format!("           {:8.2} µs with {name}", nanos / 1e3));
            lines.extend(more);
        }
        lines.push(format!("over {} event{}", self.events, if self.events == 1 { "" } else { "s" }));
        lines.join("\n") + "\n"
    }

    fn json(&self) -> Value {
        let hooks = self.hooks.iter().map(|hook| {
            let widened = hook.widened.iter().map(|(name, nanos)| ((*name).to_owned(), json!(nanos.round())));
            json!({
                "hook": hook.name,
                "reads": fields(hook.reads),
                "ns": hook.nanos.round(),
                "ns_widened": Value::Object(widened.collect()),
            })
        });
        json!({
            "size": self.size,
            "compile_ms": self.compile.as_secs_f64() * 1e3,
            "instance_us": self.instance.as_secs_f64() * 1e6,
            "memory": self.memory,
            "hooks": hooks.collect::<Vec<_>>(),
            "events": self.events,
        })
    }
}

fn bytes(number: usize) -> ByteSize {
    ByteSize::b(number as u64)
}

//! What one and the same filter costs in each language: the templates of `examples/languages`,
//! which read a member of the payload and set one, the filter of the conformance suite, whose
//! `matches` looks at type and headers, and one that reads two members of a payload of 1 KiB and
//! sets one.
//! `examples/languages/build && examples/languages/templates/try && cargo bench --bench languages`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{path::Path, sync::Arc, time::Instant};

use tokio::runtime::{Builder, Runtime};
use trommel::{
    config::{FilterSettings, Grant, GuestLimits, LimitOverrides},
    event::{Event, Headers, Origin},
    filter::{CallLimits, Filter, Host, RouteSubscription, Verdict},
    metrics::Metrics,
};

#[path = "common/turns.rs"]
mod turns;

use turns::medians;

const LIMITS: GuestLimits = GuestLimits {
    match_cpu: std::time::Duration::from_secs(10),
    process_cpu: std::time::Duration::from_secs(10),
    process_wall: std::time::Duration::from_secs(60),
    load: std::time::Duration::from_secs(60),
    memory: 256 << 20,
    output: 1 << 20,
    emissions: 1000,
    host_calls: 16,
    log_lines: 0,
    component: 64 << 20,
    compile_memory: 512 << 20,
    compile_cpu: std::time::Duration::from_secs(60),
    state: 256 << 20,
};
const BATCH: usize = 64;

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (["cold", "cached", "instance"], ["matches", "of 64", "process", "of 64"]);
    let columns: String = first.iter().chain(&second).map(|column| format!("{column:>12}")).collect();
    println!("{:<17}{:>8}{columns}", "component", "size");
    let [milli, micro, nano] = ["ms", "us", "ns/event"];
    let units = [milli, milli, micro, nano, nano, nano, nano].map(|unit| format!("{unit:>12}")).concat();
    println!("{:<17}{:>8}{units}", "", "KiB");
    for language in ["rust", "c", "js", "ts", "python", "go"] {
        for name in [language.to_owned(), format!("template-{language}"), format!("edit-{language}")] {
            measure(&runtime, &name);
        }
    }
}

/// Loads a component with an empty cache, and once more with what is then in it, of which the calls
/// are taken. There is one host at a time, as in a router: several could not all reserve the
/// address space that makes calls fast.
fn measure(runtime: &Runtime, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/languages/target");
    let Ok(file) = std::fs::read(folder.join(format!("{name}.wasm"))) else { return };
    let cache = tempfile::tempdir().unwrap();
    let load = || {
        let host = Host::new(Some(cache.path().to_owned()), None, Arc::new(Metrics::default())).unwrap();
        let grants = vec![Grant::Api, Grant::State];
        let settings = FilterSettings { grants, limits: LIMITS, ..FilterSettings::new(name.to_owned()) };
        let start = Instant::now();
        let filter = runtime.block_on(host.load(name, file.clone(), &settings)).unwrap();
        (filter, start.elapsed().as_secs_f64() * 1e3)
    };
    let cold = load().1;
    let (filter, cached) = load();
    let route = subscribe(runtime, &filter, &[]);
    let event = event(size(name));
    let mut fresh = || assert!(filter.matcher().matches(&route, &event).unwrap());
    let instance = medians(&mut [&mut fresh])[0] / 1e3;
    let calls = calls(runtime, name, &filter);
    println!("{name:<17}{:>8}{cold:>12.0}{cached:>12.1}{instance:>12.0}{calls}", file.len() / 1024);
}

/// Bytes of the payload for a component.
fn size(name: &str) -> usize {
    if name.starts_with("edit") { 1024 } else { 256 }
}

fn calls(runtime: &Runtime, name: &str, filter: &Filter) -> String {
    let keeps = !name.starts_with("template") && !name.starts_with("edit");
    let route = subscribe(runtime, filter, &[]);
    let event = event(size(name));
    let batch = vec![&event; BATCH];
    let (mut single, mut batched) = (filter.matcher(), filter.matcher());
    let (has_batch, has_outcomes) = (batched.takes_batches(), filter.processes_batches());
    let mut matches = || assert!(single.matches(&route, &event).unwrap());
    let mut matches_batch = || {
        if has_batch {
            assert!(batched.matches_batch(&route, &batch).unwrap()[BATCH - 1]);
        }
    };
    let check = |verdict: &Verdict| {
        assert!(matches!((keeps, verdict), (false, Verdict::Replace(_)) | (true, Verdict::Keep)));
    };
    let mut process = || check(&runtime.block_on(filter.process(&route, &event, 1)).unwrap());
    let mut process_batch = || {
        if has_outcomes {
            let answers = runtime.block_on(filter.process_batch(&route, &batch)).unwrap();
            check(answers[BATCH - 1].as_ref().unwrap());
        }
    };
    let figures = medians(&mut [&mut matches, &mut matches_batch, &mut process, &mut process_batch]);
    let each = |has, figure: f64| if has { format!("{:.0}", figure / BATCH as f64) } else { "-".to_owned() };
    let (matches_each, process_each) = (each(has_batch, figures[1]), each(has_outcomes, figures[3]));
    format!("{:>12.0}{matches_each:>12}{:>12.0}{process_each:>12}", figures[0], figures[2])
}

fn subscribe(runtime: &Runtime, filter: &Filter, params: &[(&str, &str)]) -> Arc<RouteSubscription> {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let limits = CallLimits::new(&LIMITS, &LimitOverrides::default());
    runtime.block_on(async {
        let params = filter.normalize_params("key", params).await.unwrap();
        filter.subscribe("key", params, limits).await.unwrap()
    })
}

/// An order of so many bytes, no headers.
fn event(size: usize) -> Event {
    let mut payload = r#"{"amount":250,"customer":{"id":"c-1","tier":"silver"},"note":""#.to_owned();
    payload.push_str(&"x".repeat(size - 2 - payload.len()));
    payload.push_str("\"}");
    Event {
        id: "2f1c0a5e-7f0d-4f7e-9d0a-3f8c3f1c0a5e".into(),
        uid: Default::default(),
        event_type: "order.created".into(),
        subject: "orders.eu.created".into(),
        source_time: None,
        observed_at: 1_767_323_045_000_000_000,
        attempt: 1,
        headers: Headers::default(),
        payload: payload.into(),
        origin: Arc::new(Origin { source: "orders".to_owned(), stream: "ORDERS".to_owned() }),
        sequence: 1,
    }
}

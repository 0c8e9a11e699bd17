//! What a filter costs: ns per condition, `matches` and `process`, each beside the same code
//! native, and what loading takes. `cargo bench --bench host`; the figures are medians of rounds in
//! which the cases take turns.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints its result")]

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use trommel::{
    condition::{EventFacts, PathSets},
    config::{FilterSettings, GuestLimits, LimitOverrides},
    event::{Event, Headers, Origin},
    filter::{CallLimits, Filter, Host, RouteSubscription},
    json::{self, JsonEdit},
    metrics::Metrics,
    projection::{ProjectedPlace, Projection},
    telemetry::StageSpan,
};

#[path = "common/turns.rs"]
mod turns;

use turns::medians;

/// Cases that are measured in turns, so that what disturbs the machine disturbs them alike.
#[derive(Default)]
struct Table<'a>(Vec<Case<'a>>);

struct Case<'a> {
    name: String,
    /// Events that one run is about.
    events: usize,
    run: Box<dyn FnMut() + 'a>,
}

impl<'a> Table<'a> {
    fn case(&mut self, name: impl Into<String>, run: impl FnMut() + 'a) {
        self.case_of(1, name, run);
    }

    fn case_of(&mut self, events: usize, name: impl Into<String>, run: impl FnMut() + 'a) {
        self.0.push(Case { name: name.into(), events, run: Box::new(run) });
    }

    fn print(mut self, title: &str) {
        println!("\n{title}");
        let mut runs: Vec<&mut dyn FnMut()> =
            self.0.iter_mut().map(|case| case.run.as_mut() as &mut dyn FnMut()).collect();
        let medians = medians(&mut runs);
        for (Case { name, events, .. }, nanoseconds) in self.0.iter().zip(medians) {
            println!("  {name:<52} {:>10.1} ns", nanoseconds / *events as f64);
        }
    }
}

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let host = Host::new(None, None, Arc::new(Metrics::default())).unwrap();
    for size in [256, 1024] {
        let event = event(size);
        conditions(&runtime, &host, &event);
        calls(&runtime, &host, &event);
        batches(&runtime, &host, &event);
    }
    loading(&runtime);
}

fn conditions(runtime: &Runtime, host: &Host, event: &Event) {
    let select = load(runtime, host, "select");
    let subscriptions = [
        ("subject", "subject ^= shipments."),
        ("header", "header:region == us"),
        ("JSON pointer, early", "/customer/tier == gold"),
        ("JSON pointer, late", "/last == no"),
        ("JSON pointer, absent", "/absent == no"),
    ]
    .map(|(name, condition)| (name, subscribe(runtime, &select, &[("where", condition)])));
    let fields = ["/customer/id", "/last"].map(str::to_owned);
    let projection = Projection::new(&fields, &PathSets::default(), &[]).unwrap();
    let place = ProjectedPlace { key: "orders", route: "orders-1", attempt: 1 };
    let mut table = Table::default();
    for (name, subscription) in &subscriptions {
        assert!(!subscription.conditions().is_empty());
        table.case(format!("turned away by {name}"), move || {
            let mut facts = EventFacts::new(event);
            assert!(!subscription.conditions().test(black_box(&mut facts)).unwrap());
        });
    }
    table.case("native: the whole payload parsed by serde_json", || {
        black_box(serde_json::from_slice::<Value>(&event.payload).unwrap());
    });
    table.case("two fields read", || {
        let mut facts = EventFacts::new(event);
        assert!(projection.values(black_box(&mut facts), &place).unwrap().iter().all(Option::is_some));
    });
    for (name, edit) in [
        ("set, early", JsonEdit::Set("/customer/tier", b"\"silver\"")),
        ("set, late", JsonEdit::Set("/last", b"true")),
        ("added", JsonEdit::Set("/total", b"17")),
    ] {
        table.case(format!("one member {name}"), move || {
            black_box(json::edited(black_box(&event.payload), &[edit]).unwrap());
        });
    }
    table.print(&format!("conditions and fields, payload of {} B", event.payload.len()));
}

fn calls(runtime: &Runtime, host: &Host, event: &Event) {
    let match_type = load(runtime, host, "match-type");
    let wanted = subscribe(runtime, &match_type, &[("type", "order.created")]);
    let relay = load(runtime, host, "relay-json");
    let any = subscribe(runtime, &relay, &[("field", "/last")]);
    let edit = load(runtime, host, "edit-fields");
    let edits = subscribe(runtime, &edit, &[]);
    let same = vec![event; 64];
    let (mut type_matcher, mut json_matcher) = (match_type.matcher(), relay.matcher());

    let mut table = Table::default();
    table.case("matches: type and payload read", || {
        assert!(type_matcher.matches(&wanted, black_box(event)).unwrap());
    });
    table.case("native: the same", || {
        let event = black_box(event);
        assert!(event.event_type == "order.created" && event.payload.len() <= black_box(usize::MAX));
    });
    table.case("matches: JSON parsed, one field looked up", || {
        assert!(json_matcher.matches(&any, black_box(event)).unwrap());
    });
    table.case("native: the same", || {
        let value: Value = serde_json::from_slice(black_box(&event.payload)).unwrap();
        assert!(value.pointer("/last").is_some());
    });
    table.case("process: JSON parsed, changed, written", || {
        runtime.block_on(async { black_box(relay.process(&any, black_box(event), 1).await.unwrap()) });
    });
    table.case("native: the same", || {
        let mut value: Value = serde_json::from_slice(black_box(&event.payload)).unwrap();
        value["relayed"] = 1.into();
        black_box(value.to_string());
    });
    table.case("process: two fields read, one set", || {
        let mut span = StageSpan::none();
        let answer = edit.process_on_lane(&edits, black_box(event), 1, &mut span);
        runtime.block_on(async { black_box(answer.await.unwrap()) });
    });
    table.case("process: the same on a fiber", || {
        runtime.block_on(async { black_box(edit.process(&edits, black_box(event), 1).await.unwrap()) });
    });
    table.case_of(64, "process: the same in batches of 64", || {
        runtime.block_on(async { black_box(edit.process_batch(&edits, black_box(&same)).await.unwrap()) });
    });
    table.case("entering the runtime, part of `process` here", || runtime.block_on(async {}));
    table.print(&format!("calls, payload of {} B", event.payload.len()));
}

/// `matches` one by one and in batches, by one component, so that only the way of asking differs.
fn batches(runtime: &Runtime, host: &Host, event: &Event) {
    let filter = load(runtime, host, "match-batch");
    let wanted = subscribe(runtime, &filter, &[("type", "order.created")]);
    let mut alone = filter.matcher();
    let mut table = Table::default();
    table.case("asked one by one", || assert!(alone.matches(&wanted, black_box(event)).unwrap()));
    for size in [2, 16, 64] {
        let (mut matcher, events, subscription) = (filter.matcher(), vec![event; size], &wanted);
        table.case_of(size, format!("in batches of {size}"), move || {
            assert!(matcher.matches_batch(subscription, black_box(&events)).unwrap().iter().all(|&wanted| wanted));
        });
    }
    table.print(&format!("matches that reads type and payload, an event, payload of {} B", event.payload.len()));
}

fn loading(runtime: &Runtime) {
    let cache = tempfile::tempdir().unwrap();
    println!("\nloading `redact` ({} B)", file("redact").len());
    for name in ["cold", "warm", "warm, 20 components"] {
        let host = Host::new(Some(cache.path().to_owned()), None, Arc::new(Metrics::default())).unwrap();
        let start = Instant::now();
        for _ in 0..if name.ends_with("components") { 20 } else { 1 } {
            load(runtime, &host, "redact");
        }
        println!("  {name:<52} {:>10.1} ms", start.elapsed().as_secs_f64() * 1e3);
    }
}

fn load(runtime: &Runtime, host: &Host, name: &str) -> Filter {
    let settings = FilterSettings::new(name.to_owned());
    runtime.block_on(host.load(name, file(name), &settings)).unwrap()
}

fn file(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["plugins", "tests/guests"].map(|folder| root.join(folder).join(format!("{name}.wasm")));
    std::fs::read(places.iter().find(|path| path.exists()).unwrap()).unwrap()
}

fn subscribe(runtime: &Runtime, filter: &Filter, params: &[(&str, &str)]) -> Arc<RouteSubscription> {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let limits = CallLimits::new(&GuestLimits::default(), &LimitOverrides::default());
    runtime.block_on(async {
        let params = filter.normalize_params("key", params).await.unwrap();
        filter.subscribe("key", params, limits).await.unwrap()
    })
}

/// An order of about `size` bytes, four headers.
fn event(size: usize) -> Event {
    let mut payload = r#"{"customer":{"id":"c-1","tier":"silver"},"lines":["#.to_owned();
    for line in 0.. {
        if payload.len() + 40 > size {
            break;
        }
        let comma = if line > 0 { "," } else { "" };
        payload.push_str(&format!(r#"{comma}{{"sku":"sku-{line}","quantity":{line}}}"#));
    }
    payload.push_str(r#"],"last":"yes"}"#);
    let mut headers = Headers::default();
    for (name, value) in [("Nats-Msg-Id", "1"), ("source", "shop"), ("region", "eu"), ("trace", "00-1-2-01")] {
        headers.push(name, value);
    }
    Event {
        id: "2f1c0a5e-7f0d-4f7e-9d0a-3f8c3f1c0a5e".into(),
        uid: Default::default(),
        event_type: "order.created".into(),
        subject: "orders.eu.created".into(),
        source_time: None,
        observed_at: 1_767_323_045_000_000_000,
        attempt: 1,
        headers,
        payload: payload.into(),
        origin: Arc::new(Origin { source: "orders".to_owned(), stream: "ORDERS".to_owned() }),
        sequence: 1,
    }
}

//! Spans of every stage reach a collector (F12), and whatever ails the collector stays with it.

use crate::flow;
use crate::nats as server;
use crate::router;
use crate::stand_in;

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use async_nats::HeaderMap;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use prost::Message;
use router::Folder;
use server::NatsServer;
use stand_in::{Reply, Seen, StandIn, ok, status};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SENDER: &str = "00f067aa0ba902b7";

/// Longer than the two seconds that a router gives its last spans, on a busy machine.
const PROMPT: Duration = Duration::from_secs(20);

fn requests(seen: &[Seen]) -> Vec<ExportTraceServiceRequest> {
    seen.iter().map(|seen| ExportTraceServiceRequest::decode(&seen.bytes[..]).unwrap()).collect()
}

fn spans(seen: &[Seen]) -> Vec<Span> {
    let scopes = requests(seen).into_iter().flat_map(|request| request.resource_spans);
    scopes.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
}

/// The only span of this name.
fn span<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut found = spans.iter().filter(|span| span.name == name);
    let Some(span) = found.next() else { panic!("no span `{name}` in {:?}", names(spans)) };
    assert!(found.next().is_none(), "more than one span `{name}`");
    span
}

fn names(spans: &[Span]) -> Vec<&str> {
    let mut names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What an attribute says.
fn said(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}

/// `telemetry` goes into the table of that name, and `more` behind it.
fn settings(collector: &StandIn, telemetry: &str, more: &str) -> String {
    format!("[telemetry]\notlp = \"http://{}\"\n{telemetry}\n{more}", collector.address)
}

/// From lines to a file.
const LINES: &str = r#"
    [[source]]
    name = "in"
    type = "lines"
    path = "events.ndjson"
    id = "/id"

    [[sink]]
    name = "out"
    type = "file"
    path = "out.ndjson"
"#;

fn keys(mode: &str) -> String {
    format!(
        r#"
        [[key]]
        key = "all"
        subject = ">"
        filter = "misbehave"
        params = [{{ name = "mode", default = "{mode}" }}]
        retry = {{ min = "1ms" }}

        [[route]]
        name = "route"
        key = "all"
        sinks = ["out"]
        "#
    )
}

fn folder(settings: &str, mode: &str, events: usize) -> Folder {
    let events: String = (0..events).map(|n| format!("{{\"id\":\"e{n}\"}}\n")).collect();
    let grant = "\n[[filter]]\nname = \"misbehave\"\ngrants = [\"state\"]\n";
    let folder = Folder::new(&format!("{settings}{grant}")).write("keys/keys.toml", &keys(mode));
    folder.write("events.ndjson", &events).plugin("misbehave", "misbehave")
}

fn lines(folder: &Folder) -> usize {
    folder.read("out.ndjson").lines().count()
}

/// F12, F03: the event's parent is who sent it, and outputs leave under the span that sends them.
#[tokio::test]
async fn a_trace_leads_through_the_whole_route() {
    let server = NatsServer::start().await;
    let collector = StandIn::new(|_, _| ok(""));
    let flow = flow::settings(&server.url(), "", "");
    let folder = folder(&settings(&collector, "service_name = \"router-1\"", &flow), "fail-once-per-id", 0);
    let running = folder.start();
    let context = flow::connect(&server.url()).await;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("traceparent", &*format!("00-{TRACE}-{SENDER}-01")),
        ("tracestate", "vendor=1"),
        ("tenant", "t-1"),
        ("Nats-Msg-Id", "e1"),
    ] {
        headers.append(name, value);
    }
    context.publish_with_headers("in.a", headers, "{}".into()).await.unwrap().await.unwrap();
    flow::outputs_until(&context, "the output", |outputs| outputs.len() == 1).await;
    let output = context.get_stream("OUT").await.unwrap().get_raw_message(1).await.unwrap();
    assert!(running.stop().status.success());

    let seen = collector.seen();
    let spans = spans(&seen);
    assert_eq!(names(&spans), ["match all", "process all", "receive in", "send out"]);
    let receive = span(&spans, "receive in");
    assert_eq!((hex(&receive.trace_id), hex(&receive.parent_span_id)), (TRACE.to_owned(), SENDER.to_owned()));
    for (name, value) in [
        ("messaging.system", "trommel"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "IN"),
        ("messaging.message.id", "e1"),
        ("messaging.message.body.size", "2"),
        ("trommel.source", "in"),
        ("trommel.sequence", "1"),
        ("trommel.subject", "in.a"),
        ("trommel.tenant", "t-1"),
        ("trommel.fate", "emitted"),
    ] {
        assert_eq!(said(&receive.attributes, name).as_deref(), Some(value), "{name}");
    }
    for (name, expected) in [
        ("match all", &[("trommel.key", "all"), ("trommel.route", "route"), ("trommel.matched", "true")][..]),
        ("process all", &[("trommel.key", "all"), ("trommel.route", "route"), ("trommel.tries", "2")]),
        ("send out", &[("trommel.key", "all"), ("messaging.operation.type", "send")]),
    ] {
        let child = span(&spans, name);
        assert_eq!((&child.trace_id, &child.parent_span_id), (&receive.trace_id, &receive.span_id), "{name}");
        assert!(receive.start_time_unix_nano <= child.start_time_unix_nano, "{name}");
        assert!(child.end_time_unix_nano <= receive.end_time_unix_nano, "{name}");
        for (attribute, value) in expected {
            assert_eq!(said(&child.attributes, attribute).as_deref(), Some(*value), "{name}: {attribute}");
        }
    }
    let failed = &span(&spans, "process all").events;
    assert_eq!(failed.len(), 1);
    assert_eq!(said(&failed[0].attributes, "exception.message").as_deref(), Some("the first attempt fails"));

    let send = hex(&span(&spans, "send out").span_id);
    let carried = |name: &str| output.headers.get(name).unwrap().to_string();
    assert_eq!(carried("traceparent"), format!("00-{TRACE}-{send}-01"));
    assert_eq!((carried("tracestate"), carried("tenant")), ("vendor=1".to_owned(), "t-1".to_owned()));

    let resource = requests(&seen).remove(0).resource_spans.remove(0).resource.unwrap();
    assert_eq!(said(&resource.attributes, "service.name").as_deref(), Some("router-1"));
}

/// Each event without a trace begins one of its own.
#[test]
fn what_comes_without_a_trace_begins_one() {
    let collector = StandIn::new(|_, _| ok(""));
    let folder = folder(&settings(&collector, "", LINES), "ok", 3);
    assert!(folder.run().status.success());
    let spans = spans(&collector.seen());
    let roots: Vec<_> = spans.iter().filter(|span| span.name == "receive in").collect();
    assert_eq!((spans.len(), roots.len()), (12, 3));
    let mut traces: Vec<_> = roots.iter().map(|root| &root.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    assert!(traces.len() == 3 && roots.iter().all(|root| root.parent_span_id.is_empty()), "{roots:?}");
}

#[test]
fn what_failed_says_so() {
    let collector = StandIn::new(|_, _| ok(""));
    let folder = folder(&settings(&collector, "", LINES), "malformed", 1);
    assert!(folder.run().status.success());
    let spans = spans(&collector.seen());
    assert_eq!(names(&spans), ["match all", "process all", "receive in", "send dead-letters"]);
    let is_error =
        |name: &str| span(&spans, name).status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    assert!(is_error("receive in") && is_error("process all") && !is_error("send dead-letters"));
    let receive = &span(&spans, "receive in").attributes;
    assert_eq!(said(receive, "trommel.fate").as_deref(), Some("dead_lettered"));
    assert_eq!(said(receive, "error.type").as_deref(), Some("malformed"));
}

/// A span for each event that goes through in a batch, and what a filter says of a call in the
/// call's span.
#[test]
fn filters_annotate_and_batches_are_traced() {
    let grant = "\n[[filter]]\nname = \"ticker\"\ngrants = [\"state\"]\n";
    let key = keys("match").replace("misbehave", "ticker").replace("retry =", "workers = 1\nretry =");
    let run = |events: usize| {
        let collector = StandIn::new(|_, _| ok(""));
        let folder = Folder::new(&format!("{}{grant}", settings(&collector, "", LINES))).write("keys/keys.toml", &key);
        let events: String = (0..events).map(|n| format!("{{\"id\":\"e{n}\"}}\n")).collect();
        let folder = folder.write("events.ndjson", &events).plugin("ticker", "ticker");
        assert!(folder.run().status.success());
        spans(&collector.seen())
    };
    // Those of the filter's ticks have another parent.
    let of_events = |spans: &[Span], name: &str| {
        let events: Vec<_> = spans.iter().filter(|span| span.name == "receive in").map(|span| &span.span_id).collect();
        let is_of_event = |span: &&Span| span.name == name && events.contains(&&span.parent_span_id);
        spans.iter().filter(is_of_event).cloned().collect::<Vec<_>>()
    };
    let alone = run(1);
    let of_event = |name: &str, attribute: &str| said(&of_events(&alone, name)[0].attributes, attribute);
    assert_eq!(of_event("process all", "filter.count").as_deref(), Some("1"));
    assert_eq!(of_event("match all", "filter.asked").as_deref(), Some("yes"));
    assert_eq!(of_events(&run(500), "process all").len(), 500);
}

/// What others have decided is kept to; what begins here is sampled.
#[tokio::test]
async fn sampling_is_up_to_who_began_the_trace() {
    let server = NatsServer::start().await;
    let collector = StandIn::new(|_, _| ok(""));
    let flow = flow::settings(&server.url(), "", "");
    let folder = folder(&settings(&collector, "sample = 0", &flow), "ok", 0);
    let running = folder.start();
    let context = flow::connect(&server.url()).await;
    for flags in [Some("01"), Some("00"), None] {
        let mut headers = HeaderMap::new();
        if let Some(flags) = flags {
            headers.append("traceparent", format!("00-{TRACE}-{SENDER}-{flags}"));
        }
        context.publish_with_headers("in.a", headers, "{}".into()).await.unwrap().await.unwrap();
    }
    flow::outputs_until(&context, "the outputs", |outputs| outputs.len() == 3).await;
    assert!(running.stop().status.success());
    let spans = spans(&collector.seen());
    assert_eq!(names(&spans), ["match all", "process all", "receive in", "send out"]);
    let mut out = context.get_stream("OUT").await.unwrap();
    let mut carried = Vec::new();
    for sequence in 1..=out.info().await.unwrap().state.messages {
        let output = out.get_raw_message(sequence).await.unwrap();
        carried.push(output.headers.get("traceparent").unwrap().to_string());
    }
    // Those who take the outputs hear of the decision, too.
    let [sampled, not_sampled, begun] = &carried[..] else { panic!("{carried:?}") };
    assert_eq!(*sampled, format!("00-{TRACE}-{}-01", hex(&span(&spans, "send out").span_id)));
    assert!(not_sampled.starts_with(&format!("00-{TRACE}-")) && not_sampled.ends_with("-00"), "{not_sampled}");
    assert!(!begun.contains(TRACE) && begun.ends_with("-00"), "{begun}");
}

#[test]
fn the_collector_is_asked_as_it_wants_to_be() {
    let collector = StandIn::new(|before, _| match before {
        0 => Reply::Answer("503 Service Unavailable", &["Retry-After: 0"], Vec::new()),
        1 => Reply::Cut,
        _ => ok(""),
    });
    let more = "headers = { X-Scope = \"s-1\" }\nheaders_file = \"headers\"";
    let folder =
        folder(&settings(&collector, more, LINES), "ok", 1).write("headers", "Authorization: Basic c2VjcmV0\n");
    let ended = folder.run();
    assert!(ended.status.success(), "{ended:?}");
    let log = String::from_utf8_lossy(&ended.stderr);
    assert!(!log.contains("are lost") && !log.contains("c2VjcmV0"), "{log}");
    let seen = collector.seen();
    assert_eq!(seen.len(), 3, "a batch that was not taken is sent again");
    for seen in &seen {
        assert_eq!(seen.line, "POST /v1/traces");
        assert_eq!(seen.header("content-type"), Some("application/x-protobuf"));
        assert_eq!(seen.header("x-scope"), Some("s-1"));
        assert_eq!(seen.header("authorization"), Some("Basic c2VjcmV0"));
        assert_eq!(seen.bytes, collector.seen()[0].bytes);
    }
}

#[test]
fn a_refusal_is_said_once_and_not_repeated() {
    let collector = StandIn::new(|_, _| status("401 Unauthorized", "who are you"));
    let folder = folder(&settings(&collector, "", LINES), "ok", 500);
    let ended = folder.run();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(lines(&folder), 500);
    let log = String::from_utf8_lossy(&ended.stderr);
    let said: Vec<_> = log.lines().filter(|line| line.contains("spans could not be exported")).collect();
    assert!(said[0].contains("the collector answers `401 Unauthorized`"), "{log}");
    assert!(said.len() <= 2, "once when it begins, and once at the end:\n{log}");
    let count = |line: &&str| {
        let (_, rest) = line.split_once("spans=").unwrap();
        rest.split_whitespace().next().unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(said.iter().map(count).sum::<usize>(), 2000, "{log}");
}

/// The events go their way and the end comes soon, whatever the collector does.
#[test]
fn a_collector_that_hangs_or_is_away_holds_up_nobody() {
    let hanging = StandIn::new(|_, _| Reply::Silence);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (collector, settings) in [
        ("hangs", settings(&hanging, "", LINES)),
        ("hangs and is given up", settings(&hanging, "timeout = \"100ms\"", LINES)),
        ("is away", format!("[telemetry]\notlp = \"http://{nobody}\"\n{LINES}")),
    ] {
        let folder = folder(&settings, "ok", 5000);
        let began = Instant::now();
        let ended = folder.run();
        assert!(ended.status.success() && began.elapsed() < PROMPT, "{collector}: {:?} {ended:?}", began.elapsed());
        assert_eq!(lines(&folder), 5000, "{collector}");
        let log = String::from_utf8_lossy(&ended.stderr);
        assert!(log.contains("are lost"), "{collector}: {log}");
    }
}

/// Not even what OpenTelemetry's own variables name is connected to.
#[test]
fn nothing_is_sent_unless_asked_for() {
    let collector = StandIn::new(|_, _| ok(""));
    let folder = folder(&format!("[telemetry]\nservice_name = \"router-1\"\n{LINES}"), "ok", 10);
    let mut command = folder.command();
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.address));
    assert!(command.output().unwrap().status.success());
    assert_eq!((lines(&folder), collector.seen().len()), (10, 0));
}

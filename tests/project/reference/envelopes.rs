//! `envelopes.md`: a sample of each envelope, and the event that the router's own code makes of it.

use std::{fmt::Write as _, sync::Arc};

use serde_json::Value;
use trommel::{
    config::EnvelopeFormat,
    event::{Event, GivenEvent, Headers, Origin},
    source::envelope::{SourceMessage, open},
};

use super::is_current;

const INTRODUCTION: &str = "# Envelopes

The field `envelope` of a [`[[source]]`](configuration.md) says how a message becomes an event. Each sample
below is a message on the subject `in.shop`, and the event is what the router makes of it: [fields of an
event](events.md#an-event). A message that does not fit becomes a dead letter with the reason that its envelope
names; the body is kept as it came.

| envelope | id | event type | subject | source time | payload | reason if it does not fit |
|---|---|---|---|---|---|---|
";

/// An envelope, the row of the table that tells of it, a word on it, and a message in it.
struct Sample {
    name: &'static str,
    row: &'static str,
    note: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
}

const SAMPLES: &[Sample] = &[
    Sample {
        name: "plain",
        row: "header `Nats-Msg-Id`, else `STREAM:SEQUENCE` | the subject | the message's | – | the body | \
              `not_json`, `bad_field`, if one of the source's fields looks into the payload",
        note: "The source's fields `id`, `event_type`, `subject` and `source_time` can name a header or a \
               JSON pointer instead. Where a message has nothing there, or null, or an empty text, the \
               default counts.",
        headers: &[("Nats-Msg-Id", "m-1"), ("tenant", "acme")],
        body: r#"{"amount":5}"#,
    },
    Sample {
        name: "cloudevents",
        row: "`id` | `type` | the message's | `time` | `data` | `bad_cloudevent`, `not_json`",
        note: "Version 1.0, in structured or in binary mode: the content type tells which. Attributes are \
               headers that begin with `ce-`; the attribute `subject` is `ce-subject`. `traceparent` and \
               `tracestate` count where the message has no such headers.",
        headers: &[("content-type", "application/cloudevents+json")],
        body: r#"{"specversion":"1.0","id":"c-1","source":"/shop","type":"shop.paid",
 "time":"2026-05-01T10:00:00Z","data":{"amount":5}}"#,
    },
    Sample {
        name: "ctrlplane",
        row: "`id` | `type` | the message's | `timestamp` | the body | `bad_ctrlplane_event`, `not_json`",
        note: "The event's headers `tenant`, `instance_id` and `actor_id` are taken from the body. They \
               replace headers of the message.",
        headers: &[],
        body: r#"{"id":"c-1","type":"instance.created","tenant_id":"acme","instance_id":"i-1","actor_id":"ada",
 "payload":{"size":"s"},"timestamp":"2026-05-01T10:00:00Z"}"#,
    },
    Sample {
        name: "flowcraft",
        row: "`id` | `subject` | `subject` | `time` | `payload` | `bad_flowcraft_event`, `not_json`",
        note: "Its `headers` and `source` become headers of the event, before those of the message; \
               `trace_id` and `span_id` become `traceparent`, if they are well formed.",
        headers: &[],
        body: r#"{"id":"f-1","subject":"graph.run.start","time":"2026-05-01T10:00:00Z","source":"node-1",
 "trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331",
 "headers":{"tenant":"acme"},"payload":{"graph":"g-1"}}"#,
    },
    Sample {
        name: "helix",
        row: "`id` | `type` | the message's | `timestamp` | `payload`, decoded | `bad_helix_event`, \
              `not_json`",
        note: "Members are found in any case. `payload` is JSON, or a string: base64, or text as it is.",
        headers: &[],
        body: r#"{"id":"h-1","type":"node.joined","payload":"eyJub2RlIjoibi0xIn0=",
 "timestamp":"2026-05-01T10:00:00Z"}"#,
    },
    Sample {
        name: "jb-mesh",
        row: "as of `plain` | `type` | the message's | `timestamp` | the body | `bad_mesh_event`, `not_json`",
        note: "Events have no id of their own.",
        headers: &[],
        body: r#"{"type":"tool.started","node":"n-1","timestamp":"2026-05-01T10:00:00Z","data":{"tool":"t-1"}}"#,
    },
    Sample {
        name: "lark",
        row: "`header.event_id`, or `uuid` | `header.event_type`, or `event.type` | the message's | `header.create_time`, or `ts` | \
              the body | `bad_lark_event`, `not_json`; `header_conflict` with `verify_header`",
        note: "Version 2.0, or 1.0, which has neither `schema` nor `header` but `uuid`. With `verify_header` the message's headers `Nats-Msg-Id`, `Lark-Event-Type`, \
               `Lark-Create-Time`, `Lark-App-Id` and `Lark-Tenant-Key` count, as far as they are given, and a \
               body that contradicts them becomes a dead letter.",
        headers: &[],
        body: r#"{"schema":"2.0",
 "header":{"event_id":"l-1","event_type":"im.message.receive_v1","create_time":"1777629600000"},
 "event":{"text":"hello"}}"#,
    },
];

fn envelope(name: &str) -> EnvelopeFormat {
    match name {
        "plain" => EnvelopeFormat::Plain { id: None, event_type: None, subject: None, source_time: None },
        "cloudevents" => EnvelopeFormat::CloudEvents,
        "ctrlplane" => EnvelopeFormat::Ctrlplane,
        "flowcraft" => EnvelopeFormat::Flowcraft,
        "helix" => EnvelopeFormat::Helix,
        "jb-mesh" => EnvelopeFormat::JbMesh,
        "lark" => EnvelopeFormat::Lark { verify_header: false },
        name => panic!("no envelope is called `{name}`"),
    }
}

fn message(sample: &Sample) -> SourceMessage {
    let mut headers = Headers::default();
    sample.headers.iter().for_each(|(name, value)| headers.push(*name, *value));
    SourceMessage {
        subject: "in.shop".into(),
        headers,
        payload: sample.body.as_bytes().into(),
        observed_at: 1_777_629_600_000_000_000,
        attempt: 1,
        origin: Arc::new(Origin { source: "shop".into(), stream: "SHOP".into() }),
        sequence: 7,
        incarnation: 0,
    }
}

/// An event as `explain` shows it, with its payload as JSON.
fn json(event: &Event) -> Value {
    let mut json = serde_json::to_value(GivenEvent::from(event)).unwrap();
    let text = json.as_object_mut().unwrap().remove("payload_text").unwrap();
    json["payload"] = serde_json::from_str(text.as_str().unwrap()).unwrap();
    json
}

fn pretty(json: &Value) -> String {
    serde_json::to_string_pretty(json).unwrap()
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for Sample { name, row, .. } in SAMPLES {
        writeln!(page, "| [`{name}`](#{name}) | {row} |").unwrap();
    }
    for sample in SAMPLES {
        let event = open(&envelope(sample.name), message(sample)).unwrap_or_else(|refused| panic!("{:?}", refused.1));
        let event = json(&event);
        write!(page, "\n## {}\n\n{}\n", sample.name, sample.note).unwrap();
        let headers: Vec<_> = sample.headers.iter().map(|(name, value)| format!("`{name}: {value}`")).collect();
        let headers = if headers.is_empty() { String::new() } else { format!(", with {}", headers.join(" and ")) };
        write!(page, "\nA message{headers}:\n\n```json\n{}\n```\n", sample.body).unwrap();
        write!(page, "\nbecomes the event\n\n```json\n{}\n```\n", pretty(&event)).unwrap();
    }
    page
}

#[test]
fn the_envelopes_are_opened_as_shown() {
    is_current("envelopes.md", &page());
}

/// The words that the configuration takes for `envelope`.
#[test]
fn every_envelope_has_a_sample() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("trommel.toml"),
        "[[source]]\nname = \"a\"\ntype = \"lines\"\nenvelope = \"zzzzzz\"\n",
    )
    .unwrap();
    let problems = trommel::folder::load(folder.path()).unwrap_err().to_string();
    let (_, known) = problems.split_once("known words: ").unwrap();
    let known: Vec<_> = known.lines().next().unwrap().split('`').skip(1).step_by(2).collect();
    let mut shown: Vec<_> = SAMPLES.iter().map(|sample| sample.name).collect();
    shown.sort_unstable();
    assert_eq!(shown, known);
}

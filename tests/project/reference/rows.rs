//! `events.md`: each of its tables has the fields of the types that are written, no more, no fewer.

use std::collections::BTreeSet;

use super::read;
use crate::layout::sources;

/// A type whose fields are written: a file of a crate, and a name.
type WrittenType = (&'static str, &'static str);

/// A heading of the page, and the types whose fields its table has.
const TABLES: &[(&str, &[WrittenType])] = &[
    ("An event", &[("event/given", "GivenEvent")]),
    ("A dead letter", &[("sink/dead_letter", "FailurePlace"), ("sink/dead_letter", "DeadLetterRecord")]),
    ("`/events`", &[("recent", "EndedEvent")]),
    ("`check --json`", &[]),
    ("`doctor --json`", &[("cli/doctor/finding", "Finding")]),
    ("`keys list --json` and `keys schema --json`", &[("cli/keys/definition", "KeyDefinition")]),
    (
        "`schemas list --json` and `schemas show --json`",
        &[("cli/schemas/row", "SchemaRow"), ("cli/schemas/show", "ShownSchema")],
    ),
    ("`status --json`", &[("control/protocol", "RouterStatus")]),
    ("`stop --json`", &[("cli/stop", "StopReport")]),
    ("`reload --json`", &[("control/operation", "ReloadResult")]),
    ("`pause --json` and `resume --json`", &[("core/pause", "PausedPart"), ("control/operation", "PauseResult")]),
    ("`history --json` and `tail --json`", &[("cli/row", "MessageLine")]),
    ("`explain --json`", &[("cli/explain", "ExplainedEvent")]),
    ("A key of `explain --json`", &[("cli/explain/explainer", "ExplainedKey")]),
    ("A route of `explain --json`", &[("cli/explain/explainer", "ExplainedRoute")]),
    ("`test --json`", &[("cli/test/row", "CaseRow")]),
    ("`diff --json`", &[("cli/diff/changes", "ChangeRow")]),
    ("`streams ensure --json` and `streams plan --json`", &[("cli/streams", "StreamReport")]),
    ("`streams info --json`", &[("cli/streams/info", "StreamRow")]),
    ("`plugin ls --json`", &[("control/protocol", "PluginStatus")]),
    ("`webhooks list --json`", &[("cli/webhooks/list", "WebhookRow"), ("cli/webhooks/list", "DeclaredWebhook")]),
    ("`deliveries list --json`", &[("webhook/store/record", "Delivery")]),
    ("`deliveries show --json`", &[("cli/deliveries/show", "ShownDelivery")]),
    ("`dlq retry --json`", &[("source/letters/journal", "RetriedLetter")]),
    ("`verify --json`", &[]),
    ("An error with `--json`", &[("cli/refusal", "CommandRefusal")]),
    ("The summary of a run", &[("summary", "RunSummary")]),
];

/// Fields that are written beside those of the types.
const MORE: &[(&str, &[&str])] = &[
    (
        "A dead letter",
        &["payload", "payload_text", "payload_base64", "payload_bytes", "payload_sha256", "cut", "proof"],
    ),
    ("`check --json`", &["ok", "problems", "found"]),
    ("`doctor --json`", &["area", "file", "line", "column"]),
    ("`stop --json`", &["result", "pid", "killed", "consumers", "message"]),
    (
        "`verify --json`",
        &["finding", "source", "sequence", "key", "route", "sink", "webhook", "index", "times", "dead_letter"],
    ),
    ("`deliveries show --json`", &["payload", "payload_text", "payload_base64"]),
];

/// The names under which the fields of a type are written. A flattened field has none of its own.
fn fields(file: &str, name: &str) -> BTreeSet<String> {
    let heads = [format!("struct {name} {{"), format!("struct {name}<'a> {{")];
    let texts = sources().into_iter().filter(|(path, _)| path.ends_with(file)).map(|(_, text)| text);
    let body = texts.flat_map(|text| heads.iter().find_map(|head| Some(text.split_once(head)?.1.to_owned()))).next();
    let body = body.unwrap_or_else(|| panic!("no `{file}.rs` has a type `{name}`"));
    let (mut attributes, mut fields) = (String::new(), BTreeSet::new());
    for line in body.lines().skip(1).map(str::trim).take_while(|line| *line != "}") {
        if line.starts_with("#[") {
            attributes += line;
        } else if !line.starts_with("//") {
            let (field, _) = line.trim_start_matches("pub ").trim_start_matches("pub(super) ").split_once(':').unwrap();
            let renamed = attributes.split_once("rename = \"").and_then(|(_, rest)| rest.split_once('"'));
            if !attributes.contains("flatten") && !attributes.contains("serde(skip)") {
                fields.insert(renamed.map_or(field, |(name, _)| name).to_owned());
            }
            attributes.clear();
        }
    }
    fields
}

/// The fields of the first table below a heading.
fn documented(page: &str, heading: &str) -> BTreeSet<String> {
    let section = page.split("\n## ").find_map(|section| section.strip_prefix(&format!("{heading}\n")));
    let section = section.unwrap_or_else(|| panic!("events.md has no section `{heading}`"));
    let rows =
        section.lines().skip_while(|line| !line.starts_with("|---")).skip(1).take_while(|line| line.starts_with('|'));
    let names = rows.flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2));
    names.map(str::to_owned).collect()
}

#[test]
fn the_tables_have_the_fields_that_are_written() {
    let page = read("events.md");
    for (heading, types) in TABLES {
        let mut written: BTreeSet<_> = types.iter().flat_map(|(file, name)| fields(file, name)).collect();
        let more = MORE.iter().filter(|(of, _)| of == heading).flat_map(|(_, more)| more.iter());
        written.extend(more.map(|field| (*field).to_owned()));
        assert_eq!(documented(&page, heading), written, "events.md, section `{heading}`");
    }
    let sections = page.lines().filter(|line| line.starts_with("## ")).count();
    assert_eq!(sections, TABLES.len(), "a section of events.md is not compared with anything");
}

//! Formatting of an explanation for people.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    explainer::{DeadLetterCause, ExplainedKey, ExplainedRoute},
    output::{ExplainedOutput, ExplainedPlace, OutputContent, WrittenPreview},
};
use crate::{event::Event, text::line};

pub(super) fn text(event: &Event, keys: &[ExplainedKey]) -> String {
    let Event { id, event_type, subject, payload, .. } = event;
    let [id, event_type, subject] = [id, event_type, subject].map(|said| line(said));
    let mut lines = vec![format!("event `{id}`: type `{event_type}`, subject `{subject}`, {} B", payload.len())];
    for ExplainedKey { key, place, takes, because, dead_letter, routes } in keys {
        let answer = if *takes { "takes it" } else { "does not take it" };
        lines.push(format!("key `{key}` ({place}) {answer}: {}", line(because)));
        if let Some(DeadLetterCause { reason, detail }) = dead_letter {
            lines.push(format!("  dead letter `{reason}`: {}", line(detail)));
        } else if *takes && routes.is_empty() {
            lines.push("  it has no route, so its outputs go nowhere".to_owned());
        }
        routes.iter().for_each(|route| lines.extend(route_lines(route)));
    }
    if !keys.iter().any(|key| key.takes) {
        lines.push("no key takes it: it would be acknowledged and forgotten".to_owned());
    }
    lines.join("\n")
}

fn route_lines(route: &ExplainedRoute) -> Vec<String> {
    let ExplainedRoute { route, sinks, steps, outcome, because, outputs, .. } = route;
    let mut lines = vec![format!("  route `{route}`")];
    lines.extend(steps.iter().map(|step| format!("    {:<10} {:>10.2} µs", step.hook, step.microseconds)));
    let kind = match outcome {
        Value::Object(members) => members.keys().next().map_or("", String::as_str),
        Value::String(kind) => kind.as_str(),
        _ => "",
    };
    // What a component said before it broke is on lines of its own.
    let mut told = because.iter().flat_map(|because| because.lines()).map(line);
    let because = told.next().map(|first| format!(": {first}")).unwrap_or_default();
    match kind {
        "kept" | "replaced" | "replaced_text" | "replaced_base64" | "emitted" if sinks.is_empty() => {
            lines.push(format!("    {kind}, to no sink"));
        }
        "kept" => lines.push("    kept".to_owned()),
        "replaced" | "replaced_text" | "replaced_base64" => lines.push("    replaced".to_owned()),
        "emitted" => lines.push("    emitted".to_owned()),
        "dropped" => lines.push(format!("    dropped{because}")),
        _ => lines.push(format!("    {outcome}{because}")),
    }
    lines.extend(told.map(|more| format!("      {more}")));
    outputs.iter().for_each(|output| lines.extend(output_lines(output)));
    lines
}

fn output_lines(ExplainedOutput { sink, not_before, written, .. }: &ExplainedOutput) -> Vec<String> {
    let when = match not_before {
        Some(time) if *time > Timestamp::now() => format!(", at {time}"),
        Some(time) => format!(", at once: {time} is past"),
        None => String::new(),
    };
    match written {
        WrittenPreview::Refused { refused, detail } => {
            vec![format!("    refused by `{sink}`, `{refused}`: {}", line(detail))]
        }
        WrittenPreview::As { to, content } => {
            let mut lines = vec![format!("    to `{sink}`, {}{when}", place(to))];
            match content {
                OutputContent::Text(text) => lines.extend(text.lines().map(|text| format!("      {}", line(text)))),
                OutputContent::Base64(base64) => lines.push(format!("      base64: {base64}")),
            }
            lines
        }
    }
}

fn place(place: &ExplainedPlace) -> String {
    match place {
        ExplainedPlace::Stdout => "standard output".to_owned(),
        ExplainedPlace::File(path) => format!("file `{}`", line(path)),
        ExplainedPlace::Subject(subject) => format!("subject `{}`", line(subject)),
        ExplainedPlace::Command(command) => format!("program `{}`", command.join(" ")),
        ExplainedPlace::Webhooks(names) if names.is_empty() => "no webhook wants it".to_owned(),
        ExplainedPlace::Webhooks(names) => format!("webhooks `{}`", names.join("`, `")),
        ExplainedPlace::Program => "the program that embeds the router".to_owned(),
        ExplainedPlace::Nowhere => "which discards it".to_owned(),
    }
}

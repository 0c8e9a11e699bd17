//! An explanation for people.

use serde_json::Value;

use super::explainer::{ExplainedKey, ExplainedRoute};
use crate::{event::Event, text::line};

pub(super) fn text(event: &Event, keys: &[ExplainedKey]) -> String {
    let Event { id, event_type, subject, payload, .. } = event;
    let [id, event_type, subject] = [id, event_type, subject].map(|said| line(said));
    let mut lines = vec![format!("event `{id}`: type `{event_type}`, subject `{subject}`, {} B", payload.len())];
    for ExplainedKey { key, place, takes, because, routes } in keys {
        let answer = if *takes { "takes it" } else { "does not take it" };
        lines.push(format!("key `{key}` ({place}) {answer}: {}", line(because)));
        if *takes && routes.is_empty() {
            lines.push("  it has no route, so nobody would see what it lets through".to_owned());
        }
        routes.iter().for_each(|route| lines.extend(in_lines(route)));
    }
    if !keys.iter().any(|key| key.takes) {
        lines.push("no key takes it: it would be acknowledged and forgotten".to_owned());
    }
    lines.join("\n")
}

fn in_lines(route: &ExplainedRoute) -> Vec<String> {
    let ExplainedRoute { route, sinks, steps, outcome, because } = route;
    let mut lines = vec![format!("  route `{route}`")];
    lines.extend(steps.iter().map(|step| format!("    {:<10} {:>10.2} µs", step.hook, step.microseconds)));
    let to = if sinks.is_empty() { "no sink".to_owned() } else { format!("`{}`", sinks.join("`, `")) };
    let kind = match outcome {
        Value::Object(members) => members.keys().next().map_or("", String::as_str),
        Value::String(kind) => kind.as_str(),
        _ => "",
    };
    let because = because.as_ref().map(|because| format!(": {}", line(because))).unwrap_or_default();
    match kind {
        "kept" => lines.push(format!("    kept, to {to} as it is")),
        "replaced" | "replaced_text" | "replaced_base64" | "emitted" => {
            lines.push(format!("    {kind}, to {to}"));
            let made = outcome.get(kind).unwrap_or(&Value::Null);
            lines.extend(format!("{made:#}").lines().map(|line| format!("      {line}")));
        }
        "dropped" => lines.push(format!("    dropped{because}")),
        _ => lines.push(format!("    {outcome}{because}")),
    }
    lines
}

//! Ends of an event, from what `explain` says of it.

use std::path::Path;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use crate::{
    cli::explain::{
        explainer::{ExplainedKey, ExplainedRoute},
        output::{ExplainedOutput, ExplainedPlace, OutputContent, WrittenPreview},
    },
    config::{Config, OnFailure},
    event::Event,
    folder::{CaseEnd, header_fields},
    json::JsonPayload,
    source::envelope::MalformedMessage,
    trial::RouteFate,
};

/// An end of a message.
pub struct MessageEnd {
    /// Everything that is known.
    pub all: CaseEnd,
    /// What a case usually says of it.
    pub brief: CaseEnd,
}

/// Ends that a case has to expect: all but those of events that were dropped.
pub fn sent(ends: &[MessageEnd]) -> impl Iterator<Item = &MessageEnd> {
    ends.iter().filter(|end| end.all.kind().0 != "dropped")
}

/// The end of a message that its source can't make an event of.
pub fn malformed(malformed: &MalformedMessage) -> MessageEnd {
    dead(CaseEnd::default(), malformed.reason, &malformed.detail)
}

/// The ends of an event at all keys.
pub fn of_event(config: &Config, event: &Event, keys: Vec<ExplainedKey>) -> Vec<MessageEnd> {
    let mut ends = Vec::new();
    let mut is_routed = false;
    for ExplainedKey { key, dead_letter, routes, .. } in keys.into_iter().filter(|key| key.takes) {
        is_routed |= dead_letter.is_some() || !routes.is_empty();
        if let Some(cause) = dead_letter {
            ends.push(dead(CaseEnd::default().with("key", &*key), cause.reason, &cause.detail));
        }
        ends.extend(routes.into_iter().flat_map(|route| of_route(config, event, &key, route)));
    }
    if !is_routed {
        ends.push(same(CaseEnd::default().with("dropped", "unrouted")));
    }
    ends
}

/// The ends of an event at a route.
pub fn of_route(config: &Config, event: &Event, key: &str, route: ExplainedRoute) -> Vec<MessageEnd> {
    let ExplainedRoute { route, outputs, fate, buried, .. } = route;
    let at = || CaseEnd::default().with("key", key).with("route", &*route);
    match fate {
        RouteFate::Sent => {
            let outputs = outputs.iter().map(|output| of_output(config, event, at(), output));
            outputs.chain(buried.iter().map(|detail| dead(at(), "buried", detail))).collect()
        }
        RouteFate::Dropped(rule, because) => {
            let brief = CaseEnd::default().with("key", key).with("dropped", rule);
            vec![MessageEnd { all: at().with("dropped", rule).with("because", because), brief }]
        }
        RouteFate::Dead(reason, detail) => vec![dead(at(), reason, &detail)],
        RouteFate::Held(what, why) => {
            let brief = CaseEnd::default().with("key", key).with("held", what);
            vec![MessageEnd { all: at().with("held", what).with("because", why), brief }]
        }
    }
}

fn dead(at: CaseEnd, reason: &str, detail: &str) -> MessageEnd {
    let brief = CaseEnd::default().with("key", at.text("key")).with("dead_letter", reason);
    MessageEnd { all: at.with("dead_letter", reason).with("because", detail), brief }
}

fn same(end: CaseEnd) -> MessageEnd {
    MessageEnd { all: end.clone(), brief: end }
}

fn of_output(config: &Config, event: &Event, at: CaseEnd, output: &ExplainedOutput) -> MessageEnd {
    let ExplainedOutput { sink, not_before, written, headers } = output;
    let (to, content) = match written {
        WrittenPreview::As { to, content } => (to, content),
        WrittenPreview::Refused { refused, detail } => {
            let policy = config.sinks.iter().find(|known| known.name == *sink).map(|sink| sink.on_failure);
            let key = CaseEnd::default().with("key", at.text("key"));
            return match policy {
                Some(OnFailure::Skip) => MessageEnd {
                    all: at.with("dropped", "sink").with("because", &**detail),
                    brief: key.with("dropped", "sink"),
                },
                Some(OnFailure::Stop) => MessageEnd {
                    all: at.with("held", "stop").with("because", &**detail),
                    brief: key.with("held", "stop"),
                },
                _ => dead(at, refused, detail),
            };
        }
    };
    let (mut all, mut brief) = (at.with("sink", &**sink), CaseEnd::default().with("sink", &**sink));
    let mut both = |name: &'static str, value: Json| {
        all = std::mem::take(&mut all).with(name, value.clone());
        brief = std::mem::take(&mut brief).with(name, value);
    };
    match to {
        ExplainedPlace::File(path) => {
            let path = Path::new(path);
            let shown = path.strip_prefix(&config.dir).unwrap_or(path).display().to_string();
            both("file", shown.into());
        }
        ExplainedPlace::Subject(subject) => both("subject", subject.as_str().into()),
        ExplainedPlace::Webhooks(names) => both("webhooks", names.clone().into()),
        ExplainedPlace::Command(command) => both("command", command.clone().into()),
        ExplainedPlace::Stdout | ExplainedPlace::Program | ExplainedPlace::Nowhere => {}
    }
    if let Some(time) = not_before {
        both("not_before", time.to_string().into());
    }
    if let ExplainedPlace::Nowhere = to {
        return MessageEnd { all, brief };
    }
    let (name, payload) = payload(content);
    if let ExplainedPlace::Subject(_) = to {
        let object = header_fields(headers.as_ref().unwrap_or(&event.headers));
        if headers.as_ref().is_some_and(|headers| *headers != event.headers) {
            brief = brief.with("headers", object.clone());
        }
        all = all.with("headers", object);
    }
    MessageEnd { all: all.with(name, payload.clone()), brief: brief.with(name, payload) }
}

/// Returns the content under the name that tells its encoding, without the end of its line.
fn payload(content: &OutputContent) -> (&'static str, Json) {
    let bytes = match content {
        OutputContent::Text(text) => text.strip_suffix('\n').unwrap_or(text).as_bytes().to_vec(),
        OutputContent::Base64(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
    };
    match JsonPayload::of(&bytes) {
        JsonPayload::Json(json) => ("payload", json.get().into()),
        JsonPayload::Text(text) => ("payload_text", text.into()),
        JsonPayload::Bytes(encoded) => ("payload_base64", encoded.into()),
    }
}

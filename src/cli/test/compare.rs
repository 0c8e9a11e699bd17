//! Comparison of the ends that a case expects with those that a message had.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use crate::{
    cli::{
        cases::diff::text_diff,
        dry_router::{MessageEnd, sent},
    },
    folder::{CaseEnd, EndUpdate, PAYLOADS},
};

/// Longest payload that is shown on the line of its field, in bytes.
const SHORT: usize = 60;

/// Expected ends beside those that came out.
pub struct EndComparison<'a> {
    pairs: Vec<EndPair<'a>>,
}

/// An end that is expected, or came out, or both.
struct EndPair<'a> {
    /// With its position.
    expected: Option<(usize, &'a CaseEnd)>,
    actual: Option<&'a MessageEnd>,
}

impl<'a> EndComparison<'a> {
    /// Outputs of one sink are compared in order, and so are dead letters. That an event is dropped
    /// is compared only where it is expected.
    pub fn new(expected: &'a [CaseEnd], actual: &'a [MessageEnd]) -> Self {
        let mut left: Vec<Option<&MessageEnd>> = actual.iter().map(Some).collect();
        let mut pairs = Vec::new();
        for (position, end) in expected.iter().enumerate() {
            let same = |found: &Option<&MessageEnd>| found.is_some_and(|found| belongs(end, &found.all));
            let found = left.iter_mut().find(|found| same(found)).and_then(Option::take);
            pairs.push(EndPair { expected: Some((position, end)), actual: found });
        }
        let more = left.into_iter().flatten().filter(|end| end.all.kind().0 != "dropped");
        pairs.extend(more.map(|end| EndPair { expected: None, actual: Some(end) }));
        Self { pairs }
    }

    pub fn fits(&self) -> bool {
        self.pairs.iter().all(EndPair::fits)
    }

    /// Shows what differs, an end after the other.
    pub fn diff(&self) -> String {
        let differing = self.pairs.iter().filter(|pair| !pair.fits());
        differing.map(|pair| text_diff(&pair.expected_text(), &pair.actual_text())).collect::<Vec<_>>().join("\n\n")
    }

    /// Returns what has to change in the case.
    pub fn updates(self) -> Vec<EndUpdate> {
        self.pairs.into_iter().filter_map(EndPair::update).collect()
    }
}

impl EndPair<'_> {
    fn fits(&self) -> bool {
        let (Some((_, expected)), Some(actual)) = (&self.expected, &self.actual) else { return false };
        expected.fields().all(|(name, value)| field_fits(name, value, &actual.all))
    }

    fn expected_text(&self) -> String {
        self.expected.map(|(_, end)| shown(end)).unwrap_or_default()
    }

    fn actual_text(&self) -> String {
        match (&self.expected, &self.actual) {
            (_, None) => String::new(),
            (None, Some(actual)) => shown(&actual.brief),
            (Some((_, expected)), Some(actual)) => shown(&like(expected, &actual.all)),
        }
    }

    fn update(self) -> Option<EndUpdate> {
        match (self.expected, self.actual) {
            (Some((position, _)), Some(_)) if self.fits() => Some(EndUpdate::Keep(position)),
            (Some((position, expected)), Some(actual)) => {
                Some(EndUpdate::Change(position, like(expected, &actual.all)))
            }
            (None, Some(actual)) => Some(EndUpdate::Add(actual.brief.clone())),
            (_, None) => None,
        }
    }
}

/// Ends that a case without expectations gets: those of what is sent, else why nothing is.
pub fn usual(ends: &[MessageEnd]) -> Vec<CaseEnd> {
    let mut usual: Vec<_> = sent(ends).collect();
    if usual.is_empty() {
        usual = ends.iter().collect();
    }
    usual.into_iter().map(|end| end.brief.clone()).collect()
}

/// Returns whether an end can be the expected one: of the same sink, or a dead letter as well, or
/// dropped as well, at the same key.
fn belongs(expected: &CaseEnd, actual: &CaseEnd) -> bool {
    let ((kind, name), (actual_kind, actual_name)) = (expected.kind(), actual.kind());
    let same = |field: &str| expected.get(field).is_none_or(|value| actual.get(field) == Some(value));
    kind == actual_kind && (kind != "sink" || name == actual_name) && same("key") && same("route")
}

fn field_fits(name: &str, expected: &Json, actual: &CaseEnd) -> bool {
    match (name, expected) {
        ("payload", Json::String(expected)) => {
            actual.text("payload").is_some_and(|actual| is_same_json(expected, actual))
        }
        ("payload_text" | "payload_base64", _) => {
            let expected = bytes(name, expected);
            expected.is_some() && expected == payload_bytes(actual)
        }
        ("headers", Json::Object(expected)) => expected.iter().all(|(name, values)| {
            let headers = actual.get("headers").and_then(Json::as_object);
            let found = headers.into_iter().flatten().find(|(known, _)| known.eq_ignore_ascii_case(name));
            list(Some(values)) == list(found.map(|(_, values)| values))
        }),
        _ => actual.get(name) == Some(expected),
    }
}

/// Compares JSON by its meaning. What no parser reads is compared as text.
fn is_same_json(one: &str, other: &str) -> bool {
    match (serde_json::from_str::<Json>(one), serde_json::from_str::<Json>(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

fn payload_bytes(end: &CaseEnd) -> Option<Vec<u8>> {
    PAYLOADS.iter().find_map(|name| bytes(name, end.get(name)?))
}

/// The content of a payload, without the end of its line.
fn bytes(name: &str, value: &Json) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    if name == "payload_base64" {
        STANDARD.decode(text).ok()
    } else {
        Some(text.strip_suffix('\n').unwrap_or(text).into())
    }
}

/// The values of a header.
fn list(values: Option<&Json>) -> Vec<&str> {
    match values {
        Some(Json::Array(values)) => values.iter().filter_map(Json::as_str).collect(),
        Some(Json::String(value)) => vec![value],
        _ => Vec::new(),
    }
}

/// Returns the end that came out, with the fields that are expected.
fn like(expected: &CaseEnd, actual: &CaseEnd) -> CaseEnd {
    let mut like = CaseEnd::default();
    for (name, value) in expected.fields() {
        if PAYLOADS.contains(&name) {
            let same = field_fits(name, value, actual).then(|| (name, value.clone()));
            let found = same.or_else(|| PAYLOADS.iter().find_map(|name| Some((*name, actual.get(name)?.clone()))));
            if let Some((name, value)) = found {
                like = like.with(name, value);
            }
            continue;
        }
        let value = match (name, value) {
            _ if field_fits(name, value, actual) => Some(value.clone()),
            ("headers", Json::Object(expected)) => Some(headers_like(expected, actual)),
            _ => actual.get(name).cloned(),
        };
        like = like.with(name, value.unwrap_or_default());
    }
    like
}

fn headers_like(expected: &serde_json::Map<String, Json>, actual: &CaseEnd) -> Json {
    let found = |name: &String| {
        let headers = actual.get("headers").and_then(Json::as_object);
        let found = headers.into_iter().flatten().find(|(known, _)| known.eq_ignore_ascii_case(name));
        (name.clone(), found.map_or_else(|| Json::Array(Vec::new()), |(_, values)| values.clone()))
    };
    Json::Object(expected.keys().map(found).collect())
}

/// Formats an end with a field on a line, and a long payload on several.
pub fn shown(end: &CaseEnd) -> String {
    let mut text = String::new();
    for (name, value) in end.fields() {
        let parsed = match value {
            Json::String(json) if name == "payload" => serde_json::from_str::<Json>(json).ok(),
            _ => None,
        };
        let value = match parsed {
            Some(json) if json.to_string().len() > SHORT => format!("{json:#}"),
            Some(json) => json.to_string(),
            None => value.to_string(),
        };
        text.push_str(&format!("{name} = {value}\n"));
    }
    text
}

//! Results of cases as JSON.

use serde_json::{Map, Value as Json, json};

use crate::{cli::cases::CaseResult, folder::CaseEnd};

/// The row of a case.
pub fn case_row(result: &CaseResult, ends: &[CaseEnd]) -> Json {
    let CaseResult { name, place, took, wrong, written, lines } = result;
    json!({
        "case": name,
        "place": place,
        "ok": wrong.is_none(),
        "microseconds": (took.as_secs_f64() * 1e8).round() / 1e2,
        "ends": ends.iter().map(end_fields).collect::<Vec<_>>(),
        "wrong": wrong,
        "written": written,
        "log": lines,
    })
}

/// The fields of an end, with its payload as JSON where it is.
pub fn end_fields(end: &CaseEnd) -> Json {
    let field = |(name, value): (&str, &Json)| {
        let parsed = match value {
            Json::String(json) if name == "payload" => serde_json::from_str(json).ok(),
            _ => None,
        };
        (name.to_owned(), parsed.unwrap_or_else(|| value.clone()))
    };
    Json::Object(end.fields().map(field).collect::<Map<_, _>>())
}

//! Results of cases as JSON.

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::{cli::cases::CaseResult, folder::CaseEnd};

/// The row of a case.
#[derive(Serialize)]
pub struct CaseRow<'a> {
    case: &'a str,
    place: &'a str,
    ok: bool,
    microseconds: f64,
    ends: Vec<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wrong: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written: Option<&'a str>,
    log: &'a [String],
}

impl<'a> CaseRow<'a> {
    pub fn new(result: &'a CaseResult, ends: &[CaseEnd]) -> Self {
        let CaseResult { name, place, took, wrong, written, lines } = result;
        Self {
            case: name,
            place,
            ok: wrong.is_none(),
            microseconds: (took.as_secs_f64() * 1e8).round() / 1e2,
            ends: ends.iter().map(end_fields).collect(),
            wrong: wrong.as_deref(),
            written: written.as_deref(),
            log: lines,
        }
    }
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

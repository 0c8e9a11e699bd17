//! JSON form of a case's outcome, as cases write it: `"dropped"`, `"kept"`, `{"replaced":…}`,
//! `{"failed":"…"}`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::{
    config::{nearest, quoted},
    filter::{CallError, Emission, EmissionFate, Failure, FailureCause, FailureKind, Verdict},
    json::JsonPayload,
    trial::TrialEnd,
};

/// Kinds of outcomes. A case may expect a kind alone, or the whole outcome.
const KINDS: [&str; 14] = [
    "dropped",
    "kept",
    "replaced",
    "replaced_text",
    "replaced_base64",
    "emitted",
    "malformed",
    "retry",
    "defer",
    "failed",
    "broken",
    "broke",
    "not_json",
    "refused",
];

/// Checks that a case expects a known kind of outcome.
///
/// # Errors
/// Returns a message that lists the valid kinds.
pub fn check(expected: &Value) -> Result<(), String> {
    let kind = match expected {
        Value::String(kind) => kind,
        Value::Object(members) if members.len() == 1 => members.keys().next().map_or("", String::as_str),
        _ => return Err(format!("`expect` is a kind or an object with one: {}", quoted(KINDS, "or"))),
    };
    if KINDS.contains(&kind) {
        return Ok(());
    }
    let near = nearest(kind, KINDS);
    let meant = if near.is_empty() { KINDS.to_vec() } else { near };
    Err(format!("`expect` has no kind `{kind}`: did you mean {}?", quoted(meant, "or")))
}

/// Returns whether an outcome is the expected one: if only a kind is expected, only the kind is
/// compared.
pub fn fits(expected: &Value, outcome: &Value) -> bool {
    match (expected, outcome) {
        (Value::String(kind), Value::Object(members)) => members.contains_key(kind),
        _ => expected == outcome,
    }
}

/// Converts the end of a trial into an outcome.
///
/// # Errors
/// Returns an error if the host failed, which is not an outcome.
pub fn of(end: TrialEnd) -> anyhow::Result<Value> {
    Ok(match end {
        TrialEnd::Unfulfilled(_) | TrialEnd::Unmatched | TrialEnd::Verdict(Verdict::Drop) => json!("dropped"),
        TrialEnd::Verdict(Verdict::Keep) => json!("kept"),
        TrialEnd::Verdict(Verdict::Replace(output)) => match JsonPayload::of(&output) {
            JsonPayload::Json(json) => json!({ "replaced": json }),
            JsonPayload::Text(text) => json!({ "replaced_text": text }),
            JsonPayload::Bytes(encoded) => json!({ "replaced_base64": encoded }),
        },
        TrialEnd::Verdict(Verdict::Emit(emissions)) => {
            json!({ "emitted": emissions.iter().map(emission).collect::<Vec<_>>() })
        }
        TrialEnd::Untested(error) => json!({ error.code(): error.to_string() }),
        TrialEnd::Said(failure) => said(&failure),
        TrialEnd::Broke(broken) => json!({ "broke": broken.reason.code() }),
        TrialEnd::Host(error) => return Err(error),
    })
}

/// Converts a filter's refusal of a route into an outcome.
///
/// # Errors
/// As [`of`].
pub fn of_refusal(error: CallError) -> anyhow::Result<Value> {
    Ok(match error {
        CallError::Said(Failure { kind: FailureKind::Malformed | FailureKind::Failed, cause }) => {
            json!({ "refused": cause.detail })
        }
        CallError::Said(failure) | CallError::Hook(_, failure) => said(&failure),
        CallError::Broke(broken) => json!({ "broke": broken.reason.code() }),
        CallError::Condition(_) | CallError::Expression(_) | CallError::Reads(..) => {
            json!({ "refused": error.to_string() })
        }
        CallError::Host(error) => return Err(error),
    })
}

fn said(Failure { kind, cause }: &Failure) -> Value {
    let after = |after: &Duration| u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    let waits = |time: &Duration| {
        let mut members = said_of(cause);
        members.insert("after_ms".to_owned(), json!(after(time)));
        Value::Object(members)
    };
    match kind {
        FailureKind::Malformed => json!({ "malformed": reason(cause) }),
        FailureKind::Retry(time) => json!({ "retry": waits(time) }),
        FailureKind::Failed => json!({ "failed": reason(cause) }),
        FailureKind::Defer(time) => json!({ "defer": waits(time) }),
        FailureKind::Broken => json!({ "broken": reason(cause) }),
    }
}

/// The text of a cause, with its code if it has one.
fn reason(cause: &FailureCause) -> Value {
    if cause.code.is_some() { Value::Object(said_of(cause)) } else { json!(cause.detail) }
}

fn said_of(FailureCause { code, detail }: &FailureCause) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert("reason".to_owned(), json!(detail));
    if let Some(code) = code {
        members.insert("code".to_owned(), json!(code));
    }
    members
}

fn emission(emission: &Emission) -> Value {
    let mut members = payload(&emission.payload);
    if let Some(subject) = &emission.subject {
        members.insert("subject".to_owned(), json!(&**subject));
    }
    if let Some(sink) = &emission.sink {
        members.insert("sink".to_owned(), json!(&**sink));
    }
    if let Some(id) = &emission.id {
        members.insert("id".to_owned(), json!(&**id));
    }
    if let Some(then) = &emission.not_before {
        members.insert("not_before".to_owned(), json!(then));
    }
    if let EmissionFate::Bury(cause) = &emission.fate {
        members.insert("buried".to_owned(), reason(cause));
    }
    if !emission.headers.is_empty() {
        let headers = emission.headers.iter().map(|(name, value)| json!([&**name, value.as_deref()])).collect();
        members.insert("headers".to_owned(), Value::Array(headers));
    }
    Value::Object(members)
}

/// Returns the member `payload`, or another one if the bytes are not JSON.
fn payload(bytes: &[u8]) -> Map<String, Value> {
    match serde_json::to_value(JsonPayload::of(bytes)) {
        Ok(Value::Object(members)) => members,
        // Unreachable: a payload always serializes to an object.
        _ => Map::new(),
    }
}

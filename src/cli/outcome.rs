//! How a case ended, in the words that cases use: `"dropped"`, `"kept"`, `{"replaced":…}`, `{"failed":"…"}`.

use serde_json::{Map, Value, json};

use crate::{
    config::{nearest, quoted},
    filter::{CallError, Emission, Failure, Verdict},
    json::Payload,
    trial::End,
};

/// The kinds of outcomes. A case may name a kind alone, or say all of it.
const KINDS: [&str; 13] = [
    "dropped",
    "kept",
    "replaced",
    "replaced_text",
    "replaced_base64",
    "emitted",
    "malformed",
    "retry",
    "failed",
    "broken",
    "broke",
    "not_json",
    "refused",
];

/// Checks that a case expects something that there is.
///
/// # Errors
/// What it should say instead.
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

/// Whether an outcome is the expected one: where that is a kind alone, only the kind counts.
pub fn fits(expected: &Value, outcome: &Value) -> bool {
    match (expected, outcome) {
        (Value::String(kind), Value::Object(members)) => members.contains_key(kind),
        _ => expected == outcome,
    }
}

/// # Errors
/// When the host could not, which is not an outcome.
pub fn of(end: End) -> anyhow::Result<Value> {
    Ok(match end {
        End::Unfulfilled(_) | End::Unmatched | End::Verdict(Verdict::Drop) => json!("dropped"),
        End::Verdict(Verdict::Keep) => json!("kept"),
        End::Verdict(Verdict::Replace(output)) => match Payload::of(&output) {
            Payload::Json(json) => json!({ "replaced": json }),
            Payload::Text(text) => json!({ "replaced_text": text }),
            Payload::Bytes(encoded) => json!({ "replaced_base64": encoded }),
        },
        End::Verdict(Verdict::Emit(emissions)) => {
            json!({ "emitted": emissions.iter().map(emission).collect::<Vec<_>>() })
        }
        End::Untested(error) => json!({ error.code(): error.to_string() }),
        End::Said(failure) => said(&failure),
        End::Broke(broken) => json!({ "broke": broken.reason.code() }),
        End::Host(error) => return Err(error),
    })
}

/// How a route ended that its filter did not take.
///
/// # Errors
/// As [`of`].
pub fn of_refusal(error: CallError) -> anyhow::Result<Value> {
    Ok(match error {
        CallError::Said(Failure::Malformed(text) | Failure::Failed(text)) => json!({ "refused": text }),
        CallError::Said(failure) | CallError::Hook(_, failure) => said(&failure),
        CallError::Broke(broken) => json!({ "broke": broken.reason.code() }),
        CallError::Condition(error) => json!({ "refused": error.to_string() }),
        CallError::Host(error) => return Err(error),
    })
}

fn said(failure: &Failure) -> Value {
    match failure {
        Failure::Malformed(text) => json!({ "malformed": text }),
        Failure::Retry(after, text) => {
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            json!({ "retry": { "after_ms": after, "reason": text } })
        }
        Failure::Failed(text) => json!({ "failed": text }),
        Failure::Broken(text) => json!({ "broken": text }),
    }
}

fn emission(emission: &Emission) -> Value {
    let mut members = payload(&emission.payload);
    if let Some(subject) = &emission.subject {
        members.insert("subject".to_owned(), json!(&**subject));
    }
    if !emission.headers.is_empty() {
        let headers = emission.headers.iter().map(|(name, value)| json!([&**name, &**value])).collect();
        members.insert("headers".to_owned(), Value::Array(headers));
    }
    Value::Object(members)
}

/// `payload`, or another member where it is not JSON.
fn payload(bytes: &[u8]) -> Map<String, Value> {
    match serde_json::to_value(Payload::of(bytes)) {
        Ok(Value::Object(members)) => members,
        // It always is.
        _ => Map::new(),
    }
}

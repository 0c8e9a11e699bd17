//! `POST /control/ACTION`: the operations of the control plane, for clients with the token.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use serde_json::{Value, json};

use super::AdminView;
use crate::control::operation::{Operation, OperationRefusal, OperationResult, RefusalCause};

/// Bytes of a request's body.
const MAX_BODY: usize = 16 << 10;
/// The operator, as the audit log names it.
const WHO: &str = "token of `[admin]`";

/// The route of all operations. Unless it `is_open`, since a token is configured, it carries none
/// out.
pub(super) fn routes(is_open: bool) -> Router<AdminView> {
    let operate = move |view, action, body| answer(is_open, view, action, body);
    Router::new().route("/control/{action}", post(operate)).layer(DefaultBodyLimit::max(MAX_BODY))
}

async fn answer(
    is_open: bool,
    State(view): State<AdminView>,
    Path(action): Path<String>,
    body: Bytes,
) -> (StatusCode, Response) {
    if !is_open {
        let message = "without a token this listener only reads";
        let hint = "set `token_file` or `token_env` in `[admin]`, or use `trommel` on the router's machine";
        return (StatusCode::FORBIDDEN, refused("no_token", message, Some(hint)));
    }
    let operation = match operation(&action, &body) {
        Ok(operation) => operation,
        Err(message) => return (StatusCode::BAD_REQUEST, refused(RefusalCause::BadRequest.word(), &message, None)),
    };
    let plane = view.plane;
    // In a task of its own: a client that leaves ends its handler, and must not leave half of it.
    match tokio::spawn(async move { plane.operate(operation, WHO).await }).await {
        Ok(Ok(result)) => (status(&result), shown(&result)),
        Ok(Err(OperationRefusal { subtype, message, hint })) => {
            (refusal_status(subtype), refused(subtype.word(), &message, hint.as_deref()))
        }
        Err(_) => {
            let message = "the operation broke off: the router's log says why";
            (StatusCode::INTERNAL_SERVER_ERROR, refused("broke_off", message, None))
        }
    }
}

/// Reads an operation from the path and the body, which may be empty.
fn operation(action: &str, body: &[u8]) -> Result<Operation, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut fields: Value = serde_json::from_slice(body).map_err(|error| format!("the body is not JSON: {error}"))?;
    let Value::Object(members) = &mut fields else { return Err("the body is not a JSON object".to_owned()) };
    members.insert("action".to_owned(), action.into());
    serde_json::from_value(fields).map_err(|error| error.to_string())
}

fn status(result: &OperationResult) -> StatusCode {
    match result {
        OperationResult::Reload(reload) if !reload.problems.is_empty() => StatusCode::UNPROCESSABLE_ENTITY,
        OperationResult::Reload(reload) if !reload.done => StatusCode::ACCEPTED,
        OperationResult::Drain { .. } => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    }
}

fn refusal_status(cause: RefusalCause) -> StatusCode {
    match cause {
        RefusalCause::BadRequest => StatusCode::BAD_REQUEST,
        RefusalCause::UnknownPart | RefusalCause::UnknownFilter => StatusCode::NOT_FOUND,
        RefusalCause::AmbiguousPart
        | RefusalCause::PausedAlready
        | RefusalCause::NotPaused
        | RefusalCause::NotQuarantined
        | RefusalCause::NoLog
        | RefusalCause::NotMade => StatusCode::CONFLICT,
        RefusalCause::StillLoading => StatusCode::GATEWAY_TIMEOUT,
        RefusalCause::Ending => StatusCode::SERVICE_UNAVAILABLE,
    }
}

fn shown(result: &OperationResult) -> Response {
    // Plain fields always serialize.
    let mut result = serde_json::to_value(result).unwrap_or_default();
    if let Value::Object(members) = &mut result {
        members.remove("action");
    }
    ([(CONTENT_TYPE, "application/json")], result.to_string()).into_response()
}

fn refused(subtype: &str, message: &str, hint: Option<&str>) -> Response {
    let error = json!({ "error": { "subtype": subtype, "message": message, "hint": hint } });
    ([(CONTENT_TYPE, "application/json")], error.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::operation::{PartName, ReloadWish};

    #[test]
    fn the_path_and_the_body_are_one_operation() {
        assert_eq!(operation("reload", b""), Ok(Operation::Reload(ReloadWish { wait: true })));
        let part = PartName { name: "a".to_owned(), kind: None };
        assert_eq!(operation("pause", br#"{"action":"drain","name":"a"}"#), Ok(Operation::Pause(part)));
        for (action, body, expected) in [
            ("halt", "{}", "unknown variant `halt`"),
            ("pause", "{}", "missing field `name`"),
            ("pause", "[]", "not a JSON object"),
            ("pause", "{", "not JSON"),
            ("log", r#"{"level":"debug","fro":"1m"}"#, "unknown field `fro`"),
        ] {
            let refused = operation(action, body.as_bytes()).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
    }
}

//! Refusals as RFC 9457 has them, in the words of the command line.

use std::time::Duration;

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{config::Problems, folder::WebhookBookError, webhook::store::StoreError};

/// A refused request.
#[derive(Debug)]
pub(super) struct ApiProblem {
    status: StatusCode,
    /// Reason code for programs.
    reason: &'static str,
    detail: String,
    hint: Option<String>,
    /// All problems of a body, if there are several.
    errors: Vec<Value>,
    header: Option<ProblemHeader>,
}

/// Header that goes with a status.
#[derive(Clone, Copy, Debug)]
enum ProblemHeader {
    /// The client has to authenticate with a bearer token.
    Challenge,
    RetryLater,
}

impl ApiProblem {
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Into<String>) -> Self {
        Self { status, reason, detail: detail.into(), hint: None, errors: Vec::new(), header: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    pub(super) fn unauthorized() -> Self {
        let detail = "the token is missing, or not one that is known here";
        let problem = Self::new(StatusCode::UNAUTHORIZED, "token", detail);
        Self { header: Some(ProblemHeader::Challenge), ..problem.hint("send the header `Authorization: Bearer TOKEN`") }
    }

    /// Also for webhooks of others: whoever may not see them does not learn that they exist.
    pub(super) fn unknown_webhook(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown_webhook", format!("there is no webhook `{name}`"))
            .hint("`GET /webhooks` shows all")
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path is not asked in that way")
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "webhooks are at `/webhooks`")
    }

    pub(super) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_body", detail)
    }

    pub(super) fn slow(time: Duration) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow", format!("the request was not done within {time:?}"))
    }

    pub(super) fn waiting() -> Self {
        let detail = "an earlier change is not in force yet, as the router's folder can't be loaded";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_in_force", detail);
        let header = Some(ProblemHeader::RetryLater);
        Self { header, ..problem.hint("the router's log says why; send it again") }
    }

    pub(super) fn internal(error: &anyhow::Error) -> Self {
        tracing::error!(error = format!("{error:#}"), "a request to `[webhooks]` failed");
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "internal", "the router can't do this now");
        Self { header: Some(ProblemHeader::RetryLater), ..problem }
    }
}

impl IntoResponse for ApiProblem {
    fn into_response(self) -> Response {
        let Self { status, reason, detail, hint, errors, header } = self;
        let title = status.canonical_reason().unwrap_or_default();
        let mut problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail, "reason": reason });
        if let Some(hint) = hint {
            problem["hint"] = hint.into();
        }
        if errors.len() > 1 {
            problem["errors"] = errors.into();
        }
        let mut response = (status, [(CONTENT_TYPE, "application/problem+json")], problem.to_string()).into_response();
        let header = header.map(|header| match header {
            ProblemHeader::Challenge => (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            ProblemHeader::RetryLater => (RETRY_AFTER, HeaderValue::from_static("5")),
        });
        response.headers_mut().extend(header);
        response
    }
}

impl From<Problems> for ApiProblem {
    fn from(problems: Problems) -> Self {
        let first = problems.iter().next();
        let detail = first.map_or_else(String::new, |problem| problem.message.clone());
        let problem = Self {
            errors: problems.iter().map(|problem| json!({ "detail": problem.message, "hint": problem.hint })).collect(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_webhook", detail)
        };
        match first.and_then(|problem| problem.hint.clone()) {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

impl From<WebhookBookError> for ApiProblem {
    fn from(error: WebhookBookError) -> Self {
        let conflict = |reason| Self::new(StatusCode::CONFLICT, reason, error.to_string());
        match error {
            WebhookBookError::Invalid(problems) => problems.into(),
            WebhookBookError::Io { .. } => Self::internal(&error.into()),
            WebhookBookError::FileExists(_) => {
                Self::new(StatusCode::CONFLICT, "webhook_exists", "there is a webhook of this name already")
            }
            WebhookBookError::Vanished { .. } => conflict("vanished").hint("nothing was changed"),
            WebhookBookError::Rotating(_) => {
                conflict("rotating").hint("`{\"finish\": true}` gives up the former secret")
            }
            WebhookBookError::NotRotating(_) => conflict("not_rotating").hint("without `finish` it gets a new secret"),
        }
    }
}

impl From<StoreError> for ApiProblem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error.into())
    }
}

//! Refusals of requests, as clients read them.

use std::{fmt::Display, time::Duration};

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::config::HttpSource;

/// Time after which to send again if the router stops or the stream is away.
const AWAY: Duration = Duration::from_secs(5);

/// Error response to a request.
#[derive(Debug)]
pub(super) struct RequestRefusal {
    pub(super) status: StatusCode,
    /// Reason code for programs and for the metrics' label.
    pub(super) reason: &'static str,
    pub(super) message: String,
    hint: Option<&'static str>,
    header: RefusalHeader,
}

/// Header that goes with a status.
#[derive(Debug)]
enum RefusalHeader {
    None,
    Allow,
    /// Scheme by which a client has to authenticate.
    Challenge(&'static str),
    /// Seconds.
    RetryAfter(u64),
}

impl RequestRefusal {
    fn new(status: StatusCode, reason: &'static str, message: impl Display) -> Self {
        Self { status, reason, message: message.to_string(), hint: None, header: RefusalHeader::None }
    }

    fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }

    fn again_after(self, wait: Duration) -> Self {
        // Whole seconds, at least one: zero would mean at once.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Self { header: RefusalHeader::RetryAfter(seconds.max(1)), ..self }
    }

    /// Names the event concerned if there are several.
    pub(super) fn of_event(self, number: usize, count: usize) -> Self {
        match count {
            1 => self,
            _ => Self { message: format!("event {number} of {count}: {}", self.message), ..self },
        }
    }

    pub(super) fn bad(reason: &'static str, message: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, message)
    }

    pub(super) fn not_found(settings: &HttpSource) -> Self {
        let tenant = if settings.tenant_in_path { "/{tenant}" } else { "" };
        let path = format!("{}{tenant}", settings.path);
        let path = if path.is_empty() { "/" } else { &path };
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("events are taken at `{path}`"))
    }

    /// Refusal of a path that names none of the source's Lark apps.
    pub(super) fn unknown_app(path: &str) -> Self {
        let message = format!("no app is configured at this URL: it ends with `{path}/APP_ID`");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
    }

    /// Refusal of an event of another Lark app than the one that the URL names.
    pub(super) fn other_app(app: &str) -> Self {
        let message = format!("the event is not of app `{app}`, whose events are taken at this URL");
        Self::new(StatusCode::FORBIDDEN, "other_app", message)
    }

    pub(super) fn method() -> Self {
        let refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", "events are sent with POST");
        Self { header: RefusalHeader::Allow, ..refusal }
    }

    pub(super) fn unauthorized(
        scheme: &'static str,
        reason: &'static str,
        message: impl Display,
        hint: &'static str,
    ) -> Self {
        Self {
            header: RefusalHeader::Challenge(scheme),
            ..Self::new(StatusCode::UNAUTHORIZED, reason, message).hint(hint)
        }
    }

    /// Refusal of a body that names another tenant than the configured one, under which it can't be
    /// stored.
    pub(super) fn other_tenant() -> Self {
        let message = "the body names another tenant than the one whose events are taken here";
        Self::new(StatusCode::FORBIDDEN, "other_tenant", message)
    }

    /// Refusal of a tenant to which the client's token is not bound.
    pub(super) fn foreign_tenant() -> Self {
        let message = "the request names a tenant that this token may not speak for";
        Self::new(StatusCode::FORBIDDEN, "other_tenant", message)
            .hint("a token speaks for the tenants that the source's settings give it")
    }

    /// Refusal of an event without a tenant if the client's token is bound to several.
    pub(super) fn no_tenant() -> Self {
        let message = "it is not said which tenant the event belongs to, and this token speaks for several";
        Self::new(StatusCode::FORBIDDEN, "no_tenant", message).hint("send the header `tenant`")
    }

    /// Refusal of a subject in the URL, which no signature covers.
    pub(super) fn unsigned_subject(path: &str) -> Self {
        let path = if path.is_empty() { "/" } else { path };
        let message = format!("what follows `{path}` would be the subject, and no signature covers it");
        Self::new(StatusCode::NOT_FOUND, "not_found", message)
            .hint("signed events are taken at that path, and have one subject")
    }

    /// Refusal of a request that a browser has sent for another site.
    pub(super) fn other_site(why: impl Display) -> Self {
        let hint = "give the source a `token_file`, or say `allow_unauthenticated = true` if that is meant";
        Self::new(StatusCode::FORBIDDEN, "other_site", why).hint(hint)
    }

    pub(super) fn head(most: usize) -> Self {
        let message = format!("the head has more than {most} bytes, which is the limit here");
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", message)
    }

    pub(super) fn too_large(reason: &'static str, message: impl Display) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, reason, message).hint("send it in parts")
    }

    pub(super) fn too_many(most: usize) -> Self {
        Self::too_large(
            "too_many",
            format!("the request has more than {most} events, which is what the router takes at once"),
        )
    }

    pub(super) fn slow(time: Duration) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "slow", format!("the body was not there within {time:?}"))
    }

    pub(super) fn unreadable(message: impl Display) -> Self {
        let hint = "send `application/json`, `application/x-ndjson`, CloudEvents in JSON, or a content type of your \
            own, uncompressed";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", message).hint(hint)
    }

    pub(super) fn later(reason: &'static str, message: impl Display, wait: Duration) -> Self {
        let refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, reason, message);
        refusal.hint("nothing of it was taken, send it again").again_after(wait)
    }

    fn unavailable(reason: &'static str, message: impl Display, hint: &'static str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, message).hint(hint).again_after(AWAY)
    }

    pub(super) fn paused() -> Self {
        Self::unavailable("paused", "an operator has paused the source", "nothing of it was taken, send it again")
    }

    pub(super) fn stopping() -> Self {
        Self::unavailable("stopping", "the router stops", "nothing of it was taken, send it again")
    }

    pub(super) fn given_back() -> Self {
        let hint = "some of it may have been done: send it again, with the same ids if it has any";
        Self::unavailable("stopping", "the router stopped before all of it was done", hint)
    }

    pub(super) fn stream(message: impl Display) -> Self {
        let hint = "some of it may be stored: send it again, with the same ids if it has any";
        Self::unavailable("stream", message, hint)
    }

    pub(super) fn dead(reason: &'static str, dead: usize, events: usize) -> Self {
        let message = if events == 1 {
            "the event can never succeed and is kept as a dead letter".to_owned()
        } else {
            format!("{dead} of {events} events can never succeed and are kept as dead letters, the others are done")
        };
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, message).hint("it does not help to send it again as it is")
    }
}

impl IntoResponse for RequestRefusal {
    fn into_response(self) -> Response {
        let Self { status, reason, message, hint, header } = self;
        let mut error = json!({ "reason": reason, "message": message });
        if let Some(hint) = hint {
            error["hint"] = hint.into();
        }
        let mut response = json_response(status, &json!({ "error": error }));
        let header = match header {
            RefusalHeader::None => None,
            RefusalHeader::Allow => Some((ALLOW, HeaderValue::from_static("POST"))),
            RefusalHeader::Challenge(scheme) => Some((WWW_AUTHENTICATE, HeaderValue::from_static(scheme))),
            RefusalHeader::RetryAfter(seconds) => Some((RETRY_AFTER, seconds.into())),
        };
        response.headers_mut().extend(header);
        response
    }
}

pub(super) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

//! Takes requests of Lark.

use axum::{
    body::{Body, HttpBody as _},
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use serde_json::json;

use super::{AdmittedClient, BodyForm, RequestHandler, RequestRefusal, json_response};
use crate::{
    event::{Headers, identity::TENANT},
    source::http::lark::{LarkApps, LarkEvent, LarkRequest},
};

impl RequestHandler {
    /// Takes the event of a request, or answers the challenge, for which there need be no room.
    pub(super) async fn take_lark(
        &self,
        apps: &LarkApps,
        parts: &Parts,
        body: Body,
    ) -> Result<Response, RequestRefusal> {
        let (_, rest) = self.path_tenant(parts.uri.path())?;
        let app = apps.at(rest.strip_prefix('/').unwrap_or_default());
        let app = app.ok_or_else(|| RequestRefusal::unknown_app(&self.settings.path))?;
        if parts.method != Method::POST {
            return Err(RequestRefusal::method());
        }
        self.measure(parts)?;
        // For what it refuses, such as a compressed body.
        BodyForm::of(&parts.headers)?;
        if body.size_hint().lower() > self.settings.max_body as u64 {
            return Err(self.too_large());
        }
        let (body, reading) = self.read(body).await?;
        let LarkEvent { body, id, tenant } = match app.open(&parts.headers, body).await? {
            LarkRequest::Verification(challenge) => {
                return Ok(json_response(StatusCode::OK, &json!({ "challenge": &*challenge })));
            }
            LarkRequest::Event(event) => event,
        };
        let once = match id.map(|id| self.repeats.enter(&id)).transpose()? {
            Some(None) => return Ok(taken()),
            once => once.flatten(),
        };
        // Nothing covers the request's headers, so the event gets none of them.
        let mut headers = Headers::default();
        headers.push("content-type", "application/json");
        if let Some(tenant) = tenant {
            headers.push(TENANT, tenant);
        }
        let tenants = self.tenants(&AdmittedClient::Any, None)?;
        self.deal_with(&self.subject, tenants, vec![(headers, body)], reading).await?;
        if let Some(once) = once {
            once.done();
        }
        Ok(taken())
    }
}

/// Lark sends again what is not answered with 200, and reads the body of some answers.
fn taken() -> Response {
    json_response(StatusCode::OK, &json!({}))
}

//! Webhooks as they are, and what does not change their declarations.

use std::sync::Arc;

use anyhow::Context as _;
use axum::{
    Extension,
    extract::{Path, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{ApiState, SharedState, access::ApiCaller, problem::ApiProblem};
use crate::{
    config::{TenantSelection, Webhook},
    folder::WebhookBook,
    text,
    webhook::{
        store::{DisableCause, DisabledWebhook, StoreError},
        trial,
    },
};

/// `GET /webhooks`
pub(super) async fn list(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
) -> Result<Response, ApiProblem> {
    let store = Arc::clone(&api.view.store);
    let disabled = api.ask(move || store.disabled()).await?;
    let webhooks = api.view.webhooks.borrow().clone();
    let seen = webhooks.iter().filter(|webhook| caller.sees(webhook));
    let seen = seen.map(|webhook| shown(webhook, disabled.iter().find(|disabled| disabled.webhook == webhook.name)));
    Ok(answer(StatusCode::OK, &json!({ "webhooks": seen.collect::<Vec<_>>() })))
}

/// `GET /webhooks/NAME`
pub(super) async fn show(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
) -> Result<Response, ApiProblem> {
    let webhook = api.find(&caller, &name)?;
    Ok(answer(StatusCode::OK, &shown(&webhook, api.disabled(&name).await?.as_ref())))
}

/// `POST /webhooks/NAME/test`: sends one signed event, and says what was answered.
pub(super) async fn test(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
) -> Result<Response, ApiProblem> {
    let webhook = api.find(&caller, &name)?;
    let now = Timestamp::now();
    let request = trial::request(&webhook, None, now).map_err(|error| {
        ApiProblem::new(StatusCode::UNPROCESSABLE_ENTITY, "unrenderable_body", format!("`{name}`: {error}"))
    })?;
    let sent = webhook.body.as_ref().map(|_| String::from_utf8_lossy(&request.payload).into_owned());
    let answered = api.poster.post(&webhook, request, now).await;
    let answered = answered.map_err(|why| {
        let detail = format!("`{name}` did not answer: {why}");
        ApiProblem::new(StatusCode::BAD_GATEWAY, "no_answer", detail)
    })?;
    let begin = String::from_utf8_lossy(&answered.body);
    let first = text::line(begin.lines().next().unwrap_or_default()).to_string();
    Ok(answer(
        StatusCode::OK,
        &json!({ "name": name, "taken": answered.is_success(), "status_code": answered.status, "answer": first, "body": sent }),
    ))
}

/// `POST /webhooks/NAME/enable`
pub(super) async fn enable(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
) -> Result<Response, ApiProblem> {
    let webhook = api.find(&caller, &name)?;
    let (store, enabled) = (Arc::clone(&api.view.store), name.clone());
    api.ask(move || store.enable(&enabled)).await?;
    Ok(answer(StatusCode::OK, &shown(&webhook, None)))
}

/// `POST /webhooks/NAME/disable`
pub(super) async fn disable(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
) -> Result<Response, ApiProblem> {
    let webhook = api.find(&caller, &name)?;
    let store = Arc::clone(&api.view.store);
    let disabled = name.clone();
    let cancelled = api.ask(move || store.disable(&disabled, "over the HTTP API", Timestamp::now())).await?;
    let mut webhook = shown(&webhook, api.disabled(&name).await?.as_ref());
    webhook["cancelled"] = cancelled.into();
    Ok(answer(StatusCode::OK, &webhook))
}

/// A webhook as its owner sees it: with its whole address, and without its secrets.
pub(super) fn shown(webhook: &Webhook, disabled: Option<&DisabledWebhook>) -> Value {
    let state = match disabled.map(|disabled| disabled.cause) {
        _ if !webhook.active => "inactive",
        Some(DisableCause::Gone) => "gone",
        Some(DisableCause::Hand) => "disabled",
        None => "active",
    };
    let tenant = match &webhook.tenant {
        TenantSelection::None => None,
        TenantSelection::Only(tenant) => Some(tenant.as_str()),
        TenantSelection::Any => Some("*"),
    };
    let patterns = |patterns: &[crate::event::Pattern]| {
        patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>()
    };
    json!({
        "name": webhook.name,
        "url": webhook.url.as_str(),
        "tenant": tenant,
        "events": patterns(&webhook.events),
        "subjects": patterns(&webhook.subjects),
        "state": state,
        "since": disabled.map(|disabled| disabled.since),
        "reason": disabled.map(|disabled| &disabled.reason),
        "rotating": webhook.is_rotating(Timestamp::now()),
        "former_until": webhook.former_until,
        "changeable": WebhookBook::is_own(webhook),
    })
}

pub(super) fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

impl ApiState {
    /// Finds a webhook that the caller sees.
    pub(super) fn find(&self, caller: &ApiCaller, name: &str) -> Result<Arc<Webhook>, ApiProblem> {
        let webhooks = self.view.webhooks.borrow();
        let found = webhooks.iter().find(|webhook| webhook.name == name && caller.sees(webhook));
        found.cloned().ok_or_else(|| ApiProblem::unknown_webhook(name))
    }

    /// Uses the database, on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, ApiProblem> {
        let asked = spawn_blocking(ask).await.context("a query panicked");
        Ok(asked.map_err(|error| ApiProblem::internal(&error))??)
    }

    /// Has the dispatcher look for due deliveries of a webhook.
    pub(super) async fn recall(&self, name: &str) {
        if let Some(recall) = self.view.recall.upgrade() {
            // Fails only when the dispatcher has ended: the next run finds what is stored.
            let _ = recall.send([name.to_owned()].into()).await;
        }
    }

    pub(super) async fn disabled(&self, name: &str) -> Result<Option<DisabledWebhook>, ApiProblem> {
        let store = Arc::clone(&self.view.store);
        let disabled = self.ask(move || store.disabled()).await?;
        Ok(disabled.into_iter().find(|disabled| disabled.webhook == name))
    }
}

//! Deliveries of a webhook.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::Response,
};
use jiff::Timestamp;
use serde_json::json;

use super::{SharedState, access::ApiCaller, problem::ApiProblem, webhooks::answer};
use crate::webhook::store::{DeliveryId, DeliveryQuery, DeliveryState};

/// Deliveries in an answer, if the request says nothing else, and at most.
const LIMIT: (u32, u32) = (50, 1_000);

/// `GET /webhooks/NAME/deliveries?state=failed&limit=50`, the newest first
pub(super) async fn list(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path(name): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiProblem> {
    api.find(&caller, &name)?;
    let (state, limit) = asked(query.as_deref().unwrap_or_default())?;
    let store = Arc::clone(&api.view.store);
    let deliveries = api.ask(move || store.newest(&name, state, limit)).await?;
    Ok(answer(StatusCode::OK, &json!({ "deliveries": deliveries })))
}

/// `POST /webhooks/NAME/deliveries/ID/retry`
pub(super) async fn retry(
    State(api): SharedState,
    Extension(caller): Extension<ApiCaller>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Response, ApiProblem> {
    let webhook = api.find(&caller, &name)?;
    let gets_nothing = |why: String| {
        let detail = format!("delivery `{id}` can't be sent again: webhook `{name}` {why}");
        ApiProblem::new(StatusCode::CONFLICT, "webhook_gets_nothing", detail)
    };
    if !webhook.active {
        return Err(gets_nothing("is not active".to_owned()));
    }
    if let Some(disabled) = api.disabled(&name).await? {
        let hint = format!("`POST /webhooks/{name}/enable` lets it get more");
        return Err(gets_nothing(format!("is disabled: {}", disabled.reason)).hint(hint));
    }
    let unknown = || {
        let detail = format!("there is no delivery `{id}`");
        ApiProblem::new(StatusCode::NOT_FOUND, "unknown_delivery", detail)
            .hint(format!("`GET /webhooks/{name}/deliveries` shows those that there are"))
    };
    let wanted: DeliveryId = id.parse().map_err(|_| unknown())?;
    let which = DeliveryQuery { ids: Some(vec![wanted]), webhook: Some(name.clone()), ..DeliveryQuery::default() };
    let store = Arc::clone(&api.view.store);
    let retried = api.ask(move || store.retry(&which, Timestamp::now())).await?;
    let Some(retried) = retried.first() else { return Err(unknown()) };
    api.recall(&name).await;
    Ok(answer(StatusCode::ACCEPTED, &json!({ "retried": retried.to_string() })))
}

fn asked(query: &str) -> Result<(Option<DeliveryState>, u32), ApiProblem> {
    let (mut state, (mut limit, most)) = (None, LIMIT);
    let bad = |detail: String| ApiProblem::new(StatusCode::BAD_REQUEST, "bad_query", detail);
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "state" => {
                state = Some(value.parse().map_err(|error| bad(format!("`state` can't be `{value}`: {error}")))?)
            }
            "limit" => {
                let number = value.parse().ok().filter(|number| (1..=most).contains(number));
                limit = number.ok_or_else(|| bad(format!("`limit` is a number from 1 to {most}, not `{value}`")))?;
            }
            _ => return Err(bad(format!("unknown parameter `{name}`: it is `limit` or `state`"))),
        }
    }
    Ok((state, limit))
}

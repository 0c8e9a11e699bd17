//! The admin listener: `/metrics`, `/events`, `/live`, `/ready`. It only reads.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{metrics::Metrics, recent::Asked, stop::Stop};

/// What the listener shows.
#[derive(Clone)]
pub struct View {
    pub metrics: Arc<Metrics>,
    /// Whether every part has started.
    pub started: watch::Receiver<bool>,
    pub stop: Stop,
}

/// Binds the listener, so that an address in use is known before anything else starts.
///
/// # Errors
/// When the address can't be bound.
pub async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(listen).await;
    listener.with_context(|| format!("could not listen on `{listen}`, as `[admin] listen` says"))
}

/// Serves until open work is given up.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, view: View) -> anyhow::Result<()> {
    let mut stop = view.stop.clone();
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/events", get(events))
        .route("/live", get(|| async { "live\n" }))
        .route("/ready", get(ready))
        .with_state(view);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.ended().await })
        .await
        .context("the admin listener failed")
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], view.metrics.exposition())
}

/// The events that ended last: `?limit=100&type=created&type=deleted`.
async fn events(State(view): State<View>, RawQuery(query): RawQuery) -> Response {
    let asked = match asked(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let events = serde_json::json!({ "events": view.metrics.recent(&asked) });
    ([(CONTENT_TYPE, "application/json")], events.to_string()).into_response()
}

fn asked(query: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "type" => asked.types.push(value.into_owned()),
            "limit" => asked.limit = value.parse().map_err(|_| format!("`limit` is a number, not `{value}`\n"))?,
            _ => return Err(format!("unknown parameter `{name}`: it is `limit` or `type`\n")),
        }
    }
    Ok(asked)
}

/// 200 between start and drain, so that a load balancer or an orchestrator waits for the one and leaves at the other, and
/// while every source can hear of events.
async fn ready(State(view): State<View>) -> (StatusCode, String) {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if !*view.started.borrow() {
        return unready("starting\n".to_owned());
    }
    if view.stop.is_draining() {
        return unready("draining\n".to_owned());
    }
    match view.metrics.sources().into_iter().find(|(_, source)| source.connected.get() == 0) {
        Some((name, _)) => unready(format!("source `{name}` is not connected\n")),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}

//! The admin listener: `/metrics`, `/live`, `/ready`. It only reads.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{metrics::Metrics, stop::Stop};

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

/// 200 between start and drain, so that a load balancer or an orchestrator waits for the one and leaves at the other.
async fn ready(State(view): State<View>) -> impl IntoResponse {
    if !*view.started.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    } else if view.stop.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}

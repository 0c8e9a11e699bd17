//! The admin listener: `/metrics`, `/health`, `/events`, `/tail`, `/live`, `/ready`, `/control/*`
//! for those with its token, and the console. The rest only reads, but that a client of `/tail` is
//! a consumer of its key, with a share in the key's subscription.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    Router,
    extract::{ConnectInfo, RawQuery, Request, State},
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    config,
    control::{ConsumerDesk, ControlPlane},
    credential::Credential,
    feed::LiveFeed,
    health::HealthLevel,
    listener::{ClientPatience, HttpListener, ListenerLimits, bearer, site},
    metrics::Metrics,
    recent::RecentQuery,
    signature::Secret,
    stop::Stop,
};

mod console;
mod control;
mod tail;

use console::HourHistory;
pub use console::OwnCommands;

const LIMITS: ListenerLimits = ListenerLimits {
    connections: 64,
    head: Duration::from_secs(10),
    // Longer than the usual pause between two scrapes, so that a scraper keeps its connection.
    idle: Duration::from_mins(2),
    max_head: 64 << 10,
};
/// Longest time for which the token's file is not read again.
const MAX_AGE: Duration = Duration::from_secs(1);

/// State that the listener shows.
#[derive(Clone)]
pub struct AdminView {
    pub metrics: Arc<Metrics>,
    /// True once every part has started.
    pub started: watch::Receiver<bool>,
    pub stop: Stop,
    pub policy: config::ReadyPolicy,
    /// Where clients attach that follow a key.
    pub desk: Arc<ConsumerDesk>,
    /// What carries operations out.
    pub plane: Arc<ControlPlane>,
    pub feed: Arc<LiveFeed>,
    /// Commands that the console runs; `None` in another program than `trommel`.
    pub commands: Option<OwnCommands>,
}

/// Access rule for metrics and events.
enum AdminAccess {
    Anybody,
    /// Access for clients on this machine, except a browser that shows another site.
    ThisMachine,
    Token(Credential<Secret>),
}

/// A listener that is bound, so that an address in use is known before anything else starts.
pub struct AdminListener {
    pub listener: TcpListener,
    guard: AdminAccess,
}

impl AdminListener {
    /// # Errors
    /// Returns an error if the address can't be bound, or the token can't be read.
    pub async fn bind(settings: &config::AdminConfig) -> anyhow::Result<Self> {
        let guard = guard(settings)?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener =
            listener.with_context(|| format!("could not listen on `{}`, as `[admin] listen` says", settings.listen))?;
        Ok(Self { listener, guard })
    }

    /// Serves until open work is given up.
    ///
    /// # Errors
    /// Returns an error if the listener fails.
    pub async fn serve(self, view: AdminView) -> anyhow::Result<()> {
        let mut stop = view.stop.clone();
        let is_open = matches!(self.guard, AdminAccess::Token(_));
        let (history, mut keeping) = (Arc::<HourHistory>::default(), JoinSet::new());
        keeping.spawn(Arc::clone(&history).keep(Arc::clone(&view.metrics)));
        let guard = Arc::new(self.guard);
        let console = console::routes(view.clone(), &guard, history);
        let guarded = Router::new()
            .route("/metrics", get(metrics))
            .route("/events", get(events))
            .route("/health", get(health))
            .merge(Router::new().route("/tail", get(tail::tail)).with_state((view.clone(), tail::places())))
            .merge(control::routes(is_open))
            .route_layer(from_fn_with_state(guard, admit));
        let router = Router::new()
            .merge(guarded)
            .merge(console)
            // Not guarded: health probes have no token, and learn nothing else.
            .route("/live", get(|| async { "live\n" }))
            .route("/ready", get(ready))
            .layer(from_fn(work))
            .with_state(view)
            .into_make_service_with_connect_info::<ClientPatience>();
        axum::serve(HttpListener::new(self.listener, LIMITS, Arc::default()), router)
            .with_graceful_shutdown(async move { stop.ended().await })
            .await
            .context("the admin listener failed")
    }
}

/// Checks that the token, if one is configured, exists and can be used.
///
/// # Errors
/// Returns an error that names the place, never the token.
pub fn check(settings: &config::AdminConfig) -> anyhow::Result<()> {
    guard(settings).map(drop)
}

fn guard(settings: &config::AdminConfig) -> anyhow::Result<AdminAccess> {
    let token = |text: &str| Ok(Secret::token(text)?);
    Ok(match &settings.token {
        Some(kept) => AdminAccess::Token(Credential::read("the token", kept, MAX_AGE, token)?),
        None if settings.is_this_machines => AdminAccess::ThisMachine,
        None => AdminAccess::Anybody,
    })
}

/// Suspends a client's time limit while its request is worked on.
async fn work(ConnectInfo(patience): ConnectInfo<ClientPatience>, request: Request, next: Next) -> Response {
    let _suspended = patience.suspend();
    next.run(request).await
}

async fn admit(State(guard): State<Arc<AdminAccess>>, headers: HeaderMap, request: Request, next: Next) -> Response {
    let refusal = match &*guard {
        AdminAccess::Anybody => None,
        AdminAccess::ThisMachine => site::check_name(&headers)
            .and_then(|()| site::check_page(&headers))
            .err()
            .map(|why| (StatusCode::FORBIDDEN, format!("{why}\n")).into_response()),
        AdminAccess::Token(token) => match bearer(&headers) {
            Some(given) if token.current().await.is(given) => None,
            _ => Some(unauthorized()),
        },
    };
    match refusal {
        Some(refusal) => refusal,
        None => next.run(request).await,
    }
}

fn unauthorized() -> Response {
    let what = "send the header `Authorization: Bearer TOKEN` with the token of `[admin]`\n";
    (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], what).into_response()
}

async fn metrics(State(view): State<AdminView>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], view.metrics.exposition())
}

/// Answers with the health of all parts, and that of the worst: with 503 while one is down.
async fn health(State(view): State<AdminView>) -> Response {
    let parts = view.metrics.health();
    let level = parts.iter().map(|part| part.level).max().unwrap_or_default();
    let status = if level == HealthLevel::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let health = serde_json::json!({ "level": level, "parts": parts });
    (status, [(CONTENT_TYPE, "application/json")], health.to_string()).into_response()
}

/// Answers with the events that ended last: `?limit=100&type=created&type=deleted`.
async fn events(State(view): State<AdminView>, RawQuery(query): RawQuery) -> Response {
    let asked = match asked(query.as_deref().unwrap_or_default()) {
        Ok(asked) => asked,
        Err(why) => return (StatusCode::BAD_REQUEST, why).into_response(),
    };
    let events = serde_json::json!({ "events": view.metrics.recent(&asked) });
    ([(CONTENT_TYPE, "application/json")], events.to_string()).into_response()
}

fn asked(query: &str) -> Result<RecentQuery, String> {
    let mut asked = RecentQuery::default();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "type" => asked.types.push(value.into_owned()),
            "limit" => asked.limit = value.parse().map_err(|_| format!("`limit` is a number, not `{value}`\n"))?,
            _ => return Err(format!("unknown parameter `{name}`: it is `limit` or `type`\n")),
        }
    }
    Ok(asked)
}

/// Answers 200 between start and drain, so that a load balancer or an orchestrator waits for the
/// one and leaves at the other, and unless `ready = "process"` only while every source is connected
/// and none is paused because no sink takes outputs.
async fn ready(State(view): State<AdminView>) -> (StatusCode, String) {
    let unready = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why);
    if !*view.started.borrow() {
        return unready("starting\n".to_owned());
    }
    if view.stop.is_draining() {
        return unready("draining\n".to_owned());
    }
    if view.policy == config::ReadyPolicy::Process {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let sources = view.metrics.sources();
    if let Some((name, _)) = sources.iter().find(|(_, source)| source.connected.get() == 0) {
        return unready(format!("source `{name}` is not connected\n"));
    }
    match sources.iter().find(|(_, source)| source.paused.get() != 0 && source.serves_one_key.get() == 0) {
        Some((name, _)) => unready(format!("source `{name}` takes nothing, because no sink does\n")),
        None => (StatusCode::OK, "ready\n".to_owned()),
    }
}

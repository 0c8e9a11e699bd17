//! The HTTP API with which tenants see to their own webhooks, and an operator to all. What it makes
//! is declared in files, as what `trommel webhooks add` makes; webhooks of other files it shows and
//! leaves alone.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, Notify, mpsc, watch},
    time::timeout,
};

use self::{access::ApiAccess, changes::PendingChange, problem::ApiProblem};
use crate::{
    config::{SelfServiceConfig, Webhook},
    listener::{ClientPatience, HttpListener, ListenerLimits},
    stop::Stop,
    webhook::{post::WebhookPoster, store::DeliveryStore},
};

mod access;
mod changes;
mod deliveries;
mod input;
mod problem;
mod webhooks;

const LIMITS: ListenerLimits = ListenerLimits {
    connections: 64,
    head: Duration::from_secs(10),
    idle: Duration::from_secs(30),
    max_head: 64 << 10,
};
/// Bytes of a request's body.
const MAX_BODY: usize = 16 << 10;
/// Longest time for a request: more than a webhook has to answer a test.
const TOTAL: Duration = Duration::from_secs(30);

/// What the API works on.
pub struct SelfServiceView {
    /// The router's folder.
    pub dir: PathBuf,
    /// Its folder of key files.
    pub keys: PathBuf,
    /// The webhooks in force.
    pub webhooks: watch::Receiver<Vec<Arc<Webhook>>>,
    pub store: Arc<DeliveryStore>,
    /// Tells the dispatcher of webhooks for which something has changed in the store.
    pub recall: mpsc::WeakSender<BTreeSet<String>>,
    /// Reads the folder again.
    pub reload: Arc<Notify>,
    pub stop: Stop,
}

/// State that the handlers share.
struct ApiState {
    view: SelfServiceView,
    poster: WebhookPoster,
    /// The last change. One at a time: each is checked against the webhooks that are in force.
    changing: Mutex<Option<PendingChange>>,
}

/// A listener that is bound, so that an address in use is known before anything else starts.
pub struct SelfServiceListener {
    listener: TcpListener,
    access: ApiAccess,
}

/// Checks that the tokens exist and can be used.
///
/// # Errors
/// Returns an error that names the place, never a token.
pub fn check(settings: &SelfServiceConfig) -> anyhow::Result<()> {
    ApiAccess::read(settings).map(drop)
}

impl SelfServiceListener {
    /// # Errors
    /// Returns an error if the address can't be bound, or a token can't be read.
    pub async fn bind(settings: &SelfServiceConfig) -> anyhow::Result<Self> {
        let access = ApiAccess::read(settings)?;
        let listener = TcpListener::bind(settings.listen).await;
        let at = || format!("could not listen on `{}`, as `[webhooks] listen` says", settings.listen);
        let listener = listener.with_context(at)?;
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "listening for changes of webhooks");
        }
        Ok(Self { listener, access })
    }

    /// Serves until open work is given up.
    ///
    /// # Errors
    /// Returns an error if the listener fails.
    pub async fn serve(self, view: SelfServiceView) -> anyhow::Result<()> {
        let mut stop = view.stop.clone();
        let state = Arc::new(ApiState { view, poster: WebhookPoster::default(), changing: Mutex::default() });
        let router = Router::new()
            .route("/webhooks", get(webhooks::list).post(changes::create))
            .route("/webhooks/{name}", get(webhooks::show).patch(changes::change).delete(changes::remove))
            .route("/webhooks/{name}/test", post(webhooks::test))
            .route("/webhooks/{name}/rotate", post(changes::rotate))
            .route("/webhooks/{name}/enable", post(webhooks::enable))
            .route("/webhooks/{name}/disable", post(webhooks::disable))
            .route("/webhooks/{name}/deliveries", get(deliveries::list))
            .route("/webhooks/{name}/deliveries/{id}/retry", post(deliveries::retry))
            .method_not_allowed_fallback(async || ApiProblem::method())
            .fallback(async || ApiProblem::no_such_path())
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(from_fn_with_state(Arc::new(self.access), access::admit))
            .layer(from_fn(work))
            .with_state(state)
            .into_make_service_with_connect_info::<ClientPatience>();
        axum::serve(HttpListener::new(self.listener, LIMITS, Arc::default()), router)
            .with_graceful_shutdown(async move { stop.ended().await })
            .await
            .context("the listener of `[webhooks]` failed")
    }
}

/// Suspends a client's time limit while its request is worked on, which has one of its own.
async fn work(ConnectInfo(patience): ConnectInfo<ClientPatience>, request: Request, next: Next) -> Response {
    let _suspended = patience.suspend();
    let answered = timeout(TOTAL, next.run(request)).await;
    answered.unwrap_or_else(|_| ApiProblem::slow(TOTAL).into_response())
}

/// Extractor of the shared state.
type SharedState = State<Arc<ApiState>>;

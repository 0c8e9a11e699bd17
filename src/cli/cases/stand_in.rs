//! Test server for a filter's calls of the API: answers on loopback as the case declares.

use std::{
    mem,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use anyhow::Context as _;
use axum::{
    Router,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    api::{ApiClient, ApiClients},
    backoff::Backoff,
    config::{ApiConfig, ConfigPlace, DeclaredIdentity},
    folder::CaseAnswer,
    poison::ignore_poison,
};

/// Server that ends when it is dropped.
pub struct StandIn {
    script: Arc<Mutex<ApiScript>>,
    pub clients: ApiClients,
    serving: AbortHandle,
}

#[derive(Default)]
struct ApiScript {
    answers: Vec<CaseAnswer>,
    /// Calls for which the case has no answer.
    unanswered: Vec<String>,
}

impl StandIn {
    /// Must be called on a runtime with I/O enabled.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("could not listen on loopback")?;
        let base_url = format!("http://{}", listener.local_addr()?).parse()?;
        let client = ApiClient::new(&ApiConfig {
            base_url,
            token: None,
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            retries: 0,
            backoff: Backoff::new(Duration::ZERO, Duration::ZERO),
            max_body: 1 << 20,
            allow_private: true,
            identity: DeclaredIdentity::default(),
            place: ConfigPlace::file("case"),
        })?;
        let script = Arc::<Mutex<ApiScript>>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await }).abort_handle();
        Ok(Self { script, clients: ApiClients::stand_in(client), serving })
    }

    /// Replaces the answers, and clears the unanswered calls.
    pub fn say(&self, answers: Vec<CaseAnswer>) {
        *lock(&self.script) = ApiScript { answers, unanswered: Vec::new() };
    }

    /// Takes the unanswered calls since the last [`Self::say`].
    pub fn unanswered(&self) -> Vec<String> {
        mem::take(&mut lock(&self.script).unanswered)
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(script): State<Arc<Mutex<ApiScript>>>, request: Request) -> Response {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let call = format!("{} {path}", request.method());
    let mut script = lock(&script);
    match script.answers.iter().find(|answer| answer.path() == call) {
        Some(CaseAnswer { status, body, .. }) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, body.clone()).into_response()
        }
        None => {
            script.unanswered.push(call);
            StatusCode::NOT_FOUND.into_response()
        }
    }
}

fn lock(script: &Mutex<ApiScript>) -> MutexGuard<'_, ApiScript> {
    ignore_poison(script.lock())
}

//! Login: fetches the token of the API's calls from an id and a secret, and renews it before it
//! ends.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use reqwest::{StatusCode, header::HeaderValue};
use tokio::{
    sync::{Mutex as TurnLock, OwnedMutexGuard},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use self::{
    answer::{IssuedToken, LoginFailure},
    protocol::LoginProtocol,
};
use super::{
    ApiAnswer,
    attempt::{FailedAttempt, RetryPlan, TransportFault, read},
};
use crate::{
    backoff::Backoff,
    config::{ApiConfig, ApiLogin},
    credential::Credential,
    outgoing::{self, retry_after},
    poison::ignore_poison,
};

mod answer;
mod protocol;

/// Age below which a token that the API turns away is not renewed: another one would not help.
const YOUNGEST: Duration = Duration::from_secs(10);
/// Time for which a failed login answers the calls that need it; longer if the server asks for it.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Time after which a login is given up, with all its attempts.
const LONGEST_LOGIN: Duration = Duration::from_mins(1);
/// Bytes of an answer.
const MAX_ANSWER: usize = 64 << 10;

/// The login of `[api.login]`, and the token that it fetched last.
pub(super) struct TokenLogin {
    http: reqwest::Client,
    protocol: LoginProtocol,
    id: String,
    secret: Credential<String>,
    timeout: Duration,
    retries: u32,
    backoff: Backoff,
    /// Held while a login is under way: calls without a token wait for its outcome.
    turn: Arc<TurnLock<()>>,
    state: Mutex<LoginState>,
}

#[derive(Default)]
struct LoginState {
    token: Option<IssuedToken>,
    /// Time until which a login that has failed is not tried again.
    pause: Option<Instant>,
}

impl LoginState {
    fn is_pausing(&self) -> bool {
        self.pause.is_some_and(|until| Instant::now() < until)
    }
}

/// Outcome of a login that has failed. The log says why, as that may name who the router is.
pub(super) struct FailedLogin;

impl TokenLogin {
    /// # Errors
    /// If the secret can't be read, the server's address is private and must not be, or TLS can't
    /// be set up.
    pub(super) fn new(login: &ApiLogin, settings: &ApiConfig) -> anyhow::Result<Self> {
        let protocol = LoginProtocol::new(&login.kind, &settings.base_url)?;
        if !settings.allow_private {
            let private = "`url` in `[api.login]` is a private address: say `allow_private = true` in `[api]` if that \
                is meant";
            outgoing::check_literal(protocol.url()).context(private)?;
        }
        let secret = Credential::read("the secret", &login.secret, Duration::ZERO, |text| Ok(text.to_owned()))?;
        Ok(Self {
            // Without the headers in `[api]`: they may be secrets, and the server another one.
            http: super::http(protocol.url(), settings.allow_private, &[])?,
            protocol,
            id: login.id.clone(),
            secret,
            timeout: settings.timeout,
            retries: settings.retries,
            backoff: settings.backoff,
            turn: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// Returns the header's value with a token that has not ended. One that is about to end is
    /// renewed while it is used.
    pub(super) async fn bearer(self: &Arc<Self>) -> Result<HeaderValue, FailedLogin> {
        self.renew_ahead();
        self.bearer_unlike(None).await
    }

    /// Returns the header's value after the API has turned one away: another one, or the same if
    /// that is as new as can be.
    pub(super) async fn bearer_after(self: &Arc<Self>, sent: &HeaderValue) -> Result<HeaderValue, FailedLogin> {
        self.bearer_unlike(Some(sent)).await
    }

    /// Returns whether an answer of the API says that the token does not count.
    pub(super) fn is_turned_away(&self, answer: &ApiAnswer) -> bool {
        answer.status == StatusCode::UNAUTHORIZED.as_u16() || self.protocol.is_invalid_token(&answer.body)
    }

    async fn bearer_unlike(self: &Arc<Self>, refused: Option<&HeaderValue>) -> Result<HeaderValue, FailedLogin> {
        if let Some(known) = self.known(refused) {
            return known;
        }
        let turn = Arc::clone(&self.turn).lock_owned().await;
        // Another call may have logged in while this one waited for its turn.
        if let Some(known) = self.known(refused) {
            return known;
        }
        self.log_in(turn).await.unwrap_or(Err(FailedLogin))
    }

    /// What is known without a login: a token that counts, or that a login has just failed.
    fn known(&self, refused: Option<&HeaderValue>) -> Option<Result<HeaderValue, FailedLogin>> {
        let state = self.state();
        let counts = |token: &&IssuedToken| {
            let is_refused = refused == Some(&token.bearer) && token.asked.elapsed() >= YOUNGEST;
            !is_refused && !token.has_ended()
        };
        let token = state.token.as_ref().filter(counts).map(|token| Ok(token.bearer.clone()));
        token.or_else(|| state.is_pausing().then_some(Err(FailedLogin)))
    }

    fn renew_ahead(self: &Arc<Self>) {
        let is_due = {
            let state = self.state();
            !state.is_pausing() && state.token.as_ref().is_some_and(IssuedToken::is_due)
        };
        if is_due && let Ok(turn) = Arc::clone(&self.turn).try_lock_owned() {
            // Nothing waits for it: its outcome is in the state.
            drop(self.log_in(turn));
        }
    }

    /// Logs in, in a task of its own: a call that is given up takes no login with it for which
    /// others wait.
    fn log_in(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> JoinHandle<Result<HeaderValue, FailedLogin>> {
        let login = Arc::clone(self);
        tokio::spawn(async move {
            let outcome = login.attempts().await;
            let answer = login.note(outcome);
            drop(turn);
            answer
        })
    }

    fn note(&self, outcome: Result<IssuedToken, FailedAttempt<LoginFailure>>) -> Result<HeaderValue, FailedLogin> {
        let (protocol, id) = (self.protocol.word(), &self.id);
        let mut state = self.state();
        match outcome {
            Ok(token) => {
                let seconds = token.life.map(|life| life.as_secs());
                tracing::info!(protocol, id, seconds, "logged in to the API");
                let bearer = token.bearer.clone();
                *state = LoginState { token: Some(token), pause: None };
                Ok(bearer)
            }
            Err(FailedAttempt { error, pause, .. }) => {
                tracing::warn!(protocol, id, %error, "the login in `[api.login]` has failed");
                let pause = pause.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE);
                state.pause = Some(Instant::now() + pause);
                Err(FailedLogin)
            }
        }
    }

    /// Tries to log in until there is a token, or another attempt does not help.
    async fn attempts(&self) -> Result<IssuedToken, FailedAttempt<LoginFailure>> {
        let mut plan = RetryPlan::new(self.backoff, self.retries);
        let until = Instant::now() + LONGEST_LOGIN;
        loop {
            let exchange = timeout_at(until.min(Instant::now() + self.timeout), self.exchange()).await;
            let slow = FailedAttempt { error: LoginFailure::Timeout, again: true, pause: None };
            let failed = match exchange.unwrap_or(Err(slow)) {
                Ok(token) => return Ok(token),
                Err(failed) => failed,
            };
            let Some(pause) = plan.pause(&failed, until) else { return Err(failed) };
            tracing::debug!(?pause, because = %failed.error, "logging in again");
            sleep(pause).await;
        }
    }

    /// Makes one attempt, which may be made twice as well as once.
    async fn exchange(&self) -> Result<IssuedToken, FailedAttempt<LoginFailure>> {
        let secret = self.secret.current().await;
        let asked = Instant::now();
        let broken = |error: reqwest::Error| {
            let fault = TransportFault::of(&error);
            let cause = format!("{:#}", anyhow::Error::from(error.without_url()));
            FailedAttempt { error: LoginFailure::Transport(fault, cause), again: fault.may_pass(true), pause: None }
        };
        let mut response = self.protocol.request(&self.http, &self.id, &secret).send().await.map_err(broken)?;
        let body = read(&mut response, MAX_ANSWER).await.map_err(broken)?;
        let status = response.status();
        self.protocol.token(status, &body, asked).map_err(|refusal| FailedAttempt {
            error: refusal.without(&secret),
            again: status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            pause: retry_after::pause(response.headers(), SystemTime::now()),
        })
    }

    fn state(&self) -> MutexGuard<'_, LoginState> {
        ignore_poison(self.state.lock())
    }
}

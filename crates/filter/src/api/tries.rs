//! Attempts of one call until it has an answer, and their outcomes.

use std::time::SystemTime;

use reqwest::{
    Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    AllowedCall, ApiAnswer, ApiClientInner, CallRefusal,
    attempt::{FailedAttempt, RetryPlan, TransportFault, read},
    login::FailedLogin,
    token::ApiBearer,
};
use crate::outgoing::retry_after;

const NO_TOKEN: &str = "the router has no token for the API: its login has failed";

impl ApiClientInner {
    /// Sends a request until there is an answer, a retry does not help, or the time is over.
    pub(super) async fn send(&self, request: &AllowedCall, until: Instant) -> Result<ApiAnswer, CallRefusal> {
        let mut plan = RetryPlan::new(self.backoff, self.retries);
        let mut may_renew = true;
        loop {
            let bearer = self.bearer(request, until).await?;
            let deadline = until.min(Instant::now() + self.timeout);
            let exchange = timeout_at(deadline, self.exchange(request, bearer.as_ref())).await;
            let outcome = exchange.unwrap_or(Err(FailedAttempt {
                error: CallRefusal::Timeout,
                again: request.is_idempotent(),
                pause: None,
            }));
            if may_renew && self.renewed(&outcome, bearer.as_ref(), until).await {
                may_renew = false;
                continue;
            }
            let failed = match outcome {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let Some(pause) = plan.pause(&failed, until) else { return Err(failed.error) };
            let AllowedCall { key, method, path, .. } = request;
            tracing::debug!(key, %method, path, ?pause, because = %failed.error, "calling the API again");
            sleep(pause).await;
        }
    }

    /// The value of the header that carries the token, if the API wants one.
    async fn bearer(&self, request: &AllowedCall, until: Instant) -> Result<Option<HeaderValue>, CallRefusal> {
        match &self.token {
            None => Ok(None),
            Some(ApiBearer::Kept(kept)) => Ok(Some(kept.current().await)),
            Some(ApiBearer::Login(login)) => match timeout_at(until, login.bearer()).await {
                Ok(Ok(bearer)) => Ok(Some(bearer)),
                Ok(Err(FailedLogin)) => Err(request.failed(NO_TOKEN)),
                Err(_) => Err(CallRefusal::Timeout),
            },
        }
    }

    /// Returns whether the API has turned the token away, and there is another one now.
    async fn renewed(
        &self,
        outcome: &Result<ApiAnswer, FailedAttempt<CallRefusal>>,
        sent: Option<&HeaderValue>,
        until: Instant,
    ) -> bool {
        let (Some(ApiBearer::Login(login)), Some(sent)) = (&self.token, sent) else { return false };
        let answer = match outcome {
            Ok(answer) | Err(FailedAttempt { error: CallRefusal::Status(answer), .. }) => answer,
            Err(_) => return false,
        };
        login.is_turned_away(answer)
            && matches!(timeout_at(until, login.bearer_after(sent)).await, Ok(Ok(bearer)) if bearer != *sent)
    }

    /// Makes one attempt.
    async fn exchange(
        &self,
        request: &AllowedCall,
        bearer: Option<&HeaderValue>,
    ) -> Result<ApiAnswer, FailedAttempt<CallRefusal>> {
        let mut sending = self.http.request(request.method.clone(), &request.url);
        if let Some(bearer) = bearer {
            sending = sending.header(AUTHORIZATION, bearer.clone());
        }
        if let Some(body) = &request.body {
            if !request.headers.contains_key(CONTENT_TYPE) {
                sending = sending.header(CONTENT_TYPE, "application/json; charset=utf-8");
            }
            sending = sending.body(body.clone());
        }
        sending = sending.headers(request.headers.clone());
        let mut response = sending.send().await.map_err(|error| broken(request, error))?;
        let body = read(&mut response, self.max_body).await.map_err(|error| broken(request, error))?;
        if !response.status().is_success() {
            return Err(no_success(request, &response, body, self.max_body));
        }
        if body.len() > self.max_body {
            let why = format_args!("the answer has more bytes than the limit of {}", self.max_body);
            return Err(FailedAttempt::last(request.failed(why)));
        }
        Ok(answer(&response, body))
    }
}

fn answer(response: &Response, body: Vec<u8>) -> ApiAnswer {
    let headers = response.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    ApiAnswer { status: response.status().as_u16(), headers: headers.collect(), body: body.into() }
}

fn no_success(
    request: &AllowedCall,
    response: &Response,
    mut body: Vec<u8>,
    limit: usize,
) -> FailedAttempt<CallRefusal> {
    let status = response.status();
    body.truncate(limit);
    let was_turned_away = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    FailedAttempt {
        error: CallRefusal::Status(answer(response, body)),
        again: was_turned_away || status.is_server_error() && request.is_idempotent(),
        pause: retry_after::pause(response.headers(), SystemTime::now()),
    }
}

/// Classifies a transport error. Its own text names the address, so it goes to the log alone.
fn broken(request: &AllowedCall, error: reqwest::Error) -> FailedAttempt<CallRefusal> {
    let fault = TransportFault::of(&error);
    let AllowedCall { key, method, path, .. } = request;
    let error = format!("{:#}", anyhow::Error::from(error.without_url()));
    tracing::warn!(key, %method, path, error, "a call of the API failed");
    FailedAttempt { error: request.failed(fault), again: fault.may_pass(request.is_idempotent()), pause: None }
}

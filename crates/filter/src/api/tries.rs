//! Attempts of one call until it has an answer, and their outcomes.

use std::{
    error::Error as StdError,
    time::{Duration, SystemTime},
};

use reqwest::{
    Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{AllowedCall, ApiAnswer, ApiClientInner, CallRefusal};
use crate::outgoing::{PrivateAddress, retry_after};

/// A failed attempt.
struct FailedAttempt {
    refusal: CallRefusal,
    again: bool,
    /// Pause requested by the API.
    pause: Option<Duration>,
}

impl FailedAttempt {
    fn last(refusal: CallRefusal) -> Self {
        Self { refusal, again: false, pause: None }
    }
}

impl ApiClientInner {
    /// Sends a request until there is an answer, a retry does not help, or the time is over.
    pub(super) async fn send(&self, request: &AllowedCall, until: Instant) -> Result<ApiAnswer, CallRefusal> {
        let mut backoff = self.backoff;
        let mut tries = 0;
        loop {
            let deadline = until.min(Instant::now() + self.timeout);
            let miss = match timeout_at(deadline, self.exchange(request)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(miss)) => miss,
                Err(_) => FailedAttempt { refusal: CallRefusal::Timeout, again: request.is_idempotent(), pause: None },
            };
            let wait = backoff.next_wait();
            let pause = miss.pause.unwrap_or(wait);
            let is_in_time = Instant::now().checked_add(pause).is_some_and(|next| next < until);
            if !miss.again || tries == self.retries || !is_in_time {
                return Err(miss.refusal);
            }
            let AllowedCall { key, method, path, .. } = request;
            tracing::debug!(key, %method, path, ?pause, because = %miss.refusal, "calling the API again");
            sleep(pause).await;
            tries += 1;
        }
    }

    /// Makes one attempt.
    async fn exchange(&self, request: &AllowedCall) -> Result<ApiAnswer, FailedAttempt> {
        let mut sending = self.http.request(request.method.clone(), &request.url);
        if let Some(token) = &self.token {
            sending = sending.header(AUTHORIZATION, token.current().await);
        }
        if let Some(body) = &request.body {
            if !request.headers.contains_key(CONTENT_TYPE) {
                sending = sending.header(CONTENT_TYPE, "application/json; charset=utf-8");
            }
            sending = sending.body(body.clone());
        }
        sending = sending.headers(request.headers.clone());
        let mut response = sending.send().await.map_err(|error| miss(request, error))?;
        let body = read(&mut response, self.max_body).await.map_err(|error| miss(request, error))?;
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

/// Reads the body, up to one byte past `limit`, which shows that it is too long.
async fn read(response: &mut Response, limit: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() <= limit
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - body.len())]);
    }
    Ok(body)
}

fn answer(response: &Response, body: Vec<u8>) -> ApiAnswer {
    let headers = response.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    ApiAnswer { status: response.status().as_u16(), headers: headers.collect(), body: body.into() }
}

fn no_success(request: &AllowedCall, response: &Response, mut body: Vec<u8>, limit: usize) -> FailedAttempt {
    let status = response.status();
    body.truncate(limit);
    let was_turned_away = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    FailedAttempt {
        refusal: CallRefusal::Status(answer(response, body)),
        again: was_turned_away || status.is_server_error() && request.is_idempotent(),
        pause: retry_after::pause(response.headers(), SystemTime::now()),
    }
}

/// Classifies a transport error. Its own text names the address, so it goes to the log alone.
fn miss(request: &AllowedCall, error: reqwest::Error) -> FailedAttempt {
    let error = error.without_url();
    let (why, again) = if is_private(&error) {
        ("the API has a private address, and `allow_private` is not set in `[api]`", false)
    } else if error.is_connect() {
        ("the API could not be reached", true)
    } else {
        ("the connection broke before the answer was complete", request.is_idempotent())
    };
    let AllowedCall { key, method, path, .. } = request;
    tracing::warn!(key, %method, path, error = format!("{:#}", anyhow::Error::from(error)), "a call of the API failed");
    FailedAttempt { refusal: request.failed(why), again, pause: None }
}

fn is_private(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |cause| (*cause).source()).any(|cause| cause.is::<PrivateAddress>())
}

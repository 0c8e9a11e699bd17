//! Attempts of calls and logins: how they fail, and whether another one follows.

use std::{error::Error as StdError, fmt, iter, time::Duration};

use reqwest::Response;
use tokio::time::Instant;

use crate::{backoff::Backoff, outgoing::PrivateAddress};

/// A failed attempt.
pub(super) struct FailedAttempt<E> {
    pub(super) error: E,
    /// True if another attempt may help.
    pub(super) again: bool,
    /// Pause requested by the server.
    pub(super) pause: Option<Duration>,
}

impl<E> FailedAttempt<E> {
    pub(super) fn last(error: E) -> Self {
        Self { error, again: false, pause: None }
    }
}

/// Attempts that may follow a failed one.
pub(super) struct RetryPlan {
    backoff: Backoff,
    left: u32,
}

impl RetryPlan {
    pub(super) fn new(backoff: Backoff, retries: u32) -> Self {
        Self { backoff, left: retries }
    }

    /// Returns the pause before the next attempt, or `None` if there is none before `until`.
    pub(super) fn pause<E>(&mut self, failed: &FailedAttempt<E>, until: Instant) -> Option<Duration> {
        let wait = self.backoff.next_wait();
        let pause = failed.pause.unwrap_or(wait);
        let is_in_time = Instant::now().checked_add(pause).is_some_and(|next| next < until);
        if !failed.again || !is_in_time {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        Some(pause)
    }
}

/// Failure of the connection. Its text names no address.
#[derive(Clone, Copy, Debug)]
pub(super) enum TransportFault {
    Private,
    NoConnection,
    Broken,
}

impl TransportFault {
    pub(super) fn of(error: &reqwest::Error) -> Self {
        let mut causes = iter::successors(error.source(), |cause| (*cause).source());
        if causes.any(|cause| cause.is::<PrivateAddress>()) {
            Self::Private
        } else if error.is_connect() {
            Self::NoConnection
        } else {
            Self::Broken
        }
    }

    /// Returns whether another attempt may help, and does no harm.
    pub(super) fn may_pass(self, is_idempotent: bool) -> bool {
        match self {
            Self::Private => false,
            Self::NoConnection => true,
            Self::Broken => is_idempotent,
        }
    }
}

impl fmt::Display for TransportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Private => "the API has a private address, and `allow_private` is not set in `[api]`",
            Self::NoConnection => "the API could not be reached",
            Self::Broken => "the connection broke before the answer was complete",
        })
    }
}

/// Reads the body, up to one byte past `limit`, which shows that it is too long.
pub(super) async fn read(response: &mut Response, limit: usize) -> reqwest::Result<Vec<u8>> {
    let mut body = Vec::new();
    while body.len() <= limit
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk[..chunk.len().min(limit + 1 - body.len())]);
    }
    Ok(body)
}

//! Waiting for the server at startup.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    backoff::Backoff,
    config::NatsConfig,
    nats::{ApiError, ConnectError, ConnectTrouble},
};

/// Waits between two tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
/// Interval at which the wait is logged.
const AGAIN: Duration = Duration::from_secs(60);

/// The time for which startup waits for a server that is away, without a leader or without
/// JetStream. Errors that waiting can't resolve, such as wrong credentials, end it at once.
pub(super) struct StartupPatience {
    /// `None` waits forever.
    until: Option<Instant>,
    servers: String,
    said: Option<Instant>,
}

impl StartupPatience {
    pub(super) fn new(most: Option<Duration>, nats: Option<&NatsConfig>) -> Self {
        // A time beyond the clock's range means forever.
        let until = most.and_then(|most| Instant::now().checked_add(most));
        Self { until, servers: nats.map_or_else(String::new, |nats| nats.urls.join(", ")), said: None }
    }

    /// Repeats `attempt` while its failure may pass, and returns its result. Cancel safe if an
    /// attempt is.
    ///
    /// # Errors
    /// The last failure.
    pub(super) async fn until_done<T, F>(&mut self, mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<T>>,
    {
        let mut backoff = BACKOFF;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !is_passing(&error) || self.until.is_some_and(|until| until <= Instant::now()) {
                return Err(error);
            }
            if self.said.is_none_or(|said| said.elapsed() >= AGAIN) {
                tracing::warn!(servers = self.servers, error = format!("{error:#}"), "waiting for the NATS server");
                self.said = Some(Instant::now());
            }
            let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
            let wait = backoff.next_wait();
            sleep(left.map_or(wait, |left| wait.min(left))).await;
        }
    }
}

/// Returns whether a failure may go away without a change of the settings or of a permission.
pub(super) fn is_passing(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(|error: &ConnectError| error.trouble == ConnectTrouble::Network)
            || cause.downcast_ref().is_some_and(ApiError::is_passing)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    fn away() -> anyhow::Error {
        anyhow!(ApiError::NoResponders("$JS.API.INFO".to_owned())).context("can't read")
    }

    async fn tries(most: Option<Duration>, failures: u32, failure: fn() -> anyhow::Error) -> (anyhow::Result<()>, u32) {
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            let is_done = tries > failures;
            async move { if is_done { Ok(()) } else { Err(failure()) } }
        };
        (StartupPatience::new(most, None).until_done(attempt).await, tries)
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_waited_for() {
        let began = Instant::now();
        assert!(matches!(tries(None, 1000, away).await, (Ok(()), 1001)));
        assert!(began.elapsed() > Duration::from_secs(900), "it does not hurry");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_pass_ends_at_once() {
        let wrong = || anyhow!(ApiError::Refused { code: 10052, description: "invalid".to_owned() });
        for failure in [wrong, || anyhow!("the file is not there")] {
            assert!(matches!(tries(None, 1000, failure).await, (Err(_), 1)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn patience_has_its_end() {
        let began = Instant::now();
        let (ended, tries_made) = tries(Some(Duration::from_secs(10)), 1000, away).await;
        assert!(ended.context("it is over").is_err() && tries_made > 5);
        assert_eq!(began.elapsed().as_secs(), 10);
        assert!(matches!(tries(Some(Duration::ZERO), 1000, away).await, (Err(_), 1)));
    }
}

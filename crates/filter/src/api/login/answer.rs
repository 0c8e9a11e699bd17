//! Outcomes of a login.

use std::time::Duration;

use reqwest::{StatusCode, header::HeaderValue};
use tokio::time::Instant;
use url::form_urlencoded::byte_serialize;

use super::TransportFault;
use crate::text;

/// Part of a token's life that is left when it is renewed.
const AHEAD: u32 = 10;
/// Time that is left at least when a token is renewed that lives longer.
const LEAST_AHEAD: Duration = Duration::from_secs(30);
/// Bytes of a server's words that are shown.
const SHOWN: usize = 300;

/// A token that counts until it ends.
pub(super) struct IssuedToken {
    pub(super) bearer: HeaderValue,
    /// Start of its life: it can't have been issued earlier.
    pub(super) asked: Instant,
    /// `None` if the server does not say: it counts until the API turns it away.
    pub(super) life: Option<Duration>,
}

impl IssuedToken {
    pub(super) fn has_ended(&self) -> bool {
        self.life.is_some_and(|life| self.asked.elapsed() >= life)
    }

    /// Returns whether it is time to renew it.
    pub(super) fn is_due(&self) -> bool {
        self.life.is_some_and(|life| self.asked.elapsed() >= life.saturating_sub(ahead(life)))
    }
}

/// Time before the end of a token's life at which it is renewed.
fn ahead(life: Duration) -> Duration {
    let share = life / AHEAD;
    if life > LEAST_AHEAD { share.max(LEAST_AHEAD) } else { share }
}

/// Reason why there is no token. For the log: it may name who the router is.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginFailure {
    #[error("the server took too long")]
    Timeout,
    #[error("{0}: {1}")]
    Transport(TransportFault, String),
    #[error("the server answered {0}: {1}")]
    Refused(StatusCode, String),
}

impl LoginFailure {
    /// Puts a placeholder where the server has repeated the secret, and cuts the server's words.
    pub(super) fn without(self, secret: &str) -> Self {
        let Self::Refused(status, words) = self else { return self };
        let encoded: String = byte_serialize(secret.as_bytes()).collect();
        let words = words.replace(secret, "[secret]").replace(&encoded, "[secret]");
        Self::Refused(status, text::start(words.trim(), SHOWN).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_ahead_of_its_end() {
        for (life, expected) in [(7_200, 720), (600, 60), (301, 30), (60, 30), (31, 30), (30, 3), (10, 1), (0, 0)] {
            let expected = if life == 301 { Duration::from_millis(30_100) } else { Duration::from_secs(expected) };
            assert_eq!(ahead(Duration::from_secs(life)), expected, "{life}");
        }
    }

    #[test]
    fn a_secret_that_is_repeated_is_not_shown() {
        let said = |words: &str| LoginFailure::Refused(StatusCode::BAD_REQUEST, words.to_owned()).without("s3cr/t");
        assert_eq!(
            said("no `s3cr/t` in client_secret=s3cr%2Ft&x\n").to_string(),
            "the server answered 400 Bad Request: no `[secret]` in client_secret=[secret]&x"
        );
        let long = said(&format!("{}s3cr/t", "x".repeat(SHOWN - 2))).to_string();
        assert!(long.ends_with("x[s… and 6 bytes more"), "{long}");
    }
}

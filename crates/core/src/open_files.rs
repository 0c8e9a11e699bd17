//! The limit on files and connections that the process may have open at once.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::{Instant, sleep};

/// Time that a listener waits after a failed accept, for another connection to be closed meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// Shortest time between two warnings of a listener.
const SAID: Duration = Duration::from_mins(1);
/// Assumed limit if the system has none or does not report it.
const UNLIMITED: u64 = 1 << 20;

/// Raises the limit to its maximum.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Some systems refuse their own maximum; then the limit stays as it is.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// The connections that a listener may hold: as many as `wanted`, but at most a quarter of all
/// files, so that the rest is left to every other use.
pub fn share(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    wanted.min(usize::try_from(limit / 4).unwrap_or(usize::MAX)).max(1)
}

/// Backoff of a listener whose accepts fail. Such failures are temporary: they do not end the
/// router.
#[derive(Debug, Default)]
pub struct AcceptBackoff {
    /// Time of the last warning: one in [`SAID`], as a full table of files fails every accept.
    said: Option<Instant>,
}

impl AcceptBackoff {
    /// Logs the error, unless one was logged just before, and waits until the next try.
    pub async fn pass(&mut self, listener: &str, error: std::io::Error) {
        if self.said.is_none_or(|said| said.elapsed() >= SAID) {
            self.said = Some(Instant::now());
            tracing::warn!(listener, %error, "connections can't be accepted for now, will try again");
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes() {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(share(1), 1);
        assert!(share(usize::MAX) as u64 <= limit.current.unwrap_or(UNLIMITED) / 4);
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_is_waited_out() {
        let (mut trouble, began) = (AcceptBackoff::default(), Instant::now());
        for _ in 0..10 {
            trouble.pass("a", std::io::ErrorKind::Other.into()).await;
        }
        assert_eq!((began.elapsed(), trouble.said), (PAUSE * 10, Some(began)));
    }
}

//! How many files and connections the process may have open at once.

use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::time::{Instant, sleep};

/// How long a listener waits after a connection that it could not accept, for one to be closed meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it says so.
const SAID: Duration = Duration::from_mins(1);
/// Where the system sets no limit, or tells none.
const UNLIMITED: u64 = 1 << 20;

/// Raises the limit as far as it may be raised.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Some systems refuse what they name as the maximum; then it stays as it is.
    let _ = setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
}

/// Of so many wanted, the connections that a listener may hold: a quarter of all files is left to every other use.
pub fn share(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED);
    wanted.min(usize::try_from(limit / 4).unwrap_or(usize::MAX)).max(1)
}

/// The trouble that a listener has with accepting, which passes: the router does not end with it.
#[derive(Debug, Default)]
pub struct Trouble {
    said: Option<Instant>,
}

impl Trouble {
    /// Says what is wrong, unless that was just said, and waits until it is worth another try.
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
        let (mut trouble, began) = (Trouble::default(), Instant::now());
        for _ in 0..10 {
            trouble.pass("a", std::io::ErrorKind::Other.into()).await;
        }
        assert_eq!((began.elapsed(), trouble.said), (PAUSE * 10, Some(began)));
    }
}

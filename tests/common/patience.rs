//! Waiting until something is so, and failing when it never is.
#![allow(dead_code, reason = "each test file uses its part")]

use crate::router::PATIENCE;

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// The time between two questions.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    until_ok(what, async || is_so().await.then_some(()).ok_or("it is not")).await;
}

/// Asks until there is an answer, and returns it. The last error is shown when there never is one.
pub async fn until_ok<T, E: Display>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, E>) -> T {
    // By the clock of the machine: a test may have stopped that of the runtime.
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}: {error}"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The same for tests without a runtime.
pub mod blocking {
    use super::{Display, Instant, PATIENCE, PAUSE};

    pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
        until_ok(what, || is_so().then_some(()).ok_or("it is not"));
    }

    pub fn until_ok<T, E: Display>(what: &str, mut ask: impl FnMut() -> Result<T, E>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match ask() {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}: {error}"),
            }
            std::thread::park_timeout(PAUSE);
        }
    }
}

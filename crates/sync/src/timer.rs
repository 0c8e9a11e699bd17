//! Waiting for a time that may not be set.

use tokio::time::{Instant, sleep_until};

/// Sleeps until `due`, for ever if there is none. Cancel safe.
pub async fn sleep_until_due(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_a_time_it_sleeps_for_ever() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        sleep_until_due(Some(start + second)).await;
        assert_eq!(start.elapsed(), second);
        assert!(timeout(Duration::from_secs(1 << 30), sleep_until_due(None)).await.is_err());
    }
}

//! How long calls take, by a sample of them: to look at the clock for each would cost half of a small one.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// One call in so many, the first among them.
const ONE_IN: u64 = 64;

/// The time of some calls.
#[derive(Debug, Default)]
pub struct Sampled {
    calls: AtomicU64,
    nanos: AtomicU64,
}

impl Sampled {
    /// Begins to take the time of a call, by its number, if it is in the sample.
    pub fn begin(number: u64) -> Option<Instant> {
        number.is_multiple_of(ONE_IN).then(Instant::now)
    }

    /// The call has ended.
    pub fn end(&self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Of a call, on average; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        let nanos = self.nanos.load(Ordering::Relaxed).checked_div(self.calls.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(nanos))
    }
}

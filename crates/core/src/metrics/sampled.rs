//! Sampled duration of calls: reading the clock for each would cost half as much as a small call.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// One call in this many is measured, the first among them.
const ONE_IN: u64 = 64;

/// Total time and number of the measured calls.
#[derive(Debug, Default)]
pub struct SampledTime {
    calls: AtomicU64,
    nanos: AtomicU64,
}

impl SampledTime {
    /// Starts the clock for a call, by its number, if it is in the sample.
    pub fn begin(number: u64) -> Option<Instant> {
        number.is_multiple_of(ONE_IN).then(Instant::now)
    }

    /// Adds the time of a call that was measured.
    pub fn end(&self, began: Option<Instant>) {
        let Some(began) = began else { return };
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns the mean time of a call; `None` before the first.
    pub fn mean(&self) -> Option<Duration> {
        let nanos = self.nanos.load(Ordering::Relaxed).checked_div(self.calls.load(Ordering::Relaxed))?;
        Some(Duration::from_nanos(nanos))
    }
}

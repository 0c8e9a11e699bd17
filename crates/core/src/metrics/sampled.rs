//! Sampled durations: reading the clock for each call would cost half as much as a small call.

use std::time::Instant;

use super::durations::{DurationCounts, DurationHistogram};

/// Durations of one in `ONE_IN`, the first among them.
#[derive(Debug, Default)]
pub struct SampledTime<const ONE_IN: u64, const FIRST: u64>(DurationHistogram<FIRST>);

/// Durations of a filter's calls.
pub type CallTime = SampledTime<64, 1_000>;
/// Durations of a sink's outputs. Most cost far more than a call.
pub type OutputTime = SampledTime<8, 100_000>;

impl<const ONE_IN: u64, const FIRST: u64> SampledTime<ONE_IN, FIRST> {
    /// Starts the clock, by the number of what begins, if that is in the sample.
    pub fn begin(number: u64) -> Option<Instant> {
        number.is_multiple_of(ONE_IN).then(Instant::now)
    }

    /// Adds what is measured, for each of `many` that it took.
    pub fn end(&self, began: Option<Instant>, many: usize) {
        let Some(began) = began else { return };
        self.0.observe(began.elapsed() / u32::try_from(many.max(1)).unwrap_or(u32::MAX));
    }

    /// Returns the durations of the sample.
    pub fn durations(&self) -> DurationCounts<FIRST> {
        self.0.counts()
    }
}

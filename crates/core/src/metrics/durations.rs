//! Histogram of durations, cheap enough for every event: two relaxed additions, no lock and no
//! memory beyond its buckets.

use std::{
    array, fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric},
};

/// Number of bounds: 1, 2.5 and 5 in each of eight decades.
const BOUNDS: usize = 24;

/// Durations of calls of filters: 1 µs to 50 s.
pub type CallDurations = DurationCounts<1_000>;
/// Durations of what events and outputs go through: 100 µs to 5,000 s.
pub type EventDurations = DurationCounts<100_000>;

/// Histogram of what events and outputs go through.
pub type EventHistogram = DurationHistogram<100_000>;

/// Histogram of durations. Its first bucket ends at `FIRST` nanoseconds, its last bound is fifty
/// million times that.
#[derive(Debug, Default)]
pub struct DurationHistogram<const FIRST: u64> {
    /// Durations by bucket; the last one has those beyond all bounds.
    counts: [AtomicU64; BOUNDS + 1],
    nanos: AtomicU64,
}

impl<const FIRST: u64> DurationHistogram<FIRST> {
    pub fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = DurationCounts::<FIRST>::BOUNDS.partition_point(|bound| *bound < nanos);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns what was observed so far.
    pub fn counts(&self) -> DurationCounts<FIRST> {
        DurationCounts {
            counts: array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }
}

/// What a [`DurationHistogram`] has observed, by bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationCounts<const FIRST: u64> {
    counts: [u64; BOUNDS + 1],
    nanos: u64,
}

impl<const FIRST: u64> DurationCounts<FIRST> {
    /// Upper bounds of the buckets, in nanoseconds.
    const BOUNDS: [u64; BOUNDS] = bounds(FIRST);

    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Returns the mean; `None` if nothing was observed.
    pub fn mean(&self) -> Option<Duration> {
        self.nanos.checked_div(self.count()).map(Duration::from_nanos)
    }

    /// Returns the duration that this part of all do not exceed, such as 0.99, to within its
    /// bucket. `None` if nothing was observed.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = part.clamp(0.0, 1.0) * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            lower = bucket.checked_sub(1).map_or(0.0, |before| Self::BOUNDS[before] as f64);
            let (count, upper) = (*count as f64, Self::BOUNDS.get(bucket).map_or(lower, |bound| *bound as f64));
            if below + count >= rank {
                let nanos = lower + (upper - lower) * ((rank - below) / count).max(0.0);
                return Some(Duration::from_nanos(nanos as u64));
            }
            below += count;
        }
        (below > 0.0).then(|| Duration::from_nanos(lower as u64))
    }

    /// Returns what was observed after `earlier`, counts of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            counts: array::from_fn(|bucket| self.counts[bucket].saturating_sub(earlier.counts[bucket])),
            nanos: self.nanos.saturating_sub(earlier.nanos),
        }
    }
}

const fn bounds(first: u64) -> [u64; BOUNDS] {
    let (mut bounds, mut decade, mut at) = ([0; BOUNDS], first, 0);
    while at < BOUNDS {
        (bounds[at], bounds[at + 1], bounds[at + 2]) = (decade, decade * 5 / 2, decade * 5);
        (decade, at) = (decade * 10, at + 3);
    }
    bounds
}

impl<const FIRST: u64> TypedMetric for DurationCounts<FIRST> {
    const TYPE: MetricType = MetricType::Histogram;
}

impl<const FIRST: u64> EncodeMetric for DurationCounts<FIRST> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        // Parsed: a division by a billion would print some bounds with all their digits.
        let seconds = |nanos: u64| format!("{nanos}e-9").parse().unwrap_or(f64::INFINITY);
        let bounds = Self::BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets: Vec<_> = bounds.zip(self.counts).collect();
        encoder.encode_histogram::<NoLabelSet>(self.sum().as_secs_f64(), self.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(all: &[Duration]) -> EventDurations {
        let histogram = DurationHistogram::default();
        all.iter().for_each(|duration| histogram.observe(*duration));
        histogram.counts()
    }

    #[test]
    fn a_duration_is_in_the_first_bucket_that_it_does_not_exceed() {
        let ends = [0, 100, 101, 250, 251].map(Duration::from_micros);
        assert_eq!(of(&ends).counts[..4], [2, 2, 1, 0]);
        let beyond = of(&[Duration::from_secs(5_000), Duration::from_secs(5_001), Duration::MAX]);
        assert_eq!(beyond.counts[BOUNDS - 1..], [1, 2]);
    }

    #[test]
    fn quantiles_are_told_to_within_a_bucket() {
        assert_eq!(of(&[]).quantile(0.5), None);
        assert_eq!(of(&[]).mean(), None);
        let ms = Duration::from_millis;
        let all: Vec<_> = (1..=100).map(ms).collect();
        let counts = of(&all);
        assert_eq!((counts.count(), counts.sum(), counts.mean()), (100, ms(5050), Some(ms(50) + ms(1) / 2)));
        for (part, low, high) in [(0.0, 0, 1), (0.5, 25, 50), (0.99, 50, 100), (1.0, 50, 100), (7.0, 50, 100)] {
            let found = counts.quantile(part).unwrap();
            assert!((ms(low)..=ms(high)).contains(&found), "{part}: {found:?}");
        }
        // Beyond all bounds only the last of them is known.
        assert_eq!(of(&[Duration::MAX]).quantile(0.5), Some(Duration::from_secs(5_000)));
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let histogram = DurationHistogram::<1_000>::default();
        histogram.observe(Duration::from_secs(9));
        let earlier = histogram.counts();
        histogram.observe(Duration::from_micros(1));
        let since = histogram.counts().since(&earlier);
        assert_eq!((since.count(), since.sum()), (1, Duration::from_micros(1)));
    }
}

//! Values that filters measure themselves.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, gauge::Gauge, histogram::Histogram},
};

use super::family::LabeledFamily;
use crate::poison::ignore_poison;

/// Upper bounds of a histogram's buckets: what is measured may be seconds, bytes or counts.
const BUCKETS: [f64; 19] =
    [1e-3, 5e-3, 1e-2, 5e-2, 0.1, 0.5, 1.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1e3, 5e3, 1e4, 5e4, 1e5, 5e5, 1e6];

/// Kind of a filter's own metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeasureKind {
    Counter,
    Gauge,
    Histogram,
}

impl MeasureKind {
    pub const ALL: [Self; 3] = [Self::Counter, Self::Gauge, Self::Histogram];

    /// The word for it in a manifest.
    pub fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A filter's own metric for one key. Clones share the value.
#[derive(Clone, Debug)]
pub enum FilterMeasure {
    Counter(Counter<f64, AtomicU64>),
    Gauge(Gauge<f64, AtomicU64>),
    Histogram(Histogram),
}

impl FilterMeasure {
    fn new(kind: MeasureKind) -> Self {
        match kind {
            MeasureKind::Counter => Self::Counter(Counter::default()),
            MeasureKind::Gauge => Self::Gauge(Gauge::default()),
            MeasureKind::Histogram => Self::Histogram(Histogram::new(BUCKETS)),
        }
    }

    fn kind(&self) -> MeasureKind {
        match self {
            Self::Counter(_) => MeasureKind::Counter,
            Self::Gauge(_) => MeasureKind::Gauge,
            Self::Histogram(_) => MeasureKind::Histogram,
        }
    }

    /// Takes one value. What is not finite is passed over, and so is less than nothing for a
    /// counter.
    pub fn record(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        match self {
            Self::Counter(counter) => {
                counter.inc_by(value.max(0.0));
            }
            Self::Gauge(gauge) => {
                gauge.set(value);
            }
            Self::Histogram(histogram) => histogram.observe(value),
        }
    }
}

/// Names of a key and of a metric.
type MeasureName = (Arc<str>, Arc<str>);

/// Values of one filter, by key and metric.
#[derive(Debug, Default)]
pub struct MeasuredValues(Mutex<BTreeMap<MeasureName, FilterMeasure>>);

impl MeasuredValues {
    /// Returns the metrics of a key, by name: those that it had go on, and those that are not
    /// `declared` any more end.
    pub fn of_key<'a>(
        &self,
        key: &Arc<str>,
        declared: impl Iterator<Item = (&'a str, MeasureKind)>,
    ) -> Vec<(Arc<str>, FilterMeasure)> {
        let mut values = ignore_poison(self.0.lock());
        let mut before: BTreeMap<_, _> = values.extract_if(.., |(of, _), _| of == key).collect();
        let mut all = Vec::new();
        for (name, kind) in declared {
            let place = (Arc::clone(key), Arc::from(name));
            let known = before.remove(&place).filter(|known| known.kind() == kind);
            let measure = known.unwrap_or_else(|| FilterMeasure::new(kind));
            values.insert(place.clone(), measure.clone());
            all.push((place.1, measure));
        }
        all
    }

    /// Drops the values of keys that are no longer in use.
    pub(super) fn retain(&self, is_key: impl Fn(&str) -> bool) {
        ignore_poison(self.0.lock()).retain(|(key, _), _| is_key(key));
    }

    /// Adds the values to the families of their kinds.
    pub(super) fn show(&self, filter: &str, families: &mut MeasuredFamilies) {
        let MeasuredFamilies { counters, gauges, histograms } = families;
        for ((key, metric), measure) in &*ignore_poison(self.0.lock()) {
            let labels = MeasureLabels { name: filter.to_owned(), key: key.to_string(), metric: metric.to_string() };
            match measure {
                FilterMeasure::Counter(counter) => counters.0.push((labels, counter.clone())),
                FilterMeasure::Gauge(gauge) => gauges.0.push((labels, gauge.clone())),
                FilterMeasure::Histogram(histogram) => histograms.0.push((labels, histogram.clone())),
            }
        }
    }
}

/// Values of all filters by kind, in the form of an exposition.
#[derive(Default)]
pub(super) struct MeasuredFamilies {
    pub(super) counters: LabeledFamily<MeasureLabels, Counter<f64, AtomicU64>>,
    pub(super) gauges: LabeledFamily<MeasureLabels, Gauge<f64, AtomicU64>>,
    pub(super) histograms: LabeledFamily<MeasureLabels, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct MeasureLabels {
    name: String,
    key: String,
    metric: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn values_are_shown_with_filter_key_and_name() {
        let metrics = Metrics::default();
        let measured = &metrics.filter("f").measured;
        let kinds = [("c", MeasureKind::Counter), ("g", MeasureKind::Gauge), ("h", MeasureKind::Histogram)];
        for (_, measure) in measured.of_key(&"k".into(), kinds.into_iter()) {
            for value in [2.0, f64::NAN, 0.5, f64::INFINITY, -1.0] {
                measure.record(value);
            }
        }
        let page = metrics.exposition();
        for line in [
            "trommel_filter_custom_counter_total{name=\"f\",key=\"k\",metric=\"c\"} 2.5",
            "trommel_filter_custom_gauge{name=\"f\",key=\"k\",metric=\"g\"} -1.0",
            "trommel_filter_custom_histogram_count{name=\"f\",key=\"k\",metric=\"h\"} 3",
        ] {
            assert!(page.contains(line), "{line}:\n{page}");
        }
    }

    #[test]
    fn values_outlast_a_reload_and_end_with_their_declaration() {
        let (measured, key) = (MeasuredValues::default(), Arc::from("k"));
        let count = |kinds: &[(&str, MeasureKind)]| {
            let all = measured.of_key(&key, kinds.iter().copied());
            all.iter().for_each(|(_, measure)| measure.record(1.0));
            let FilterMeasure::Counter(counter) = &all[0].1 else { panic!("no counter") };
            (all.len(), counter.get())
        };
        let (a, b) = (("a", MeasureKind::Counter), ("b", MeasureKind::Gauge));
        assert_eq!(count(&[a, b]), (2, 1.0));
        assert_eq!(count(&[a]), (1, 2.0));
        assert_eq!(measured.0.lock().unwrap().len(), 1);
        measured.retain(|_| false);
        assert_eq!(count(&[a]), (1, 1.0));
    }
}

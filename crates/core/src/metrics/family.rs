//! Metrics of one name with their labels.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// Metrics of one kind with their labels, as they are when the page is written.
#[derive(Debug)]
pub(super) struct LabeledFamily<L, M>(pub(super) Vec<(L, M)>);

impl<L, M> Default for LabeledFamily<L, M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<L: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for LabeledFamily<L, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(labels, metric)| metric.encode(encoder.encode_family(labels)?))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

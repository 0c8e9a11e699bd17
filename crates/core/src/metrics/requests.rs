//! Counters of HTTP requests.

use std::collections::BTreeMap;

use prometheus_client::metrics::counter::Counter;

use super::ReasonCounts;

/// Counters of the requests to a listening source.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    /// Requests answered with success.
    pub taken: Counter,
    refused: ReasonCounts,
}

impl RequestMetrics {
    pub fn refuse(&self, reason: &'static str) {
        self.refused.add(reason);
    }

    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.all()
    }
}

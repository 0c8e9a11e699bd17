//! Counters of HTTP requests.

use std::{collections::BTreeMap, sync::Mutex};

use prometheus_client::metrics::counter::Counter;

use crate::poison::ignore_poison;

/// Counters of the requests to a listening source.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    /// Requests answered with success.
    pub taken: Counter,
    /// Rejected requests by reason code; all codes are our own.
    refused: Mutex<BTreeMap<&'static str, u64>>,
}

impl RequestMetrics {
    pub fn refuse(&self, reason: &'static str) {
        *ignore_poison(self.refused.lock()).entry(reason).or_default() += 1;
    }

    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        ignore_poison(self.refused.lock()).clone()
    }
}

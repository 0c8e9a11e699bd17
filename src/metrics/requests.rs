//! Counters of HTTP requests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::metrics::counter::Counter;

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
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

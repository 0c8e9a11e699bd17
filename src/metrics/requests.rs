//! What became of requests.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use prometheus_client::metrics::counter::Counter;

/// What a source that listens did with the requests that it got.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    /// Answered with success.
    pub taken: Counter,
    /// By reason code, all of which are ours.
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

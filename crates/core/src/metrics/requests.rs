//! Counters of HTTP requests.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

use super::ReasonCounts;

/// Connections of a listener.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    pub open: Gauge,
    /// Connections that may be open at once.
    pub limit: Gauge,
}

/// Counters of the requests to a listening source.
#[derive(Debug, Default)]
pub struct RequestMetrics {
    /// Requests answered with success.
    pub taken: Counter,
    refused: ReasonCounts,
    pub connections: Arc<ConnectionMetrics>,
}

impl RequestMetrics {
    pub fn refuse(&self, reason: &'static str) {
        self.refused.add(reason);
    }

    pub fn refused(&self) -> BTreeMap<&'static str, u64> {
        self.refused.all()
    }
}

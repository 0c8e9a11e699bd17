//! The export of spans.

use std::{fmt, time::Duration};

use url::Url;

/// The export of spans to an OpenTelemetry collector. Values of headers are not shown by `Debug`.
#[derive(Clone, PartialEq)]
pub struct TelemetryConfig {
    /// Address of the collector, `http` or `https`, without `/v1/traces`.
    pub otlp: Url,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// Timeout of one batch, its retries included.
    pub timeout: Duration,
    /// Share of the traces beginning here that is exported. Events that arrive with a trace follow
    /// the decision made for it.
    pub sample: f64,
    pub service_name: String,
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("TelemetryConfig")
            .field("otlp", &self.otlp.as_str())
            .field("headers", &headers)
            .finish_non_exhaustive()
    }
}

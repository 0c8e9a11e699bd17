//! What the router shows of a filter beside its outputs.

/// Adds to a counter, sets a gauge, or is one value of a histogram. The manifest names the metrics:
/// `export!(Large, manifest = r#"{"metrics": [{"name": "large", "kind": "counter"}]}"#)`.
pub fn measure(metric: &str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::trommel::filter::telemetry::measure(metric, value);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::measure(metric, value);
}

/// Adds an attribute to the span of the call, if the event is traced.
pub fn annotate(name: &str, value: &str) {
    #[cfg(target_arch = "wasm32")]
    crate::bindings::trommel::filter::telemetry::annotate(name, value);
    #[cfg(not(target_arch = "wasm32"))]
    crate::testing::annotate(name, value);
}

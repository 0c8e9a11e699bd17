//! Resource limits of guests, and retries.

use std::time::Duration;

use super::RetryPolicy;

/// Resource limits of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestLimits {
    /// CPU time of one `matches`.
    pub match_cpu: Duration,
    /// CPU time of one `process`.
    pub process_cpu: Duration,
    /// Wall time of one `process`, calls to the host included.
    pub process_wall: Duration,
    /// Wall time of instantiation, `describe`, the constructor, `normalize-params`.
    pub load: Duration,
    /// Memory of one instance, in bytes.
    pub memory: usize,
    /// Bytes of one emission.
    pub output: usize,
    /// Emissions of one event.
    pub emissions: usize,
    /// Calls to the host for one event.
    pub host_calls: u32,
    /// Log lines for one event.
    pub log_lines: u32,
    /// Bytes of a component.
    pub component: usize,
    /// Bytes of memory that compiling it may take.
    pub compile_memory: usize,
    /// CPU time that compiling it may take.
    pub compile_cpu: Duration,
    /// Bytes that all filters together may keep in `state`.
    pub state: usize,
}

impl Default for GuestLimits {
    fn default() -> Self {
        Self {
            match_cpu: Duration::from_millis(10),
            process_cpu: Duration::from_millis(100),
            process_wall: Duration::from_secs(5),
            load: Duration::from_secs(5),
            memory: 64 << 20,
            output: 1 << 20,
            emissions: 1_000,
            host_calls: 16,
            log_lines: 64,
            component: 64 << 20,
            compile_memory: 512 << 20,
            compile_cpu: Duration::from_mins(1),
            state: 256 << 20,
        }
    }
}

/// The limits that a key may set for its own calls; the rest belong to the component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitOverrides {
    pub match_cpu: Option<Duration>,
    pub process_cpu: Option<Duration>,
    pub process_wall: Option<Duration>,
    pub output: Option<usize>,
    pub emissions: Option<usize>,
    pub host_calls: Option<u32>,
    pub log_lines: Option<u32>,
}

/// Default for events that a filter could not process.
pub const KEY_RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(5), patience: Duration::from_secs(30) };

/// Default for outputs that a sink refused.
pub const SINK_RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(10), patience: Duration::from_secs(60) };

//! `[limits]`, the `limits` of filters and keys, and `retry`.

use std::time::Duration;

use super::{
    RetryPolicy,
    table::{PlacedValue, TomlTable},
};

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

/// Reads `[limits]`: the memory of the whole router, if it is given, and the default limits of
/// components.
pub(super) fn router(table: &mut TomlTable<'_>) -> (Option<PlacedValue<u64>>, GuestLimits) {
    let memory = table.size("memory").map(|value| PlacedValue { value, place: table.place_of("memory") });
    (memory, limits(table, GuestLimits::default(), "instance_memory"))
}

/// Reads the limits of a component, with defaults from `base`. Only calls and log lines may be
/// forbidden with a zero. `memory` is the name of the field for the memory of an instance.
pub(super) fn limits(table: &mut TomlTable<'_>, base: GuestLimits, memory: &'static str) -> GuestLimits {
    let LimitOverrides { match_cpu, process_cpu, process_wall, output, emissions, host_calls, log_lines } =
        overrides(table);
    GuestLimits {
        match_cpu: match_cpu.unwrap_or(base.match_cpu),
        process_cpu: process_cpu.unwrap_or(base.process_cpu),
        process_wall: process_wall.unwrap_or(base.process_wall),
        output: output.unwrap_or(base.output),
        emissions: emissions.unwrap_or(base.emissions),
        host_calls: host_calls.unwrap_or(base.host_calls),
        log_lines: log_lines.unwrap_or(base.log_lines),
        load: table.duration("load").unwrap_or(base.load),
        memory: table.memory_size(memory).unwrap_or(base.memory),
        component: table.memory_size("component").unwrap_or(base.component),
        compile_memory: table.memory_size("compile_memory").unwrap_or(base.compile_memory),
        compile_cpu: table.duration("compile_cpu").unwrap_or(base.compile_cpu),
        state: table.memory_size("state").unwrap_or(base.state),
    }
}

/// Reads the limits that a key may set.
pub(super) fn overrides(table: &mut TomlTable<'_>) -> LimitOverrides {
    LimitOverrides {
        match_cpu: table.duration("match_cpu"),
        process_cpu: table.duration("process_cpu"),
        process_wall: table.duration("process_wall"),
        output: table.memory_size("output"),
        emissions: table.count_from("emissions", 1),
        host_calls: table.count_from("host_calls", 0),
        log_lines: table.count_from("log_lines", 0),
    }
}

/// Default for events that a filter could not process.
pub(super) const KEY_RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(5), patience: Duration::from_secs(30) };

/// Default for outputs that a sink refused.
pub(super) const SINK_RETRY: RetryPolicy =
    RetryPolicy { min: Duration::from_millis(100), max: Duration::from_secs(10), patience: Duration::from_secs(60) };

/// Reads the table `retry` inside `table`.
pub(super) fn retry(table: &mut TomlTable<'_>, base: RetryPolicy) -> RetryPolicy {
    let read = |table: &mut TomlTable<'_>| {
        let (min, max) = waits(table, (base.min, base.max));
        RetryPolicy { min, max, patience: table.duration_or_zero("patience").unwrap_or(base.patience) }
    };
    table.table("retry", read).unwrap_or(base)
}

/// Reads the shortest and the longest wait before another try. If only one is given it moves the
/// default of the other, so that the two never contradict each other.
pub(super) fn waits(table: &mut TomlTable<'_>, base: (Duration, Duration)) -> (Duration, Duration) {
    let given = (table.duration("min"), table.duration("max"));
    let min = given.0.unwrap_or_else(|| given.1.map_or(base.0, |max| base.0.min(max)));
    let max = given.1.unwrap_or_else(|| given.0.map_or(base.1, |min| base.1.max(min)));
    if min > max {
        table.error(table.place_of("min"), "`min` is longer than `max`", None);
    }
    (min, max)
}

//! `[limits]`, the `limits` of filters and keys, and `retry`.

use std::time::Duration;

use crate::{
    config::{GuestLimits, LimitOverrides, RetryPolicy},
    table::{PlacedValue, TomlTable},
};

/// Reads `[limits]`: the memory of the whole router, if it is given, and the default limits of
/// components.
pub(crate) fn router(table: &mut TomlTable<'_>) -> (Option<PlacedValue<u64>>, GuestLimits) {
    let memory = table.size("memory").map(|value| PlacedValue { value, place: table.place_of("memory") });
    (memory, limits(table, GuestLimits::default(), "instance_memory"))
}

/// Reads the limits of a component, with defaults from `base`. Only calls and log lines may be
/// forbidden with a zero. `memory` is the name of the field for the memory of an instance.
pub(crate) fn limits(table: &mut TomlTable<'_>, base: GuestLimits, memory: &'static str) -> GuestLimits {
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
pub(crate) fn overrides(table: &mut TomlTable<'_>) -> LimitOverrides {
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

/// Reads the table `retry` inside `table`.
pub(crate) fn retry(table: &mut TomlTable<'_>, base: RetryPolicy) -> RetryPolicy {
    let read = |table: &mut TomlTable<'_>| {
        let (min, max) = waits(table, (base.min, base.max));
        RetryPolicy { min, max, patience: table.duration_or_zero("patience").unwrap_or(base.patience) }
    };
    table.table("retry", read).unwrap_or(base)
}

/// Reads the shortest and the longest wait before another try. If only one is given it moves the
/// default of the other, so that the two never contradict each other.
pub(crate) fn waits(table: &mut TomlTable<'_>, base: (Duration, Duration)) -> (Duration, Duration) {
    let given = (table.duration("min"), table.duration("max"));
    let min = given.0.unwrap_or_else(|| given.1.map_or(base.0, |max| base.0.min(max)));
    let max = given.1.unwrap_or_else(|| given.0.map_or(base.1, |min| base.1.max(min)));
    if min > max {
        table.error(table.place_of("min"), "`min` is longer than `max`", None);
    }
    (min, max)
}

//! Components: what they are given, what stops them, and how they come and go.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may print what it was given"
)]

#[path = "../common/crafted.rs"]
mod crafted;
#[path = "../common/filter.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod filter;
#[path = "../common/flow.rs"]
mod flow;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/log.rs"]
#[allow(dead_code, reason = "each test uses its part")]
mod log;
#[path = "../common/nats.rs"]
mod nats;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/proxy.rs"]
mod proxy;
#[path = "../common/router.rs"]
mod router;
#[path = "../common/stand_in.rs"]
mod stand_in;
#[path = "../common/tenure.rs"]
mod tenure;

mod api_login;
mod batched_filters;
mod component_memory;
mod component_refusals;
mod dropped_in;
mod fields_contract;
mod fields_run;
mod filter_calls;
mod filter_wasi;
mod flood;
mod frozen_cases;
mod frozen_components;
mod host_api;
mod host_api_run;
mod hostile_filters;
/// The same tests, of code that is made quickly.
#[path = "hostile_filters.rs"]
#[allow(clippy::duplicate_mod, reason = "each compiler has to keep the limits")]
mod hostile_filters_quickly;
mod hot_reload;
mod isolation;
mod lasting_state;
mod lifecycle;
mod named_apis;
mod native_conditions;
mod poison;
mod quarantine;
mod quick_calls;
mod repeated_ticks;
mod tenures_across_replicas;
mod timed_filters;

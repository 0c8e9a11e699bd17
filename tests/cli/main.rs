//! The command line, as its user sees it.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may print what it was given"
)]

#[path = "../common/crafted.rs"]
mod crafted;
#[path = "../common/flow.rs"]
mod flow;
#[path = "../common/nats.rs"]
mod nats;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/proxy.rs"]
mod proxy;
#[path = "../common/router.rs"]
mod router;
#[path = "../common/sinks.rs"]
mod sinks;
#[path = "../common/stand_in.rs"]
mod stand_in;

mod accounting;
mod alerts;
mod commands;
mod console_page;
mod consume;
mod consume_refusals;
mod consumer_folder;
mod control_socket;
mod dead_letter_retry;
mod dead_letters;
mod delivery_commands;
mod dev;
mod diff_command;
mod doctor;
mod embedded;
mod explain;
mod explain_equals_run;
mod foreign_text;
mod health;
mod history;
mod keys_command;
mod lark_schemas;
mod monitoring;
mod operations;
mod plugin_check;
mod plugin_kit;
mod printed;
mod quickstart;
mod recent_events;
mod schemas_command;
mod start;
mod streams_command;
mod tail_page;
mod telemetry;
mod test_command;
mod test_runs;
mod top;
mod verify;
mod watched_router;
mod webhook_backfill;
mod webhook_commands;
mod webhook_declarations;
mod webhook_folder;

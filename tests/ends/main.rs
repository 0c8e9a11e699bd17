//! Sources and sinks beside JetStream: lines, HTTP, files, folders, webhooks.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and may print what it was given"
)]

#[path = "../common/events.rs"]
mod events;
#[path = "../common/flow.rs"]
mod flow;
#[path = "../common/http.rs"]
mod http;
#[path = "../common/lark.rs"]
mod lark;
#[path = "../common/nats.rs"]
mod nats;
#[path = "../common/patience.rs"]
mod patience;
#[path = "../common/router.rs"]
mod router;
#[path = "../common/stand_in.rs"]
mod stand_in;

mod avro_files;
mod ctrlplane;
mod file_sinks;
mod http_identity;
mod http_limits;
mod http_rig;
mod http_source;
mod http_source_run;
mod http_tenants;
mod lark_bot;
mod lark_example;
mod lark_source;
mod lines_source;
mod saas;
mod self_service;
mod sink_policies;
mod webhook_changes;
mod webhook_post;
mod webhooks;

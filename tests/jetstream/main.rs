//! Sources and sinks on a real JetStream server, and what becomes of events when it fails.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking, and may print what it was given")]

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
#[path = "../common/source.rs"]
mod source;
#[path = "../common/stand_in.rs"]
mod stand_in;

mod at_least_once;
mod fast_ingest;
mod fleet_membership;
mod identity;
mod isolated_keys;
mod jetstream_faults;
mod jetstream_rewound;
mod jetstream_source;
mod jetstream_thaw;
mod mail_across_routers;
mod nats_harness;
mod nats_sink;
mod partitions;
mod pinned_consumer;
mod server_restart;
mod shared_durable;
mod sink_outage;
mod sink_rig;
mod source_metrics;

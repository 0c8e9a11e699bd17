//! Well-known headers: for whom an event happened, in whose name, and as part of what (F05, C01). What a source finds of
//! them, every output carries on.

/// The tenant that the event belongs to. Webhooks deliver within one.
pub const TENANT: &str = "tenant";
/// Who made it happen.
pub const ACTOR_ID: &str = "actor_id";
/// The run of a graph.
pub const RUN_ID: &str = "run_id";
/// The node within it.
pub const NODE_ID: &str = "node_id";
/// The graph that runs.
pub const GRAPH_ID: &str = "graph_id";
/// What it happened to.
pub const INSTANCE_ID: &str = "instance_id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// How many routers an event has gone through: written where one sends an output to a server.
pub const HOPS: &str = "Trommel-Hops";

/// What is not the trace context.
pub const WHO: [&str; 6] = [TENANT, ACTOR_ID, RUN_ID, NODE_ID, GRAPH_ID, INSTANCE_ID];

/// Whether a header is one of these.
pub fn is_identity(name: &str) -> bool {
    WHO.iter().chain(&[TRACEPARENT, TRACESTATE]).any(|known| known.eq_ignore_ascii_case(name))
}

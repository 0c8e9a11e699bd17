//! Well-known headers: tenant, actor and run of an event, and its trace context (F05, C01). Every
//! output carries on those that the source has found.

/// The tenant that the event belongs to. Webhooks deliver within one.
pub const TENANT: &str = "tenant";
/// Actor that caused the event.
pub const ACTOR_ID: &str = "actor_id";
/// The run of a graph.
pub const RUN_ID: &str = "run_id";
/// The node within it.
pub const NODE_ID: &str = "node_id";
/// The graph that runs.
pub const GRAPH_ID: &str = "graph_id";
/// Instance that the event happened to.
pub const INSTANCE_ID: &str = "instance_id";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
pub const TRACESTATE: &str = "tracestate";

/// Number of routers that an event has gone through, written when a router sends an output to a
/// server.
pub const HOPS: &str = "Trommel-Hops";

/// Identity headers other than the trace context.
pub const WHO: [&str; 6] = [TENANT, ACTOR_ID, RUN_ID, NODE_ID, GRAPH_ID, INSTANCE_ID];

/// Returns whether a header is one of these.
pub fn is_identity(name: &str) -> bool {
    WHO.iter().chain(&[TRACEPARENT, TRACESTATE]).any(|known| known.eq_ignore_ascii_case(name))
}

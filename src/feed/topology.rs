//! What a router is made of: keys with their routes, filters and sinks, in one generation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    filter::Filter,
    metrics::{DEAD_LETTERS, Metrics},
    registry::{Route, Snapshot},
};

/// Parts of a router and how they are connected.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct RouterTopology {
    pub generation: u64,
    pub sources: Vec<String>,
    /// Keys that have a route.
    pub keys: Vec<KeyNode>,
    pub filters: Vec<FilterNode>,
    /// Sinks, that of dead letters among them.
    pub sinks: Vec<String>,
    /// Name of the sink of dead letters.
    pub dead_letters: String,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeyNode {
    pub name: String,
    /// Pattern of the subjects that it takes, unless it goes by the event type alone.
    pub subject: Option<String>,
    pub filter: Option<String>,
    /// True if its events come from a consumer of its own.
    pub isolated: bool,
    pub routes: Vec<RouteNode>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RouteNode {
    pub name: String,
    /// Lists of tests of its conditions, of which each has to hold by one of its lists.
    pub conditions: Vec<Vec<String>>,
    pub sinks: Vec<String>,
}

/// A component in service.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct FilterNode {
    pub name: String,
    /// Version in its manifest.
    pub version: String,
    pub description: String,
    /// SHA-256 of its file, in hex.
    pub digest: String,
    /// What it asks for of the host.
    pub capabilities: Vec<String>,
    /// Bytes of memory of an instance before its first event.
    pub memory: usize,
    /// Number of keys that use it.
    pub keys: usize,
}

impl RouterTopology {
    pub(super) fn of(snapshot: &Snapshot, metrics: &Metrics) -> Self {
        let mut filters = BTreeMap::<&str, FilterNode>::new();
        for filter in snapshot.keys().filter_map(|key| key.filter.as_ref()) {
            filters.entry(filter.name()).or_insert_with(|| FilterNode::of(filter)).keys += 1;
        }
        let keys = snapshot.keys().map(|key| KeyNode {
            name: key.name.to_string(),
            subject: key.subject.as_ref().map(ToString::to_string),
            filter: key.filter.as_ref().map(|filter| filter.name().to_owned()),
            isolated: key.is_isolated,
            routes: key.routes.iter().map(RouteNode::of).collect(),
        });
        Self {
            generation: snapshot.generation,
            sources: metrics.sources().into_iter().map(|(name, _)| name).collect(),
            keys: keys.collect(),
            filters: filters.into_values().collect(),
            sinks: metrics.sinks().into_iter().map(|(name, _)| name).collect(),
            dead_letters: DEAD_LETTERS.to_owned(),
        }
    }
}

impl RouteNode {
    fn of(route: &Route) -> Self {
        Self {
            name: route.name.to_string(),
            conditions: route.conditions.iter().map(|conditions| conditions.shown()).collect(),
            sinks: route.sinks.iter().map(|sink| sink.queue.name().to_string()).collect(),
        }
    }
}

impl FilterNode {
    fn of(filter: &Filter) -> Self {
        let manifest = filter.manifest();
        Self {
            name: filter.name().to_owned(),
            version: manifest.version.clone(),
            description: manifest.description.clone(),
            digest: filter.digest().to_owned(),
            capabilities: manifest.capabilities.clone(),
            memory: filter.memory(),
            keys: 0,
        }
    }
}

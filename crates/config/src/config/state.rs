//! `[state]`: where filters keep values, and how much.

use std::time::Duration;

/// Where filters keep values, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateConfig {
    pub keeping: StateKeeping,
    /// Bytes that a filter may keep for one key.
    pub key_bytes: usize,
    /// Bytes that a filter may keep for one route of a key; `None` for no limit but that of the
    /// key.
    pub route_bytes: Option<usize>,
    /// Time after which a value goes that was not written again. `None` keeps it.
    pub max_age: Option<Duration>,
}

/// Place of the values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKeeping {
    /// In this router, until it ends.
    Memory,
    /// In a bucket on the server, which routers share.
    Nats(StateBucket),
}

/// A key-value bucket for values of filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateBucket {
    pub name: String,
    /// Replicas of a new bucket. `None` for as many as the router's streams have.
    pub replicas: Option<usize>,
    /// Bytes of all values together.
    pub max_bytes: u64,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { keeping: StateKeeping::Memory, key_bytes: 64 << 20, route_bytes: None, max_age: None }
    }
}

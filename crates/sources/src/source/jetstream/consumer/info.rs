//! Consumer info as the server gives it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::source::jetstream::pin::GROUP;

/// Part of the server's consumer info that the source uses.
#[derive(Clone, Debug, Deserialize)]
pub(in crate::source::jetstream) struct ConsumerInfo {
    /// Creation time: distinguishes a consumer from a later one of the same name.
    pub(in crate::source::jetstream) created: String,
    pub(in crate::source::jetstream) delivered: SequencePair,
    pub(in crate::source::jetstream) ack_floor: SequencePair,
    pub(in crate::source::jetstream) num_ack_pending: usize,
    /// Pulls that wait for messages, of any client.
    #[serde(default)]
    pub(in crate::source::jetstream) num_waiting: usize,
    /// Messages of the stream that were not delivered yet.
    pub(in crate::source::jetstream) num_pending: u64,
    #[serde(default)]
    pub(in crate::source::jetstream) paused: bool,
    /// Priority groups, with the client that has the messages of each.
    #[serde(default)]
    priority_groups: Vec<PriorityGroup>,
    #[serde(default)]
    pub(super) config: Map<String, Value>,
}

#[derive(Clone, Debug, Deserialize)]
struct PriorityGroup {
    group: String,
    #[serde(default)]
    pinned_client_id: String,
}

/// Limits of the consumer on one pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::jetstream) struct PullLimits {
    pub(in crate::source::jetstream) batch: usize,
    pub(in crate::source::jetstream) bytes: u64,
    pub(in crate::source::jetstream) expires: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::source::jetstream) struct SequencePair {
    #[serde(rename = "consumer_seq")]
    pub(in crate::source::jetstream) delivery: u64,
    #[serde(rename = "stream_seq")]
    pub(in crate::source::jetstream) sequence: u64,
}

impl ConsumerInfo {
    /// Position up to which everything is settled. A consumer in a cluster that has delivered
    /// nothing reports 0, wherever it starts.
    pub(in crate::source::jetstream) fn floor(&self) -> SequencePair {
        if self.ack_floor.delivery == self.delivered.delivery { self.delivered } else { self.ack_floor }
    }

    /// Pin of the client that has the consumer's messages to itself; `None` if no client has.
    pub(in crate::source::jetstream) fn pinned(&self) -> Option<&str> {
        let ours = self.priority_groups.iter().find(|group| group.group == GROUP)?;
        Some(&*ours.pinned_client_id).filter(|id| !id.is_empty())
    }

    #[cfg(test)]
    pub(in crate::source::jetstream) fn double(
        delivered: SequencePair,
        ack_floor: SequencePair,
        num_ack_pending: usize,
    ) -> Self {
        Self {
            created: Default::default(),
            delivered,
            ack_floor,
            num_ack_pending,
            num_waiting: 0,
            num_pending: 0,
            paused: false,
            priority_groups: Vec::new(),
            config: Map::new(),
        }
    }

    /// Returns whether nothing was delivered in between, and no more settled than our own `open`
    /// messages.
    pub(in crate::source::jetstream) fn stands_as(&self, before: &Self, open: usize) -> bool {
        let is_still = self.created == before.created && self.delivered == before.delivered;
        is_still
            && (before.num_ack_pending.saturating_sub(open)..=before.num_ack_pending).contains(&self.num_ack_pending)
    }

    /// The most messages that may be unacknowledged at once.
    pub(in crate::source::jetstream) fn max_ack_pending(&self) -> usize {
        self.limit("max_ack_pending").map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// First sequence of the stream that it delivers.
    pub(in crate::source::jetstream) fn first_sequence(&self) -> u64 {
        self.limit("opt_start_seq").unwrap_or(1)
    }

    fn limit(&self, field: &str) -> Option<u64> {
        self.config.get(field).and_then(Value::as_u64).filter(|limit| *limit > 0)
    }

    pub(in crate::source::jetstream) fn limits(&self) -> PullLimits {
        PullLimits {
            batch: self.limit("max_batch").map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            bytes: self.limit("max_bytes").unwrap_or(u64::MAX),
            expires: self.limit("max_expires").map_or(Duration::MAX, Duration::from_nanos),
        }
    }
}

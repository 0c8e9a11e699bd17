//! Entries of the bucket: members with the sources that they share, and the owners of partitions.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// First token of the members' keys.
pub(crate) const MEMBER: &str = "member";
/// First token of the partitions' keys.
const PARTITION: &str = "part";

/// A router that takes part. Its name is never used again once the entry is deleted.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(crate) struct MemberRecord {
    /// Time without a renewal after which it is dead, in milliseconds. The others go by this one,
    /// so that they need not have the same setting.
    pub(crate) lease_ms: u64,
    /// Sources whose partitions it takes.
    pub(crate) sources: BTreeSet<String>,
}

/// The owner of a partition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(crate) struct PartitionRecord {
    pub(crate) owner: Option<String>,
    /// Number of times that it was taken.
    pub(crate) epoch: u64,
}

/// An entry as it was read.
#[derive(Clone, Debug)]
pub(crate) struct FleetNote {
    pub(crate) revision: u64,
    pub(crate) entry: NotedEntry,
}

/// What an entry is about; no record where it was deleted.
#[derive(Clone, Debug)]
pub(crate) enum NotedEntry {
    Member(String, Option<MemberRecord>),
    Partition(String, u32, Option<PartitionRecord>),
}

impl MemberRecord {
    pub(crate) fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "lease_ms": self.lease_ms, "sources": self.sources })
    }
}

impl PartitionRecord {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "owner": self.owner, "epoch": self.epoch })
    }
}

impl FleetNote {
    /// Reads an entry; `None` if it is none of a fleet.
    ///
    /// # Errors
    /// Returns an error if it is not what trommel wrote.
    pub(crate) fn parse(key: &str, value: Option<Value>, revision: u64) -> serde_json::Result<Option<Self>> {
        let Some((kind, rest)) = key.split_once('.') else { return Ok(None) };
        let entry = match (kind, rest.rsplit_once('.')) {
            (MEMBER, _) => NotedEntry::Member(rest.to_owned(), value.map(serde_json::from_value).transpose()?),
            (PARTITION, Some((source, number))) => {
                let Ok(number) = number.parse() else { return Ok(None) };
                NotedEntry::Partition(source.to_owned(), number, value.map(serde_json::from_value).transpose()?)
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { revision, entry }))
    }
}

/// Key of a partition's entry.
pub(crate) fn partition_key(source: &str, partition: u32) -> String {
    format!("{PARTITION}.{source}.{partition}")
}

/// Key of a member's entry.
pub(crate) fn member_key(member: &str) -> String {
    format!("{MEMBER}.{member}")
}

//! The claim on a route's ticks, and the tick that is under way.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    event::TickMark,
    fleet::Lease,
    nats::{ApiError, Bucket},
    registry::RouteName,
};

/// A route's entry in the bucket, which names this router.
#[derive(Debug)]
pub struct RouteClaim {
    bucket: Bucket,
    /// Key of the entry.
    place: String,
    entry: ClaimEntry,
    /// `None` once it is not known to be the entry's newest.
    revision: Option<u64>,
}

/// The value of the entry.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct ClaimEntry {
    /// The router that ticks for the route; `None` once it has given that back.
    replica: Option<String>,
    state: String,
    key: String,
    route: String,
    /// The last tick, unless all of its outputs are known to have arrived.
    #[serde(default)]
    tick: Option<TickMark>,
}

impl RouteClaim {
    /// Claims a route's ticks. Otherwise returns the router that has them, if it is known.
    pub(super) async fn make(
        (bucket, lease): (&Bucket, &Lease),
        state: &str,
        name: &RouteName,
    ) -> anyhow::Result<Result<Self, Option<String>>> {
        let (place, me) = (place(state, name), lease.replica());
        let found = bucket.get(&place).await?;
        // What is not an entry is replaced by one.
        let left = found.value.and_then(|value| serde_json::from_value::<ClaimEntry>(value).ok());
        let (tick, by) = left.map_or((None, None), |left| (left.tick, left.replica));
        let entry = ClaimEntry {
            replica: Some(me.clone()),
            state: state.to_owned(),
            key: name.0.to_string(),
            route: name.1.to_string(),
            tick,
        };
        let mut claim = Self { bucket: bucket.clone(), place, entry, revision: Some(found.revision) };
        match by {
            // Left over from a call that had no answer.
            Some(by) if by == me => return Ok(Ok(claim)),
            Some(by) if !lease.is_gone(bucket, &by).await? => return Ok(Err(Some(by))),
            _ => {}
        }
        let entry = claim.entry.clone();
        Ok(if claim.write(entry).await? { Ok(claim) } else { Err(None) })
    }

    /// Returns the tick to call: the one that is under way, whose outputs may not have arrived,
    /// unless it is known to have `ended`, or else `next`, once the entry has it. `None` if that
    /// can't be written, as by a router that does not have the claim any more.
    pub async fn begin(&mut self, next: TickMark, ended: Option<TickMark>) -> Option<TickMark> {
        if let Some(open) = self.entry.tick.filter(|tick| Some(*tick) != ended) {
            return self.revision.map(|_| open);
        }
        self.note(Some(next)).await.then_some(next)
    }

    /// Notes that all outputs of a tick have arrived.
    pub async fn end(&mut self, tick: TickMark) {
        if self.entry.tick == Some(tick) {
            self.note(None).await;
        }
    }

    /// Returns whether it has to be claimed again.
    pub(super) fn is_lost(&self) -> bool {
        self.revision.is_none()
    }

    /// Leaves the route's ticks to the other routers, and with them the one that is under way.
    pub(super) async fn give_back(&mut self) -> Result<(), ApiError> {
        if self.entry.tick.is_some() {
            return self.write(ClaimEntry { replica: None, ..self.entry.clone() }).await.map(drop);
        }
        match self.revision.take() {
            Some(revision) => self.bucket.delete(&self.place, revision).await.map(drop),
            None => Ok(()),
        }
    }

    /// Writes down which tick is under way. Returns whether the entry has it.
    async fn note(&mut self, tick: Option<TickMark>) -> bool {
        let written = self.write(ClaimEntry { tick, ..self.entry.clone() }).await;
        written.unwrap_or_else(|error| {
            let (key, route) = (&self.entry.key, &self.entry.route);
            tracing::warn!(key, route, error = format!("{error:#}"), "can't note a tick yet: it has to wait");
            false
        })
    }

    /// Writes the entry, unless it is lost or another router was faster, and it is lost then.
    async fn write(&mut self, entry: ClaimEntry) -> Result<bool, ApiError> {
        // Without an answer the entry may have been written.
        let Some(revision) = self.revision.take() else { return Ok(false) };
        let value = serde_json::to_value(&entry).unwrap_or(Value::Null);
        self.revision = self.bucket.put(&self.place, &value, revision).await?;
        if self.revision.is_some() {
            self.entry = entry;
        }
        Ok(self.revision.is_some())
    }
}

/// Key of a route's entry: a digest, as names may have characters that keys can't.
fn place(state: &str, (key, route): &RouteName) -> String {
    let mut digest = Sha256::new();
    for part in [state, key, route] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    format!("tick.{:.32}", format!("{:x}", digest.finalize()))
}

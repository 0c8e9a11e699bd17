//! What the dispatcher looks after once a second: what others change in the database, the clock, what is old, and what is
//! pending for whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::super::store::{Store, StoreError};
use crate::{config::Webhook, metrics::Metrics};

/// How often what is finished and old is looked for.
const PURGE: Duration = Duration::from_mins(1);
/// A clock that goes back by less has been corrected, not set.
const STEP: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Of the database, as others change it.
    version: Option<i64>,
    /// When the clock was looked at before.
    looked: Option<Timestamp>,
    purged: Option<Instant>,
    /// What is pending may have changed.
    pub(super) is_stale: bool,
    /// Those that are not configured and have deliveries, which was said.
    strangers: BTreeSet<String>,
}

impl Upkeep {
    /// Whether others have changed something, or the clock has. Blocks.
    ///
    /// # Errors
    /// When the database can't be used; the next call does what is missing.
    pub(super) fn look(&mut self, store: &Store, now: Timestamp, retention: Duration) -> Result<bool, StoreError> {
        let version = Some(store.version()?);
        let mut changed = version != self.version;
        if self.looked.is_none_or(|before| before.duration_since(now) > STEP) {
            store.follow_clock(now)?;
            changed = true;
        }
        self.looked = Some(now);
        if self.purged.is_none_or(|purged| purged.elapsed() >= PURGE) {
            let before = now.checked_sub(retention).unwrap_or(Timestamp::MIN);
            // What does not end with this call is gone on with by the next.
            if !store.purge(before)? {
                self.purged = Some(Instant::now());
            }
        }
        self.version = version;
        self.is_stale |= changed;
        Ok(changed)
    }

    /// Counts what is pending, and cancels it where the webhook is not active. The counters of those that are gone go, too.
    /// Blocks.
    ///
    /// # Errors
    /// When the database can't be used.
    pub(super) fn count(
        &mut self,
        store: &Store,
        webhooks: &[Arc<Webhook>],
        metrics: &Metrics,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if !self.is_stale {
            return Ok(());
        }
        let mut pending = store.pending()?;
        for webhook in webhooks {
            let count = match pending.remove(&webhook.name) {
                Some(_) if !webhook.active => {
                    let cancelled = store.cancel(&webhook.name, now)?;
                    tracing::info!(webhook = webhook.name, cancelled, "webhook is not active");
                    0
                }
                count => count.unwrap_or_default(),
            };
            metrics.webhook(&webhook.name).pending.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        metrics.retain_webhooks(|name| webhooks.iter().any(|webhook| webhook.name == name));
        self.tell_strangers(pending);
        self.is_stale = false;
        Ok(())
    }

    /// Once for each, and again when it has come back in between.
    fn tell_strangers(&mut self, strangers: BTreeMap<String, u64>) {
        self.strangers.retain(|name| strangers.contains_key(name));
        for (webhook, pending) in strangers {
            if !self.strangers.contains(&webhook) {
                tracing::warn!(
                    webhook,
                    pending,
                    "webhook is not configured any more: its deliveries wait until it is again, or until `trommel deliveries drop`"
                );
                self.strangers.insert(webhook);
            }
        }
    }
}

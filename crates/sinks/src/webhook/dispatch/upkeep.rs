//! Upkeep once a second: detecting changes by others in the database and of the clock, purging old
//! deliveries, and counting pending ones for each webhook.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::super::store::{DeliveryStore, StoreError};
use crate::{config::Webhook, metrics::Metrics};

/// Interval between purges of old finished deliveries.
const PURGE: Duration = Duration::from_mins(1);
/// Smallest step back that counts as a clock that was set; less is a correction.
const STEP: SignedDuration = SignedDuration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct StoreUpkeep {
    /// Last seen version of the database, which changes whenever others write to it.
    version: Option<i64>,
    /// Clock time of the last look.
    looked: Option<Timestamp>,
    purged: Option<Instant>,
    /// True if the pending deliveries may have changed.
    pub(super) is_stale: bool,
    /// Webhooks with deliveries that are not configured, and were logged already.
    strangers: BTreeSet<String>,
}

impl StoreUpkeep {
    /// Returns whether others have changed something, or the clock was set. Blocks.
    ///
    /// # Errors
    /// Returns an error if the database can't be used; the next call does what is missing.
    pub(super) fn look(
        &mut self,
        store: &DeliveryStore,
        now: Timestamp,
        retention: Duration,
    ) -> Result<bool, StoreError> {
        let version = Some(store.version()?);
        let mut changed = version != self.version;
        if self.looked.is_none_or(|before| before.duration_since(now) > STEP) {
            store.follow_clock(now)?;
            changed = true;
        }
        self.looked = Some(now);
        if self.purged.is_none_or(|purged| purged.elapsed() >= PURGE) {
            let before = now.checked_sub(retention).unwrap_or(Timestamp::MIN);
            // One call purges a bounded number: the next one continues.
            if !store.purge(before)? {
                self.purged = Some(Instant::now());
            }
        }
        self.version = version;
        self.is_stale |= changed;
        Ok(changed)
    }

    /// Counts pending deliveries, and cancels them if the webhook is not active. Removes the
    /// counters of webhooks that are gone. Blocks.
    ///
    /// # Errors
    /// If the database can't be used.
    pub(super) fn count(
        &mut self,
        store: &DeliveryStore,
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

    /// Logs each once, and again if it has been configured in between.
    fn tell_strangers(&mut self, strangers: BTreeMap<String, u64>) {
        self.strangers.retain(|name| strangers.contains_key(name));
        for (webhook, pending) in strangers {
            if !self.strangers.contains(&webhook) {
                tracing::warn!(
                    webhook,
                    pending,
                    "webhook is not configured any more: its deliveries wait until it is again, or until `trommel \
                     deliveries drop`"
                );
                self.strangers.insert(webhook);
            }
        }
    }
}

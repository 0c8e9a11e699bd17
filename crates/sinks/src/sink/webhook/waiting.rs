//! Cap on the deliveries that wait for a webhook (`max_pending`): beyond it nothing more is stored
//! for this one, which is counted and logged, so that a receiver that is away for good does not
//! fill the disk that all share.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    config::Webhook,
    metrics::Metrics,
    webhook::store::{DeliveryStore, StoreError},
};

/// Time for which a count of the database is good enough to refuse by.
const FRESH: Duration = Duration::from_secs(1);
/// Shortest time between two logs about a webhook.
const SAID: Duration = Duration::from_mins(1);

/// Upper bounds of the deliveries that wait for each webhook, so that the database need rarely be
/// counted.
#[derive(Debug)]
pub(super) struct PendingCap {
    at_most: BTreeMap<String, u64>,
    counted: Option<Instant>,
    said: BTreeMap<String, Instant>,
    metrics: Arc<Metrics>,
}

impl PendingCap {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { at_most: BTreeMap::new(), counted: None, said: BTreeMap::new(), metrics }
    }

    /// Counts anew before so many more are stored, if that may come to a refusal. Blocks.
    ///
    /// # Errors
    /// Returns an error if the database can't be read.
    pub(super) fn expect(
        &mut self,
        more: usize,
        webhooks: &[Arc<Webhook>],
        store: &DeliveryStore,
    ) -> Result<(), StoreError> {
        let may_be_full = |webhook: &Arc<Webhook>| self.of(&webhook.name) + more as u64 > webhook.max_pending;
        let is_stale = self.counted.is_none_or(|counted| counted.elapsed() >= FRESH);
        if is_stale && (self.counted.is_none() || webhooks.iter().any(may_be_full)) {
            self.at_most = store.pending()?;
            self.counted = Some(Instant::now());
        }
        Ok(())
    }

    fn of(&self, webhook: &str) -> u64 {
        self.at_most.get(webhook).copied().unwrap_or_default()
    }

    /// Returns whether one more delivery may wait for this webhook, and counts it if so.
    pub(super) fn admits(&mut self, webhook: &Webhook) -> bool {
        let Webhook { name, max_pending, .. } = webhook;
        let waiting = self.of(name);
        if waiting < *max_pending {
            self.at_most.insert(name.clone(), waiting + 1);
            return true;
        }
        self.metrics.webhook(name).refused.inc();
        if self.said.get(name).is_none_or(|said| said.elapsed() >= SAID) {
            self.said.insert(name.clone(), Instant::now());
            tracing::warn!(
                webhook = name,
                max_pending,
                "as many deliveries wait for it as may: what comes now is not stored for it"
            );
        }
        false
    }
}

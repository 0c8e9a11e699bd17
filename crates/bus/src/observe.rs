//! Observers and counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{BusSubscriptionId, DropReason, Envelope, OverflowPolicy};

/// Step of a publish that an observer sees: first that it is made, then for each subscription that
/// takes the subject and whose predicate lets the envelope pass whether it was delivered or dropped
/// (F30).
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    /// The envelope is about to be offered to its subscriptions.
    Published(&'a Envelope),
    /// The envelope is in the subscription's buffer.
    Delivered {
        /// The delivered envelope.
        envelope: &'a Envelope,
        /// The subscription that has it.
        to: BusSubscriptionId,
    },
    /// The envelope was dropped. With [`OverflowPolicy::DropOldest`] it is an earlier one, which
    /// was delivered and not read yet.
    Dropped {
        /// The dropped envelope.
        envelope: &'a Envelope,
        /// The subscription that does not get it.
        from: BusSubscriptionId,
        /// The subscription's policy.
        policy: OverflowPolicy,
        /// The reason of the drop.
        reason: DropReason,
    },
}

pub(super) type Observer = Box<dyn Fn(Observation<'_>) + Send + Sync>;

/// Cumulative counts, of a bus or of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStats {
    /// For a bus: envelopes published. For a subscription: published envelopes whose subject fits
    /// its pattern.
    pub published: u64,
    /// Envelopes put into a buffer, read or not.
    pub delivered: u64,
    /// Envelopes rejected by a predicate.
    pub filtered: u64,
    dropped: [u64; DropReason::ALL.len()],
}

impl BusStats {
    /// Returns the envelopes dropped for this reason. Those that [`OverflowPolicy::DropOldest`]
    /// evicts count as delivered, too.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// Counters behind [`BusStats`].
#[derive(Debug, Default)]
pub(super) struct BusCounters {
    pub(super) published: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) filtered: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
}

impl BusCounters {
    pub(super) fn dropped(&self, reason: DropReason) -> &AtomicU64 {
        &self.dropped[reason as usize]
    }

    pub(super) fn stats(&self) -> BusStats {
        BusStats {
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            filtered: self.filtered.load(Relaxed),
            dropped: self.dropped.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }
}

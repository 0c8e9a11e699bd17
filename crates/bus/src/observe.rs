//! Observers and counters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::{Envelope, Policy, Reason, SubscriptionId};

/// Step of a publish that an observer sees: first that it is made, then for each subscription that
/// takes the subject and whose predicate lets the envelope pass whether it was delivered or dropped
/// (F30).
#[derive(Clone, Copy, Debug)]
pub enum Observation<'a> {
    Published(&'a Envelope),
    /// The envelope is in the subscription's buffer.
    Delivered {
        envelope: &'a Envelope,
        to: SubscriptionId,
    },
    /// The envelope was dropped. With [`Policy::DropOldest`] it is an earlier one, which was
    /// delivered and not read yet.
    Dropped {
        envelope: &'a Envelope,
        from: SubscriptionId,
        policy: Policy,
        reason: Reason,
    },
}

pub(super) type Observer = Box<dyn Fn(Observation<'_>) + Send + Sync>;

/// Cumulative counts, of a bus or of one subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// For a bus: envelopes published. For a subscription: published envelopes whose subject fits
    /// its pattern.
    pub published: u64,
    /// Envelopes put into a buffer, read or not.
    pub delivered: u64,
    /// Envelopes rejected by a predicate.
    pub filtered: u64,
    dropped: [u64; Reason::ALL.len()],
}

impl Stats {
    /// Returns the envelopes dropped for this reason. Those that [`Policy::DropOldest`] evicts
    /// count as delivered, too.
    pub fn dropped(&self, reason: Reason) -> u64 {
        self.dropped[reason as usize]
    }
}

/// Counters behind [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) published: AtomicU64,
    pub(super) delivered: AtomicU64,
    pub(super) filtered: AtomicU64,
    dropped: [AtomicU64; Reason::ALL.len()],
}

impl Counters {
    pub(super) fn dropped(&self, reason: Reason) -> &AtomicU64 {
        &self.dropped[reason as usize]
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            published: self.published.load(Relaxed),
            delivered: self.delivered.load(Relaxed),
            filtered: self.filtered.load(Relaxed),
            dropped: self.dropped.each_ref().map(|counter| counter.load(Relaxed)),
        }
    }
}

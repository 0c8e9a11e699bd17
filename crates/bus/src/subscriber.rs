//! The publishers' side of a subscription.

use std::sync::Arc;

use super::{
    BusSubscriptionId, DropReason, Envelope, OverflowPolicy,
    observe::BusCounters,
    queue::{PushResult, SubscriberQueue},
};
use crate::event::Pattern;

pub(super) type EnvelopePredicate = Box<dyn Fn(&Envelope) -> bool + Send + Sync>;

pub(super) struct BusSubscriber {
    pub(super) id: BusSubscriptionId,
    pub(super) pattern: Pattern,
    /// Called outside every lock.
    pub(super) predicate: Option<EnvelopePredicate>,
    pub(super) policy: OverflowPolicy,
    pub(super) queue: SubscriberQueue,
    pub(super) counters: BusCounters,
}

/// Result of offering an envelope that fits the pattern.
pub(super) enum OfferResult {
    Delivered,
    /// The envelope is delivered; this one was dropped for it.
    Instead(Arc<Envelope>),
    Filtered,
    Dropped(DropReason),
    /// The buffer is full: the publisher is to wait for room.
    Full,
}

impl BusSubscriber {
    /// Offers an envelope to the buffer. Never waits.
    pub(super) fn offer(&self, envelope: &Arc<Envelope>) -> OfferResult {
        if self.predicate.as_ref().is_some_and(|passes| !passes(envelope)) {
            return OfferResult::Filtered;
        }
        if let OverflowPolicy::Sample(share) = self.policy
            && fastrand::f64() >= share
        {
            return OfferResult::Dropped(DropReason::Sampled);
        }
        match (self.queue.push(envelope, self.policy), self.policy) {
            (PushResult::In, _) => OfferResult::Delivered,
            (PushResult::Instead(evicted), _) => OfferResult::Instead(evicted),
            (PushResult::Closed, _) => OfferResult::Dropped(DropReason::Closed),
            (PushResult::Full, OverflowPolicy::Block) => OfferResult::Full,
            (PushResult::Full, _) => OfferResult::Dropped(DropReason::BufferFull),
        }
    }
}

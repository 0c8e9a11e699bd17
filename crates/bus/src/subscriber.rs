//! The publishers' side of a subscription.

use std::sync::Arc;

use super::{
    Envelope, Policy, Reason, SubscriptionId,
    observe::Counters,
    queue::{Pushed, Queue},
};
use crate::event::Pattern;

pub(super) type Predicate = Box<dyn Fn(&Envelope) -> bool + Send + Sync>;

pub(super) struct Subscriber {
    pub(super) id: SubscriptionId,
    pub(super) pattern: Pattern,
    /// Called outside every lock.
    pub(super) predicate: Option<Predicate>,
    pub(super) policy: Policy,
    pub(super) queue: Queue,
    pub(super) counters: Counters,
}

/// Result of offering an envelope that fits the pattern.
pub(super) enum Offered {
    Delivered,
    /// The envelope is delivered; this one was dropped for it.
    Instead(Arc<Envelope>),
    Filtered,
    Dropped(Reason),
    /// The buffer is full: the publisher is to wait for room.
    Full,
}

impl Subscriber {
    /// Offers an envelope to the buffer. Never waits.
    pub(super) fn offer(&self, envelope: &Arc<Envelope>) -> Offered {
        if self.predicate.as_ref().is_some_and(|passes| !passes(envelope)) {
            return Offered::Filtered;
        }
        if let Policy::Sample(share) = self.policy
            && fastrand::f64() >= share
        {
            return Offered::Dropped(Reason::Sampled);
        }
        match (self.queue.push(envelope, self.policy), self.policy) {
            (Pushed::In, _) => Offered::Delivered,
            (Pushed::Instead(evicted), _) => Offered::Instead(evicted),
            (Pushed::Closed, _) => Offered::Dropped(Reason::Closed),
            (Pushed::Full, Policy::Block) => Offered::Full,
            (Pushed::Full, _) => Offered::Dropped(Reason::BufferFull),
        }
    }
}

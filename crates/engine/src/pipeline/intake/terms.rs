//! Terms of an intake: the keys that it serves, and the fence that its events are behind.

use std::sync::Arc;

use super::Intake;
use crate::{
    fence::Fence,
    pipeline::{
        EventBudget,
        scope::{IntakeScope, OwnConsumers},
    },
};

/// Least share of a source's budget: below it there are more requests than events.
const LEAST_EVENTS: usize = 64;
const LEAST_BYTES: u64 = 64 << 10;

impl<R: Send + 'static> Intake<R> {
    /// Makes the intake leave events to the consumers of isolated keys.
    pub fn leaving_to(self, own: OwnConsumers) -> Self {
        Self { scope: IntakeScope::Shared(own), ..self }
    }

    /// Makes the intake serve one key alone, which is one of `own`.
    pub fn only(self, key: Arc<str>, own: OwnConsumers) -> Self {
        self.metrics.serves_one_key.set(1);
        Self { scope: IntakeScope::Key(key, own), ..self }
    }

    /// Notes that the source's consumer was recreated and delivers from this sequence on.
    pub fn begin_again(&self, first: u64) {
        if let IntakeScope::Key(key, own) = &self.scope {
            own.begin_again(key, first);
        }
    }

    /// Gives the intake one of `count` equal shares of a source's budget.
    pub fn one_of(self, count: u32) -> Self {
        let budget = EventBudget {
            events: (self.budget.events / count.max(1) as usize).max(LEAST_EVENTS),
            bytes: (self.budget.bytes / u64::from(count.max(1))).max(LEAST_BYTES),
        };
        self.metrics.in_flight_limit.set(i64::try_from(budget.events).unwrap_or(i64::MAX));
        self.metrics.in_flight_limit_bytes.set(i64::try_from(budget.bytes).unwrap_or(i64::MAX));
        Self { budget, ..self }
    }

    /// Puts all events behind a fence: once that has lapsed, nothing more of them leaves the router.
    pub fn behind(self, fence: Arc<Fence>) -> Self {
        Self { fence: Some(fence), ..self }
    }
}

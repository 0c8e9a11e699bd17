//! Remaining work for an event and a key, and its filter's answer.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    ack::Ticket,
    event::Event,
    filter::{Failure, FailureCause, Verdict},
    pipeline::LaneItem,
    registry::{Key, KeyOrdering, Route},
    show,
    telemetry::{Stage, StageSpan},
    walk::RouteWalk,
};

/// Remaining work for an event and a key. Dropping it gives the event back to its source.
pub(super) struct LaneWork {
    pub(super) ticket: Ticket,
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
    /// Ordering value: equal for events of the key that must stay in order.
    pub(super) order: u64,
    /// Routes that have finished with the event already, by name: another generation may have
    /// others.
    pub(super) done: Vec<Arc<str>>,
    /// The only route that it is for, if it is a tick.
    pub(super) only: Option<Arc<str>>,
    /// Position of the route whose turn it is.
    pub(super) next: usize,
    /// The event as the filter sees it, if that differs from how it came.
    pub(super) decoded: Option<Box<Event>>,
    /// True if a route has let something out.
    pub(super) wanted: bool,
    /// Permit held from `process` until all its outputs are handed over, so that no more events
    /// hold outputs than the key has workers.
    pub(super) worker: Option<OwnedSemaphorePermit>,
    /// Failure of `process` in a batch, which counts as its first try.
    pub(super) failed: Option<Failure>,
}

impl From<LaneItem> for LaneWork {
    fn from(LaneItem { ticket, key, generation, order, done, only }: LaneItem) -> Self {
        let wanted = !done.is_empty();
        Self { ticket, key, generation, order, done, only, next: 0, decoded: None, wanted, worker: None, failed: None }
    }
}

impl LaneWork {
    /// Returns the measures of its place in a room: its order, and its size in bytes.
    pub(super) fn measure(&self) -> (u64, u64) {
        (self.order, self.ticket.event().size())
    }

    /// Returns the value by which its outputs must stay in order, if any.
    pub(super) fn output_order(&self) -> Option<u64> {
        matches!(self.key.ordering, KeyOrdering::By(_)).then_some(self.order)
    }

    /// Resets the work to its beginning, with this key.
    pub(super) fn anew(self, key: Arc<Key>, generation: u64) -> Self {
        let Self { ticket, order, done, only, .. } = self;
        LaneItem { ticket, key, generation, order, done, only }.into()
    }
}

/// Position of an event in the router.
#[derive(Clone, Copy)]
pub(super) struct EventPosition<'a> {
    pub(super) key: &'a Key,
    pub(super) route: &'a Route,
    pub(super) ticket: &'a Ticket,
    /// The ticket's event as the filter sees it: decoded.
    pub(super) event: &'a Event,
    /// Value by which its outputs must stay in order, if any.
    pub(super) order: Option<u64>,
}

impl<'a> EventPosition<'a> {
    pub(super) fn walk(&self) -> RouteWalk<'a> {
        RouteWalk { key: self.key, route: self.route, event: self.event }
    }

    pub(super) fn show_dropped(&self, why: &str) {
        show::dropped(self.ticket.event(), &self.key.name, &self.route.name, why);
    }

    /// Begins the span of a stage that the event goes through.
    pub(super) fn stage(&self, stage: Stage<'_>) -> StageSpan {
        self.ticket.stage(stage, &self.key.name, &self.route.name)
    }
}

/// Answer of a route's filter about an event.
pub(super) enum FilterAnswer {
    /// The route's conditions or `matches` reject the event.
    No,
    /// `process` is to be called.
    Process,
    Verdict(Verdict, TryCount),
    /// The event can never succeed: the reason's code, and the cause.
    Dead(&'static str, FailureCause, TryCount),
    /// The filter is quarantined.
    Quarantined(String, TryCount),
    /// The host can't go on, or the router stops: the event goes back to its source.
    Returned,
}

/// Number of `process` calls.
pub(super) type TryCount = u32;

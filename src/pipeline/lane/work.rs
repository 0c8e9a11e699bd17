//! What is left to do for an event and a key, and what its filter says of it.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    ack::Ticket,
    event::Event,
    filter::Verdict,
    pipeline::Item,
    registry::{Key, Ordering, Route},
    show,
    telemetry::{Span, Stage},
    walk::RouteWalk,
};

/// What is left to do for an event and a key. Dropping it gives the event back to its source.
pub(super) struct Work {
    pub(super) ticket: Ticket,
    pub(super) key: Arc<Key>,
    pub(super) generation: u64,
    /// Equal for events of the key that must stay in order.
    pub(super) order: u64,
    /// Routes that are through with the event already, by name: another generation may have others.
    pub(super) done: Vec<Arc<str>>,
    /// Position of the route whose turn it is.
    pub(super) next: usize,
    /// The event as the filter sees it, where that is not as it came.
    pub(super) decoded: Option<Box<Event>>,
    /// Whether a route has let something out.
    pub(super) wanted: bool,
    /// From `process` until all that came of it is handed over, so that as many events as the key has workers hold
    /// outputs.
    pub(super) worker: Option<OwnedSemaphorePermit>,
}

impl From<Item> for Work {
    fn from(Item { ticket, key, generation, order, done }: Item) -> Self {
        let wanted = !done.is_empty();
        let (next, decoded, worker) = Default::default();
        Self { ticket, key, generation, order, done, next, decoded, wanted, worker }
    }
}

impl Work {
    /// What its place in a room goes by: its order, and its size in bytes.
    pub(super) fn measure(&self) -> (u64, u64) {
        (self.order, self.ticket.event().size())
    }

    /// What its outputs must stay in order by, if anything.
    pub(super) fn output_order(&self) -> Option<u64> {
        matches!(self.key.ordering, Ordering::By(_)).then_some(self.order)
    }

    /// As it was before it was begun.
    pub(super) fn anew(self, key: Arc<Key>, generation: u64) -> Self {
        let Self { ticket, order, done, .. } = self;
        Item { ticket, key, generation, order, done }.into()
    }
}

/// Where in the router an event is.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) key: &'a Key,
    pub(super) route: &'a Route,
    pub(super) ticket: &'a Ticket,
    /// The ticket's, as the filter sees it: decoded.
    pub(super) event: &'a Event,
    /// What its outputs must stay in order by, if anything.
    pub(super) order: Option<u64>,
}

impl<'a> At<'a> {
    pub(super) fn walk(&self) -> RouteWalk<'a> {
        RouteWalk { key: self.key, route: self.route, event: self.event }
    }

    pub(super) fn show_dropped(&self, why: &str) {
        show::dropped(self.ticket.event(), &self.key.name, &self.route.name, why);
    }

    /// Begins a stage of the event's way.
    pub(super) fn stage(&self, stage: Stage<'_>) -> Span {
        self.ticket.stage(stage, &self.key.name, &self.route.name)
    }
}

/// What a route's filter says of an event.
pub(super) enum Said {
    /// Its conditions or `matches` turn it away.
    No,
    /// `process` is to be asked.
    Process,
    Verdict(Verdict, Tries),
    /// It can never succeed: the reason's code and what it was.
    Dead(&'static str, String, Tries),
    /// The filter can't go on.
    Quarantined(String, Tries),
    /// The host can't go on, or the router stops: the event goes back to its source.
    Returned,
}

/// How often `process` was called.
pub(super) type Tries = u32;

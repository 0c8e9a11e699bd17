//! The duty to settle an event, as a value.
//!
//! An [`EventDelivery`] is an event and that duty. The pipeline opens it into [`Ticket`]s, one for
//! every part of the router that still has work for the event; when the last ticket is gone the
//! source receives the [`Outcome`]. A ticket that is dropped unsettled counts as failed, so a panic
//! or an early return means a redelivery, never a lost event.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    event::Event,
    fate::Fate,
    fence::Fence,
    metrics::SourceMetrics,
    telemetry::{EventTrace, Stage, StageSpan},
};

/// Result of a settled event, as an instruction to its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every sink has it, or no route wants it: acknowledge.
    Done,
    /// It could not be finished: deliver it again, after at least this much time.
    Retry(Duration),
    /// It can never succeed and its dead letter is stored. Holds the reason code.
    Dead(&'static str),
}

/// Reports to one source how one of its events ended. Dropping it means [`Outcome::Retry`].
#[derive(Debug)]
pub struct Acker {
    slot: usize,
    settled: mpsc::Sender<(usize, Outcome)>,
    /// Set once an outcome is sent, so that the drop does not send a second one.
    told: bool,
}

impl Acker {
    /// Creates an acker for the event in `slot`. `settled` must have room for every acker that can
    /// be open at once: settling never waits.
    pub fn new(slot: usize, settled: mpsc::Sender<(usize, Outcome)>) -> Self {
        Self { slot, settled, told: false }
    }

    /// Creates an acker for an event that no source waits for.
    pub fn unheard() -> Self {
        Self::new(0, mpsc::channel(1).0)
    }

    pub fn settle(mut self, outcome: Outcome) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: Outcome) {
        self.told = true;
        // The channel is closed once the source has ended: the broker then sees no ack, which is a
        // redelivery.
        let _ = self.settled.try_send((self.slot, outcome));
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        if !self.told {
            self.tell(Outcome::Retry(Duration::ZERO));
        }
    }
}

/// An event and the duty to settle it.
#[derive(Debug)]
pub struct EventDelivery {
    pub event: Event,
    pub acker: Acker,
}

impl EventDelivery {
    /// Shares the duty out. The event is settled when the last ticket is gone. Behind a `fence`,
    /// nothing more of it may leave the router once that has lapsed.
    pub fn open(self, metrics: Arc<SourceMetrics>, fence: Option<Arc<Fence>>) -> Ticket {
        metrics.in_flight.inc();
        Ticket {
            duty: Arc::new(SettleDuty {
                event: self.event,
                acker: Some(self.acker),
                fate: AtomicU8::new(Fate::Filtered as u8),
                reason: OnceLock::new(),
                trace: OnceLock::new(),
                metrics,
                fence,
            }),
            settled: false,
        }
    }
}

#[derive(Debug)]
struct SettleDuty {
    event: Event,
    /// Taken once, on drop.
    acker: Option<Acker>,
    /// Greatest [`Fate`] of the tickets that are settled.
    fate: AtomicU8,
    reason: OnceLock<&'static str>,
    /// Set only while spans are exported.
    trace: OnceLock<Box<EventTrace>>,
    metrics: Arc<SourceMetrics>,
    /// Set only for events of a partition that other routers may take over.
    fence: Option<Arc<Fence>>,
}

impl Drop for SettleDuty {
    fn drop(&mut self) {
        let fate = Fate::ALL[usize::from(*self.fate.get_mut())];
        let reason = self.reason.get().copied().filter(|_| fate == Fate::DeadLettered);
        let outcome = match fate {
            Fate::Filtered | Fate::Skipped | Fate::Emitted => Outcome::Done,
            Fate::DeadLettered => Outcome::Dead(reason.unwrap_or("unknown")),
            Fate::Failed => Outcome::Retry(Duration::ZERO),
        };
        self.metrics.ended(fate);
        // Of most ticks there is nothing to tell.
        if fate != Fate::Filtered || !self.event.is_tick() {
            self.metrics.recent.note(&self.event, fate, reason);
        }
        if let Some(trace) = self.trace.take() {
            trace.end(fate.word(), reason);
        }
        if let Some(acker) = self.acker.take() {
            acker.settle(outcome);
        }
    }
}

/// One share of the duty to settle an event. Dropping it unsettled counts as [`Fate::Failed`].
#[derive(Debug)]
pub struct Ticket {
    duty: Arc<SettleDuty>,
    settled: bool,
}

impl Ticket {
    pub fn event(&self) -> &Event {
        &self.duty.event
    }

    /// Returns true if another router would get the event if it went back to its source, and this
    /// one can do nothing for it: its source is shared, and no sink takes anything.
    pub fn can_go_elsewhere(&self) -> bool {
        let metrics = &self.duty.metrics;
        metrics.paused.get() != 0 && metrics.shared.get() != 0
    }

    /// Returns false if the event belongs to another router by now, so that nothing more of it may
    /// leave this one.
    pub fn may_leave(&self) -> bool {
        self.duty.fence.as_ref().is_none_or(|fence| fence.holds())
    }

    /// Records the event's way from now on.
    pub fn trace(&self, trace: EventTrace) {
        // The opener of the delivery does this once.
        let _ = self.duty.trace.set(Box::new(trace));
    }

    /// Begins a stage of the event's way for a key and a route, if that is recorded.
    pub fn stage(&self, stage: Stage<'_>, key: &str, route: &str) -> StageSpan {
        self.duty.trace.get().map_or_else(StageSpan::none, |trace| trace.stage(stage, key, route))
    }

    /// Creates another share for another part of the router.
    pub fn share(&self) -> Self {
        Self { duty: Arc::clone(&self.duty), settled: false }
    }

    /// Settles this share with the event's fate in its part of the router.
    pub fn settle(mut self, fate: Fate) {
        self.record(fate);
    }

    /// Settles this share with a dead letter that is stored.
    pub fn dead(mut self, reason: &'static str) {
        self.duty.metrics.dead_letters.add(reason);
        let _ = self.duty.reason.set(reason);
        self.record(Fate::DeadLettered);
    }

    fn record(&mut self, fate: Fate) {
        self.settled = true;
        // The greatest fate counts, in whatever order the shares end.
        self.duty.fate.fetch_max(fate as u8, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.record(Fate::Failed);
        }
    }
}

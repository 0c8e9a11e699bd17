//! Outputs that wait for a consumer: bounded in number and bytes; the oldest is dropped for a new
//! one (L95, X2). For the router it is a sink that takes everything at once. Outputs that are not
//! read are never encoded.

use std::{
    collections::VecDeque,
    future,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Notify;

use super::{
    lines::SHARED,
    protocol::{EventHeading, number},
};
use crate::{
    poison::ignore_poison,
    sink::{Confirmation, Output, Sink, SinkRefusal, Slot},
};

/// Bytes that may wait in one ring.
pub(super) const MOST: usize = 8 << 20;
/// Bytes that an output counts for in addition to its own.
const LEAST: usize = 256;

/// Number of rings, and their common bound.
#[derive(Debug)]
pub(super) struct RingBudget {
    count: AtomicUsize,
    /// Bytes in all rings together: if there are many, each has its part.
    bytes: usize,
}

impl RingBudget {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self { count: AtomicUsize::new(0), bytes })
    }

    /// Bytes that may wait in one ring now.
    fn share(&self) -> usize {
        MOST.min(self.bytes / self.count.load(Ordering::Relaxed).max(1))
    }
}

/// The end that the route writes to. Remaining outputs can still be read after it is dropped.
pub(super) struct RingInlet {
    ring: Arc<OutputRing>,
    last: Option<Slot>,
}

pub(super) struct OutputRing {
    state: Mutex<RingState>,
    changed: Notify,
    capacity: usize,
    rings: Arc<RingBudget>,
}

#[derive(Default)]
struct RingState {
    waiting: VecDeque<WaitingOutput>,
    bytes: usize,
    received: u64,
    dropped: u64,
    is_closed: bool,
}

/// A waiting output.
#[derive(Debug)]
pub struct WaitingOutput {
    /// Beginning of its line, up to the payload.
    pub(super) begin: Vec<u8>,
    /// The payload as the route emitted it.
    pub(super) payload: Bytes,
    /// Number of the output for its consumer, from 1: a jump shows how many were dropped.
    pub number: u64,
    /// Position of its event in the source.
    pub sequence: u64,
}

impl WaitingOutput {
    fn bytes(&self) -> usize {
        LEAST + self.begin.len() + self.payload.len()
    }
}

pub(super) fn ring(capacity: usize, rings: &Arc<RingBudget>) -> (RingInlet, Arc<OutputRing>) {
    rings.count.fetch_add(1, Ordering::Relaxed);
    let (state, changed, rings) = (Mutex::default(), Notify::new(), Arc::clone(rings));
    let ring = Arc::new(OutputRing { state, changed, capacity: capacity.max(1), rings });
    (RingInlet { ring: Arc::clone(&ring), last: None }, ring)
}

impl OutputRing {
    /// The oldest waiting output; `None` when there is none and will be none. For one reader.
    /// Cancel safe.
    pub(super) async fn next(&self) -> Option<WaitingOutput> {
        loop {
            {
                let mut state = self.lock();
                if let Some(waiting) = state.pop() {
                    return Some(waiting);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Number of outputs so far, and of dropped ones.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.received, state.dropped)
    }

    /// Adds an output. The newest one always stays, whatever its size.
    fn push(&self, mut begin: Vec<u8>, payload: Bytes, sequence: u64) {
        let most = self.rings.share();
        let mut state = self.lock();
        state.received += 1;
        number(&mut begin, state.received);
        let waiting = WaitingOutput { begin, payload, number: state.received, sequence };
        let bytes = waiting.bytes();
        while (state.waiting.len() >= self.capacity || state.bytes + bytes > most) && state.pop().is_some() {
            state.dropped += 1;
        }
        state.bytes += bytes;
        state.waiting.push_back(waiting);
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, RingState> {
        ignore_poison(self.state.lock())
    }
}

impl Drop for OutputRing {
    fn drop(&mut self) {
        self.rings.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RingState {
    fn pop(&mut self) -> Option<WaitingOutput> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.bytes();
        Some(waiting)
    }
}

impl Drop for RingInlet {
    fn drop(&mut self) {
        self.ring.lock().is_closed = true;
        self.ring.changed.notify_one();
    }
}

impl Sink for RingInlet {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), SinkRefusal> {
        let event = output.ticket.event();
        let heading = EventHeading {
            event_id: &event.id,
            event_type: &event.event_type,
            subject: output.subject(),
            source_time: event.source_time.as_deref().unwrap_or_default(),
            observed_at: &Timestamp::from_nanosecond(event.observed_at.into()).unwrap_or_default().to_string(),
        };
        // A small payload may be a slice of something large, which it would keep in memory.
        let is_small = output.payload.len() < SHARED;
        let payload = if is_small { Bytes::copy_from_slice(&output.payload) } else { output.payload.clone() };
        self.ring.push(heading.begin(), payload, event.sequence);
        self.last = Some(slot);
        Ok(())
    }

    async fn confirm(&mut self) -> Confirmation {
        match self.last.take() {
            Some(last) => Confirmation::Through(last),
            None => future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    const ALL: usize = 128 << 20;

    fn take(ring: &OutputRing) -> Option<WaitingOutput> {
        ring.next().now_or_never().flatten()
    }

    proptest! {
        /// The waiting outputs are within their bounds, or a single one; numbers only go up, and
        /// every output was either read or is counted as dropped.
        #[test]
        fn what_waits_is_bounded_and_accounted_for(
            steps in prop::collection::vec(prop::option::weighted(0.7, 0_usize..5 << 20), 1..60),
            others in 0_usize..40,
        ) {
            let rings = RingBudget::new(ALL);
            let _others: Vec<_> = (0..others).map(|_| ring(1, &rings)).collect();
            let (_inlet, ring) = ring(8, &rings);
            let most = MOST.min(ALL / (others + 1));
            // One buffer for all: only the length is counted.
            let buffer = Bytes::from(vec![0; 5 << 20]);
            let (mut read, mut last) = (0, 0);
            for step in steps {
                match step {
                    Some(size) => ring.push(Vec::new(), buffer.slice(..size), 0),
                    None => if let Some(waiting) = take(&ring) {
                        prop_assert!(waiting.number > last);
                        (read, last) = (read + 1, waiting.number);
                    }
                }
                let state = ring.lock();
                prop_assert!(state.bytes <= most || state.waiting.len() == 1);
                prop_assert!(state.waiting.len() <= 8);
                prop_assert_eq!(state.received, read + state.dropped + state.waiting.len() as u64);
                prop_assert_eq!(state.bytes, state.waiting.iter().map(WaitingOutput::bytes).sum::<usize>());
            }
        }
    }

    #[test]
    fn a_ring_that_is_gone_leaves_its_part_to_the_others() {
        let rings = RingBudget::new(ALL);
        let (inlet, kept) = ring(1, &rings);
        let other = ring(1, &rings);
        assert_eq!(rings.count.load(Ordering::Relaxed), 2);
        drop(other);
        drop(inlet);
        assert_eq!(rings.count.load(Ordering::Relaxed), 1);
        drop(kept);
        assert_eq!(rings.count.load(Ordering::Relaxed), 0);
    }
}

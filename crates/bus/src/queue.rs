//! The buffer of a subscription.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::sync::Notify;

use super::{
    Envelope, OverflowPolicy,
    sync::{Mutex, MutexGuard},
};

/// Bounded queue of many publishers and one reader.
pub(super) struct SubscriberQueue {
    capacity: usize,
    state: Mutex<QueueState>,
    /// Publishers that wait for room, in line.
    room: Notify,
}

#[derive(Default)]
struct QueueState {
    items: VecDeque<Arc<Envelope>>,
    phase: QueuePhase,
    /// Waker of the reader, if it has found the queue empty.
    reader: Option<Waker>,
}

/// Phase of the queue; only moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum QueuePhase {
    #[default]
    Open,
    /// Envelopes with room still come in, but publishers no longer wait for room.
    Hurried,
    /// Nothing comes in; what is buffered may be read.
    Closed,
}

/// Result of a push.
pub(super) enum PushResult {
    In,
    /// The envelope is in; this one was evicted for it.
    Instead(Arc<Envelope>),
    Full,
    Closed,
}

impl SubscriberQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::default(), room: Notify::new() }
    }

    pub(super) fn push(&self, envelope: &Arc<Envelope>, policy: OverflowPolicy) -> PushResult {
        let mut state = self.lock();
        if state.phase == QueuePhase::Closed {
            return PushResult::Closed;
        }
        let evicted = match policy {
            _ if state.items.len() < self.capacity => None,
            OverflowPolicy::DropOldest => state.items.pop_front(),
            OverflowPolicy::Block if state.phase == QueuePhase::Hurried => return PushResult::Closed,
            _ => return PushResult::Full,
        };
        state.items.push_back(Arc::clone(envelope));
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        evicted.map_or(PushResult::In, PushResult::Instead)
    }

    /// Pushes as soon as there is room. Cancel safe: the envelope is then not in, and the room goes
    /// to another publisher.
    pub(super) async fn push_when_room(&self, envelope: &Arc<Envelope>) -> PushResult {
        loop {
            // Registered before the push, so that room made in between is not missed.
            let room = self.room.notified();
            match self.push(envelope, OverflowPolicy::Block) {
                PushResult::Full => room.await,
                pushed => return pushed,
            }
        }
    }

    /// Takes the oldest envelope; `None` when the queue is closed and empty.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<Option<Arc<Envelope>>> {
        let mut state = self.lock();
        if let Some(envelope) = state.items.pop_front() {
            drop(state);
            self.room.notify_one();
            return Poll::Ready(Some(envelope));
        }
        if state.phase == QueuePhase::Closed {
            return Poll::Ready(None);
        }
        let earlier = state.reader.replace(context.waker().clone());
        drop(state);
        // Outside the lock, since dropping a waker may run any code.
        drop(earlier);
        Poll::Pending
    }

    /// Stops publishers from waiting for room.
    pub(super) fn hurry(&self) {
        let mut state = self.lock();
        state.phase = state.phase.max(QueuePhase::Hurried);
        drop(state);
        self.room.notify_waiters();
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.phase = QueuePhase::Closed;
        let reader = state.reader.take();
        drop(state);
        self.room.notify_waiters();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

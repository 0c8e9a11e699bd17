//! What waits for a consumer: a bounded number of frames, of which the oldest is dropped for a new one (L95, X2). For the
//! router it is a sink that takes everything at once.

use std::{
    collections::VecDeque,
    future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::protocol::Event;
use crate::sink::{Confirmation, Output, Refusal, Sink, Slot, line};

/// The end that the route writes to. Frames that are left when it is gone can still be read.
pub(super) struct Inlet {
    ring: Arc<Ring>,
    last: Option<Slot>,
}

pub(super) struct Ring {
    state: Mutex<State>,
    changed: Notify,
    capacity: usize,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Vec<u8>>,
    received: u64,
    dropped: u64,
    is_closed: bool,
}

pub(super) fn ring(capacity: usize) -> (Inlet, Arc<Ring>) {
    let ring = Arc::new(Ring { state: Mutex::default(), changed: Notify::new(), capacity: capacity.max(1) });
    (Inlet { ring: Arc::clone(&ring), last: None }, ring)
}

impl Ring {
    /// The oldest frame that waits; `None` when there is none and will be none. For one reader. Cancel safe.
    pub(super) async fn next(&self) -> Option<Vec<u8>> {
        loop {
            {
                let mut state = self.lock();
                if let Some(frame) = state.frames.pop_front() {
                    return Some(frame);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Outputs so far, and how many of them were dropped.
    pub(super) fn counts(&self) -> (u64, u64) {
        let state = self.lock();
        (state.received, state.dropped)
    }

    fn push(&self, frame: impl FnOnce(u64) -> Vec<u8>) {
        let mut state = self.lock();
        state.received += 1;
        let frame = frame(state.received);
        if state.frames.len() == self.capacity {
            state.frames.pop_front();
            state.dropped += 1;
        }
        state.frames.push_back(frame);
        drop(state);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.ring.lock().is_closed = true;
        self.ring.changed.notify_one();
    }
}

impl Sink for Inlet {
    async fn write(&mut self, slot: Slot, output: &Output) -> Result<(), Refusal> {
        let mut payload = Vec::with_capacity(output.payload.len() + 1);
        line::append(&mut payload, &output.payload);
        // A line is one JSON value by construction.
        let payload = String::from_utf8(payload).ok().and_then(|text| RawValue::from_string(text).ok());
        let payload = payload.as_deref().unwrap_or(RawValue::NULL);
        let event = output.ticket.event();
        let observed_at = Timestamp::from_nanosecond(event.observed_at.into()).unwrap_or_default().to_string();
        self.ring.push(|seq| {
            let event = Event {
                seq,
                event_id: (&*event.id).into(),
                event_type: (&*event.event_type).into(),
                subject: output.subject.as_deref().unwrap_or(&event.subject).into(),
                source_time: event.source_time.as_deref().unwrap_or_default().into(),
                observed_at: observed_at.as_str().into(),
                payload,
            };
            event.line()
        });
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

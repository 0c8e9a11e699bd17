//! Time limits for clients that keep us waiting.

use std::{
    sync::{Arc, Mutex, MutexGuard},
    task::Waker,
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::time::Instant;

use super::{HttpListener, ListenerLimits};
use crate::poison::ignore_poison;

/// Time and bytes that a client has for a request's head, and time for taking an answer. There is
/// no limit while we work for the client.
#[derive(Clone)]
pub struct ClientPatience {
    limits: ListenerLimits,
    state: Arc<Mutex<PatienceState>>,
}

/// State of the wait for a client.
struct PatienceState {
    /// `None` while the client waits for us.
    wait: Option<ClientWait>,
    /// Bytes that it has sent since the wait began.
    read: usize,
    /// Wakes the connection to check the time again.
    waker: Option<Waker>,
}

#[derive(Clone, Copy)]
struct ClientWait {
    since: Instant,
    until: Instant,
}

impl ClientPatience {
    pub(super) fn new(limits: ListenerLimits) -> Self {
        let since = Instant::now();
        let state =
            PatienceState { wait: Some(ClientWait { since, until: since + limits.head }), read: 0, waker: None };
        Self { limits, state: Arc::new(Mutex::new(state)) }
    }

    /// Stops the time as long as the result lives.
    pub fn suspend(self) -> SuspendedPatience {
        self.lock().wait = None;
        SuspendedPatience(self)
    }

    /// Returns the time at which the wait ends. `waker` is woken if that becomes earlier.
    pub(super) fn until(&self, waker: &Waker) -> Option<Instant> {
        let mut state = self.lock();
        match &mut state.waker {
            Some(known) => known.clone_from(waker),
            None => state.waker = Some(waker.clone()),
        }
        state.wait.map(|wait| wait.until)
    }

    /// Most bytes that may be read now: limited for a head, unlimited for the rest.
    pub(super) fn may_read(&self) -> usize {
        let state = self.lock();
        state.wait.map_or(usize::MAX, |_| self.limits.max_head.saturating_sub(state.read))
    }

    pub(super) fn has_read(&self, bytes: usize) {
        let mut state = self.lock();
        if state.wait.is_some() {
            state.read += bytes;
        }
    }

    /// Time since which the client has been waited for.
    pub(super) fn since(&self) -> Option<Instant> {
        self.lock().wait.map(|wait| wait.since)
    }

    /// Ends the wait now, unless we work for the client.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        if let Some(wait) = &mut state.wait {
            wait.until = Instant::now();
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, PatienceState> {
        ignore_poison(self.state.lock())
    }
}

/// Work for a client, whose time begins anew when this is dropped.
pub struct SuspendedPatience(ClientPatience);

impl Drop for SuspendedPatience {
    fn drop(&mut self) {
        let since = Instant::now();
        let mut state = self.0.lock();
        state.wait = Some(ClientWait { since, until: since + self.0.limits.idle });
        state.read = 0;
    }
}

impl Connected<IncomingStream<'_, HttpListener>> for ClientPatience {
    fn connect_info(stream: IncomingStream<'_, HttpListener>) -> Self {
        stream.io().patience()
    }
}

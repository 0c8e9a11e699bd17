//! Tap: copies of events as they come in, for requests that follow what becomes of them.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;

use crate::{event::Event, poison::ignore_poison};

/// Tap on a source's events. Without a request, an event costs a look at a flag.
#[derive(Debug, Default)]
pub struct Tap {
    is_open: AtomicBool,
    waiting: Mutex<Vec<mpsc::Sender<Event>>>,
}

impl Tap {
    /// Requests the next event that comes in, and no further one. A request at several sources gets
    /// the first of their events.
    pub fn ask(&self, sender: mpsc::Sender<Event>) {
        let mut waiting = ignore_poison(self.waiting.lock());
        // Without this a source without events would gather requests that have been given up.
        waiting.retain(|other| !other.is_closed());
        waiting.push(sender);
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Sends the event to every pending request.
    pub fn show(&self, event: &Event) {
        if self.is_open.load(Ordering::Relaxed) {
            self.hand_on(event);
        }
    }

    #[cold]
    fn hand_on(&self, event: &Event) {
        let mut waiting = ignore_poison(self.waiting.lock());
        self.is_open.store(false, Ordering::Relaxed);
        for sender in waiting.drain(..) {
            // Another source may have been faster, or the request may have been given up.
            let _ = sender.try_send(event.clone());
        }
    }
}

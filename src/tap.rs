//! A look at events as they come in, for whoever wants to know what becomes of them.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;

use crate::event::Event;

/// Where a source's events can be seen. While nobody looks, an event costs the look at a flag.
#[derive(Debug, Default)]
pub struct Tap {
    is_open: AtomicBool,
    waiting: Mutex<Vec<mpsc::Sender<Event>>>,
}

impl Tap {
    /// Hands on the next event that comes in, and no further one. Whoever asks at several sources gets the first of them.
    pub fn ask(&self, sender: mpsc::Sender<Event>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A source without events must not gather those who have given up.
        waiting.retain(|other| !other.is_closed());
        waiting.push(sender);
        self.is_open.store(true, Ordering::Relaxed);
    }

    /// Lets those see the event who have asked.
    pub fn show(&self, event: &Event) {
        if self.is_open.load(Ordering::Relaxed) {
            self.hand_on(event);
        }
    }

    #[cold]
    fn hand_on(&self, event: &Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_open.store(false, Ordering::Relaxed);
        for sender in waiting.drain(..) {
            // Another source may have been faster, or nobody waits any more.
            let _ = sender.try_send(event.clone());
        }
    }
}

//! Keys that a source serves: an isolated key has a source of its own, from a place in the stream
//! on.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// Keys with a consumer of their own, each with the sequence of the stream from which on it serves
/// the key. Earlier events come to the key with all others. The sequence is the consumer's own, so
/// that all routers agree on it, at any time.
#[derive(Clone, Debug, Default)]
pub struct OwnConsumers {
    firsts: Arc<RwLock<HashMap<Arc<str>, u64>>>,
    /// True once there ever was one: mostly there is none, and every event would take the lock to
    /// find out.
    is_used: Arc<AtomicBool>,
}

impl OwnConsumers {
    pub fn begin(&self, key: Arc<str>, first: u64) {
        self.is_used.store(true, Ordering::Release);
        self.firsts.write().unwrap_or_else(PoisonError::into_inner).insert(key, first);
    }

    /// Notes that the key's consumer was recreated, and may begin earlier: its stream is another
    /// one.
    pub(super) fn begin_again(&self, key: &str, first: u64) {
        if let Some(known) = self.firsts.write().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            *known = first.min(*known);
        }
    }

    /// Returns the key's events to the shared consumer.
    pub fn end(&self, key: &str) {
        self.firsts.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub fn first(&self, key: &str) -> Option<u64> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        self.firsts.read().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }
}

/// Events that a source's intake hands on.
#[derive(Debug, Default)]
pub(super) enum Scope {
    #[default]
    All,
    /// All events but those from the consumers of isolated keys.
    Shared(OwnConsumers),
    /// Events for one key, which is one of these.
    Key(Arc<str>, OwnConsumers),
}

impl Scope {
    /// Returns whether a key gets its events from the source.
    pub(super) fn serves(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Shared(own) => own.first(key).is_none(),
            Self::Key(name, _) => **name == *key,
        }
    }

    /// Returns whether a key gets the event of this sequence from the source.
    pub(super) fn admits(&self, key: &str, sequence: u64) -> bool {
        match self {
            Self::Shared(own) => own.first(key).is_none_or(|first| sequence < first),
            Self::All | Self::Key(..) => self.serves(key),
        }
    }
}

//! Keys that a source serves: an isolated key has a source of its own, from a place in the stream
//! on.

use std::{
    collections::HashMap,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::poison::ignore_poison;

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
        ignore_poison(self.firsts.write()).insert(key, first);
    }

    /// Notes that the key's consumer was recreated, and may begin earlier: its stream is another
    /// one.
    pub(super) fn begin_again(&self, key: &str, first: u64) {
        if let Some(known) = ignore_poison(self.firsts.write()).get_mut(key) {
            *known = first.min(*known);
        }
    }

    /// Returns the key's events to the shared consumer.
    pub fn end(&self, key: &str) {
        ignore_poison(self.firsts.write()).remove(key);
    }

    pub fn first(&self, key: &str) -> Option<u64> {
        if !self.is_used.load(Ordering::Acquire) {
            return None;
        }
        ignore_poison(self.firsts.read()).get(key).copied()
    }
}

/// Events that a source's intake hands on.
#[derive(Debug, Default)]
pub(super) enum IntakeScope {
    #[default]
    All,
    /// All events but those from the consumers of isolated keys.
    Shared(OwnConsumers),
    /// Events for one key, which is one of these.
    Key(Arc<str>, OwnConsumers),
}

impl IntakeScope {
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

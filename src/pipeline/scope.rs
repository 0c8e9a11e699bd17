//! Which keys a source serves: an isolated key has a source of its own, from a place in the stream on.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

/// The keys with a consumer of their own, and from which sequence of the stream on each has its events from there. What lies
/// before comes to them with everything else. That place is the consumer's own, so that all routers agree on it, at any time.
#[derive(Clone, Debug, Default)]
pub struct OwnConsumers {
    firsts: Arc<RwLock<HashMap<Arc<str>, u64>>>,
    /// Whether there ever was one: mostly there is none, and every event would take the lock to find out.
    is_used: Arc<AtomicBool>,
}

impl OwnConsumers {
    pub fn begin(&self, key: Arc<str>, first: u64) {
        self.is_used.store(true, Ordering::Release);
        self.firsts.write().unwrap_or_else(PoisonError::into_inner).insert(key, first);
    }

    /// The key's consumer has been made again, and may begin earlier: its stream is another one.
    pub(super) fn begin_again(&self, key: &str, first: u64) {
        if let Some(known) = self.firsts.write().unwrap_or_else(PoisonError::into_inner).get_mut(key) {
            *known = first.min(*known);
        }
    }

    /// The key's events come with all others again.
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

/// What a source's intake hands on.
#[derive(Debug, Default)]
pub(super) enum Scope {
    #[default]
    All,
    /// All but what comes from the consumers of isolated keys.
    Shared(OwnConsumers),
    /// What is for one key, which is one of these.
    Key(Arc<str>, OwnConsumers),
}

impl Scope {
    /// Whether a key gets its events from the source.
    pub(super) fn serves(&self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Shared(own) => own.first(key).is_none(),
            Self::Key(name, _) => **name == *key,
        }
    }

    /// Whether a key gets the event of this sequence from the source.
    pub(super) fn admits(&self, key: &str, sequence: u64) -> bool {
        match self {
            Self::Shared(own) => own.first(key).is_none_or(|first| sequence < first),
            Self::All | Self::Key(..) => self.serves(key),
        }
    }
}

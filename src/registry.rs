//! The key registry in force: an immutable [`Snapshot`], swapped as a whole when something was reloaded.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use tokio::sync::Semaphore;

use crate::{
    config::{OnQuarantine, Retry},
    event::{Event, Pattern},
    field::Field,
    filter::{Filter, Subscription},
    metrics::KeyMetrics,
    sink::outlet::Queue,
};

mod index;
mod loader;
mod watch;

pub use index::Index;
pub use loader::{Loader, Report};
pub use watch::Watch;

/// Hears of every new snapshot.
pub type Snapshots = tokio::sync::watch::Receiver<Arc<Snapshot>>;

/// What an event must have to concern a key: those given must both match (X10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub subject: Option<Pattern>,
    pub event_type: Option<String>,
}

/// One entry of the registry, ready for work.
#[derive(Debug)]
pub struct Key {
    pub name: Arc<str>,
    pub ordering: Ordering,
    /// Lanes that may be inside `process` at once.
    pub workers: Semaphore,
    /// Places for events that wait for their lane. A source takes one, the lane gives it back.
    pub buffer: Semaphore,
    pub retry: Retry,
    /// Without one every event passes as it is.
    pub filter: Option<Filter>,
    pub on_quarantine: OnQuarantine,
    pub routes: Vec<Route>,
    pub metrics: Arc<KeyMetrics>,
}

/// A route of a key.
#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// What the key's filter made of the route's params.
    pub subscription: Option<Arc<Subscription>>,
    pub sinks: Vec<Queue>,
}

/// Events that agree in this keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// Any lane will do. The event's own id spreads them.
    None,
    By(Field),
}

impl Ordering {
    /// Equal for events that must stay in order. Events without the field are kept in order too.
    pub fn hash(&self, event: &Event) -> u64 {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::None => hasher.write(event.id.as_bytes()),
            Self::By(field) => hasher.write(field.of(event).as_deref().unwrap_or_default().as_bytes()),
        }
        hasher.finish()
    }
}

/// One generation of the registry.
#[derive(Debug, Default)]
pub struct Snapshot {
    pub generation: u64,
    keys: Vec<Arc<Key>>,
    by_name: HashMap<Arc<str>, usize>,
    index: Index,
}

impl Snapshot {
    /// Names must be unique. Keys without a route are left out: nobody would see what they let through.
    pub fn new(generation: u64, keys: Vec<(Interest, Key)>) -> Self {
        let mut snapshot = Self { generation, ..Self::default() };
        for (interest, key) in keys {
            if key.routes.is_empty() {
                continue;
            }
            let position = snapshot.keys.len();
            snapshot.index.insert(interest.subject.as_ref(), interest.event_type.as_deref(), position);
            snapshot.by_name.insert(Arc::clone(&key.name), position);
            snapshot.keys.push(Arc::new(key));
        }
        snapshot
    }

    /// The keys that the event's subject and event type concern.
    pub fn candidates(&self, event: &Event, mut each: impl FnMut(&Arc<Key>)) {
        self.index.look_up(&event.subject, &event.event_type, |position| {
            if let Some(key) = self.keys.get(position) {
                each(key);
            }
        });
    }

    pub fn key(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(*self.by_name.get(name)?)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter()
    }
}

//! Key registry in force: an immutable [`Snapshot`], swapped as a whole on every change.

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::sync::Semaphore;

use crate::{
    condition::Conditions,
    config::{OnQuarantine, RetryPolicy},
    event::{Event, Pattern},
    field::Field,
    filter::{Filter, RouteSubscription},
    metrics::KeyMetrics,
    schema_registry::{SchemaGap, SchemaRequests},
};

mod attach;
mod by_type;
mod index;
mod interest;
mod load;
mod loader;
mod subscription_id;
mod tenure;
mod ticking;
mod validation;
mod watch;
mod wire;

pub use attach::{AttachError, AttachRequest, ConsumerStanding, RegistryChange, ServedConsumer};
use by_type::ByType;
pub use index::KeyIndex;
pub use interest::KeyInterest;
pub use load::{HeldLoad, KeyLoad};
pub use loader::{
    ChangedEntry, EntryChange, EntryKind, Loader, RegistryDifference, RegistryReader, ReleaseError, ReloadReport,
};
pub use subscription_id::SubscriptionId;
pub use tenure::{EnterError, LEASE, TENURES, Tenure, TenureRequest, Tenures, TickClaims};
pub use ticking::{RouteName, ticking};
pub use validation::OutputValidation;
pub use watch::{FolderWatch, is_read};
pub use wire::{EventDecoding, SinkTarget};

/// Receiver of new snapshots.
pub type Snapshots = tokio::sync::watch::Receiver<Arc<Snapshot>>;

/// A key of the registry, ready for work.
#[derive(Debug)]
pub struct Key {
    pub name: Arc<str>,
    pub ordering: KeyOrdering,
    /// Permits for lanes to be inside `process` at once.
    pub workers: Arc<Semaphore>,
    /// Places for events that wait for their lane. A source takes one, and the lane gives it back.
    pub buffer: Arc<Semaphore>,
    /// Load of events that wait in the lanes, of all generations.
    pub load: Arc<KeyLoad>,
    pub retry: RetryPolicy,
    /// Decoding of payloads. Without one they are passed on unread.
    pub decoding: Option<EventDecoding>,
    /// Requests for schemas that are not known. Without them there is no schema registry.
    pub schema_requests: Option<SchemaRequests>,
    /// Filter of the key. Without one every event passes as it is.
    pub filter: Option<Filter>,
    pub on_quarantine: OnQuarantine,
    /// True if the filter may set the headers that tell for whom an event happened.
    pub sets_identity: bool,
    /// Validation of outputs. Without one they are not checked.
    pub validation: Option<OutputValidation>,
    pub routes: Vec<Route>,
    /// Pattern of the subjects it takes; `None` if that is left to the event type.
    pub subject: Option<Pattern>,
    /// True if its events come from a consumer of its own, where its source can give it one.
    pub is_isolated: bool,
    /// True if its events wait until an operator resumes it.
    pub is_paused: bool,
    pub metrics: Arc<KeyMetrics>,
}

/// A route of a key.
#[derive(Debug)]
pub struct Route {
    pub name: Arc<str>,
    /// Conditions of `where`, of the key and of the route: all must hold.
    pub conditions: Vec<Conditions>,
    /// Subscription that the key's filter made for the route's params.
    pub subscription: Option<Arc<RouteSubscription>>,
    pub sinks: Vec<SinkTarget>,
}

impl Route {
    /// Returns the sinks of an output that chooses `sink`, or all without a choice. All also where
    /// the route has no such sink: a consumer that is attached sees whatever comes out.
    pub fn chosen(&self, sink: Option<&str>) -> impl Iterator<Item = &SinkTarget> {
        let sink = sink.filter(|name| self.sinks.iter().any(|sink| **sink.queue.name() == **name));
        self.sinks.iter().filter(move |target| sink.is_none_or(|name| **target.queue.name() == *name))
    }
}

/// Ordering of a key's events: those that agree in the field keep their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyOrdering {
    /// No order. The event's unique id spreads events over the lanes.
    None,
    By(Field),
}

impl Key {
    /// Asks the schema registry for an event's schema if it is not known. `None` if nothing is to
    /// be asked for.
    pub fn schema_gap(&self, event: &Event) -> Option<SchemaGap> {
        let (requests, decoding) = self.schema_requests.as_ref().zip(self.decoding.as_ref())?;
        decoding.unknown_id(&event.payload).map(|id| requests.ask(id))
    }

    /// The order that stands for all of the key, where an event's order is told by a payload whose
    /// schema may be unknown for a while. [`Self::order`] gives it to such an event.
    pub fn hidden_order(&self) -> Option<u64> {
        let is_hidden = matches!(self.ordering, KeyOrdering::By(Field::Pointer(_)))
            && self.schema_requests.is_some()
            && matches!(self.decoding, Some(EventDecoding::Avro(_) | EventDecoding::Auto(_)));
        is_hidden.then(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write(self.name.as_bytes());
            hasher.finish()
        })
    }

    /// Order of a route's ticks, which no event has.
    pub fn order_of_ticks(&self, route: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        (&*self.name, route, "tick").hash(&mut hasher);
        hasher.finish()
    }

    /// Hash that is equal for events that must stay in order, which includes all events without the
    /// field. A field of the payload is looked up in its JSON, also where the payload is Avro.
    pub fn order(&self, event: &Event) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.name.as_bytes());
        match &self.ordering {
            KeyOrdering::None => event.uid.hash(&mut hasher),
            KeyOrdering::By(Field::Pointer(pointer)) => {
                let payload = Cow::Borrowed(&*event.payload);
                let payload = self.decoding.as_ref().map_or(payload, |decoding| decoding.avro_as_json(&event.payload));
                hasher.write(pointer.text(&payload).ok().flatten().unwrap_or_default().as_bytes());
            }
            KeyOrdering::By(field) => hasher.write(field.of(event).as_deref().unwrap_or_default().as_bytes()),
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
    index: KeyIndex,
    by_type: ByType,
}

impl Snapshot {
    /// Builds a snapshot. Names must be unique. Keys without a route are left out, as their outputs
    /// go nowhere.
    pub fn new(generation: u64, keys: impl IntoIterator<Item = (KeyInterest, impl Into<Arc<Key>>)>) -> Self {
        let mut snapshot = Self { generation, ..Self::default() };
        for (interest, key) in keys {
            let key = key.into();
            if key.routes.is_empty() {
                continue;
            }
            let position = snapshot.keys.len();
            match interest {
                KeyInterest::Named { subject, event_type } => {
                    snapshot.index.insert(subject.as_ref(), event_type.as_deref(), position);
                }
                KeyInterest::Matching(pattern) => snapshot.by_type.insert(pattern, position),
                KeyInterest::Rest => snapshot.by_type.insert_rest(position),
            }
            snapshot.by_name.insert(Arc::clone(&key.name), position);
            snapshot.keys.push(key);
        }
        snapshot
    }

    /// Calls `each` for the keys that take the event's subject and event type.
    pub fn candidates(&self, event: &Event, mut each: impl FnMut(&Arc<Key>)) {
        let mut found = |position: usize| {
            if let Some(key) = self.keys.get(position) {
                each(key);
            }
        };
        self.index.look_up(&event.subject, &event.event_type, &mut found);
        self.by_type.look_up(&event.event_type, found);
    }

    /// Returns whether a key other than `greedy`, of those that a source `serves`, has no waiting
    /// events and may have some. Unless `greedy` stands still, only keys count that have had
    /// events: events that are given back lose their order, and a merely busy key should not lose
    /// it for an unused one.
    pub fn has_idle_key(&self, greedy: &Key, serves: impl Fn(&Key) -> bool) -> bool {
        let stands_still = greedy.load.stands_still();
        let is_idle = |key: &Key| key.load.is_empty() && (stands_still || key.metrics.matched.get() > 0);
        self.keys.iter().any(|key| key.name != greedy.name && serves(key) && is_idle(key))
    }

    /// Returns whether keys that a source `serves` and that are too slow have used more than
    /// `bytes` of its budget up, while others could go on.
    pub fn is_hogged(&self, bytes: u64, serves: impl Fn(&Key) -> bool) -> bool {
        let (mut used, mut stands_still, mut is_idle, mut is_unused) = (0, false, false, false);
        for key in self.keys.iter().filter(|key| serves(key)) {
            if key.load.is_slow() {
                used += key.load.bytes();
                stands_still |= key.load.stands_still();
            } else if key.load.is_empty() {
                *(if key.metrics.matched.get() > 0 { &mut is_idle } else { &mut is_unused }) = true;
            }
        }
        used > bytes && (is_idle || is_unused && stands_still)
    }

    /// Returns whether the keys that a source `serves` have sinks, and none of these has taken
    /// anything for a while.
    pub fn takes_nothing(&self, serves: impl Fn(&Key) -> bool) -> bool {
        let served = self.keys.iter().filter(|key| serves(key));
        let mut sinks = served.flat_map(|key| &key.routes).flat_map(|route| &route.sinks).peekable();
        sinks.peek().is_some() && sinks.all(|sink| sink.queue.is_away())
    }

    pub fn key(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.get(*self.by_name.get(name)?)
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter()
    }
}

//! Attaching to a key: a route of its own, whose outputs wait in a ring for one reader.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    watch,
};

use super::{
    lines::LineCache,
    protocol::{ConsumerStatus, EVENT_END},
    ring::{MOST, OutputRing, RingBudget, WaitingOutput, ring},
};
use crate::{
    condition::ConditionLists,
    config::{OnFailure, RetryPolicy},
    poison::ignore_poison,
    registry::{AttachError, AttachRequest, ConsumerStanding, RegistryChange, ServedConsumer},
    sink::outlet::{Outlet, OutletCapacity, OutletPolicy, RefusedDestination},
    stop::Stop,
};

/// Outputs on their way to the ring.
const QUEUE: usize = 64;
/// Most outputs that may wait for one consumer (L05).
pub const MAX_BUFFER: usize = 1000;
/// Fraction of the consumers' room (as its divisor) for lines that several of them share.
const LINES: usize = 9;

/// The place where consumers attach to keys, over whichever listener they come.
pub struct ConsumerDesk {
    changes: mpsc::Sender<RegistryChange>,
    stop: Stop,
    /// True once events can come.
    started: watch::Receiver<bool>,
    /// Most bytes on the way to one ring.
    on_the_way: usize,
    rings: Arc<RingBudget>,
    lines: LineCache,
    numbers: AtomicU64,
    /// Consumers that came over another listener than the control socket, by their numbers.
    followers: Mutex<BTreeMap<u64, AttachedConsumer>>,
}

/// A consumer in the list of those that are attached.
pub(super) struct AttachedConsumer {
    /// Its process; `None` for a client of the admin listener.
    pub(super) pid: Option<u32>,
    pub(super) key: String,
    pub(super) subscription_id: String,
    pub(super) ring: Arc<OutputRing>,
}

/// Entry of a follower in the list, removed on drop.
pub struct ListedFollower {
    desk: Arc<ConsumerDesk>,
    number: u64,
}

/// A consumer's wish.
pub struct KeyRequest {
    pub key: String,
    /// Params as given, unchecked.
    pub params: BTreeMap<String, String>,
    /// Conditions beside those of the key.
    pub conditions: ConditionLists,
    /// Description of the consumer in messages to others.
    pub who: String,
    /// Outputs that may wait for it.
    pub buffer: usize,
}

/// A consumer's key. Detaches when it is dropped.
pub struct AttachedKey {
    /// Number that no other consumer of this run has.
    pub(super) number: u64,
    /// Params and subscription as they were at first.
    pub(super) served: ServedConsumer,
    pub(super) ring: Arc<OutputRing>,
    pub(super) stands: watch::Receiver<ConsumerStanding>,
    desk: Arc<ConsumerDesk>,
    _route: ConsumerRoute,
}

/// The next thing that a consumer learns.
pub enum KeyNews {
    Output(WaitingOutput),
    /// The key is gone, or does not accept the params any more, for this reason.
    Lost(String),
    /// The router has ended.
    End,
}

/// The route of a consumer, which ends with this.
struct ConsumerRoute {
    name: Arc<str>,
    changes: mpsc::Sender<RegistryChange>,
}

impl ConsumerDesk {
    /// Creates the desk of a router. `room` is what may wait for all consumers together, in bytes.
    pub fn new(
        changes: mpsc::Sender<RegistryChange>,
        room: usize,
        started: watch::Receiver<bool>,
        stop: Stop,
    ) -> Arc<Self> {
        let kept = room / LINES;
        let (rings, lines) = (RingBudget::new(room - kept), LineCache::new(kept));
        let (numbers, followers) = (AtomicU64::new(0), Mutex::default());
        Arc::new(Self { changes, stop, started, on_the_way: MOST.min(room), rings, lines, numbers, followers })
    }

    /// Returns the state of all followers.
    pub(super) fn followers(&self) -> Vec<ConsumerStatus> {
        ignore_poison(self.followers.lock()).values().map(AttachedConsumer::status).collect()
    }

    /// Waits until no more consumers can attach, since the router ends.
    pub(super) async fn closed(&self) {
        self.changes.closed().await;
    }

    /// Attaches a consumer. `None` if the router ends before that.
    ///
    /// # Errors
    /// Returns the reason why the consumer is not served.
    pub async fn attach(self: &Arc<Self>, request: KeyRequest) -> Option<Result<AttachedKey, AttachError>> {
        let KeyRequest { key, params, conditions, who, buffer } = request;
        let (inlet, ring) = ring(buffer.clamp(1, MAX_BUFFER), &self.rings);
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name: Arc<str> = format!("attached-{number}").into();
        let retry = RetryPolicy { min: Duration::ZERO, max: Duration::ZERO, patience: Duration::ZERO };
        // The ring refuses nothing, so there is nothing to retry.
        let policy = OutletPolicy { on_failure: OnFailure::Skip, retry, refused: RefusedDestination::Nowhere };
        let capacity = OutletCapacity { outputs: QUEUE, bytes: self.on_the_way };
        let (queue, outlet) = Outlet::new(inlet, &name, capacity, policy, Arc::default());
        tokio::spawn(outlet.run(self.stop.clone()));
        let (standing, mut stands) = watch::channel(ConsumerStanding::Waiting);
        let route = ConsumerRoute { name: Arc::clone(&name), changes: self.changes.clone() };
        let attach = AttachRequest { name, key, who, params, conditions, queue, standing };
        self.changes.send(RegistryChange::Attach(attach)).await.ok()?;
        match first_word(&mut stands).await? {
            Ok(served) => {
                let desk = Arc::clone(self);
                Some(Ok(AttachedKey { number, served, ring, stands, desk, _route: route }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

impl AttachedConsumer {
    pub(super) fn status(&self) -> ConsumerStatus {
        let (received, dropped) = self.ring.counts();
        ConsumerStatus {
            pid: self.pid,
            key: self.key.clone(),
            subscription_id: self.subscription_id.clone(),
            received,
            dropped,
        }
    }
}

impl Drop for ListedFollower {
    fn drop(&mut self) {
        ignore_poison(self.desk.followers.lock()).remove(&self.number);
    }
}

impl AttachedKey {
    /// Lists the consumer of this key among those that are attached.
    pub fn follow(&self, key: String) -> ListedFollower {
        let subscription_id = self.served.subscription_id.to_string();
        let follower = AttachedConsumer { pid: None, key, subscription_id, ring: Arc::clone(&self.ring) };
        ignore_poison(self.desk.followers.lock()).insert(self.number, follower);
        ListedFollower { desk: Arc::clone(&self.desk), number: self.number }
    }

    /// Waits until the sources are open: a consumer that is told so misses no later event.
    pub async fn ready(&self) {
        // An error means that the router ends, which is the next thing to learn.
        let _ = self.desk.started.clone().wait_for(|started| *started).await;
    }

    /// Waits for the next output, or for the end. Cancel safe.
    pub async fn next(&mut self) -> KeyNews {
        tokio::select! {
            waiting = self.ring.next() => waiting.map_or(KeyNews::End, KeyNews::Output),
            reason = lost(&mut self.stands) => KeyNews::Lost(reason),
        }
    }

    /// Returns an output as a JSON object on one line, in parts to be sent one after another.
    ///
    /// # Errors
    /// Returns an error if making the line panicked.
    pub async fn line(&self, output: WaitingOutput) -> io::Result<[Bytes; 3]> {
        let payload = self.desk.lines.of(output.payload).await?;
        Ok([output.begin.into(), payload, Bytes::from_static(EVENT_END)])
    }
}

/// Waits until the consumer is served or rejected. `None` if the router ends before that.
async fn first_word(stands: &mut watch::Receiver<ConsumerStanding>) -> Option<Result<ServedConsumer, AttachError>> {
    let standing = stands.wait_for(|standing| !matches!(standing, ConsumerStanding::Waiting)).await.ok()?;
    match &*standing {
        ConsumerStanding::Serving(serving) => Some(Ok(serving.clone())),
        ConsumerStanding::Lost(error) => Some(Err(error.clone())),
        ConsumerStanding::Waiting => None,
    }
}

/// Waits until the consumer is not served any more; returns the reason. For ever if the router
/// ends first: outputs in the ring are still sent.
async fn lost(stands: &mut watch::Receiver<ConsumerStanding>) -> String {
    let standing = stands.wait_for(|standing| matches!(standing, ConsumerStanding::Lost(_))).await;
    match standing.map(|standing| standing.clone()) {
        Ok(ConsumerStanding::Lost(error)) => error.to_string(),
        _ => std::future::pending().await,
    }
}

impl Drop for ConsumerRoute {
    fn drop(&mut self) {
        let detach = RegistryChange::Detach(Arc::clone(&self.name));
        let Err(TrySendError::Full(detach)) = self.changes.try_send(detach) else { return };
        // Without a runtime the router has ended, and its routes with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let changes = self.changes.clone();
        runtime.spawn(async move { changes.send(detach).await });
    }
}

//! Routers that share partitions through a bucket: who joins gets a share, who leaves or falls
//! silent gives it up, and the fence of the silent one has lapsed by then.

use crate::nats::NatsServer;
use crate::patience::until;
use crate::source;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::task::JoinHandle;
use trommel::{
    fence::Fence,
    fleet::{FleetMembership, FleetTerms, OwnershipChange},
    nats::{ConnectionLife, connect},
};

const TERMS: FleetTerms = FleetTerms { lease: Duration::from_secs(2), replicas: 1 };
const PARTITIONS: u32 = 6;

/// What a router runs, by partition.
type RunningPartitions = Arc<Mutex<BTreeMap<u32, (u64, Arc<Fence>)>>>;

/// A router that runs what it owns, and whose events settle at once.
struct TestRouter {
    membership: FleetMembership,
    running: RunningPartitions,
    source: JoinHandle<()>,
    leaving: Arc<tokio::sync::Notify>,
}

impl TestRouter {
    async fn join(server: &NatsServer) -> Self {
        let connection = connect(&source::nats(&server.url()), "fleet", ConnectionLife::Reconnecting).await.unwrap();
        let membership = FleetMembership::join(connection, TERMS).await.unwrap();
        let mut ownership = membership.own("EVENTS", PARTITIONS);
        let (running, leaving) = (RunningPartitions::default(), Arc::<tokio::sync::Notify>::default());
        let source = tokio::spawn({
            let (running, leaving) = (Arc::clone(&running), Arc::clone(&leaving));
            async move {
                let mut is_leaving = false;
                while !is_leaving || !running.lock().unwrap().is_empty() {
                    let change = tokio::select! {
                        change = ownership.next() => change,
                        () = leaving.notified() => {
                            ownership.retire();
                            is_leaving = true;
                            continue;
                        }
                    };
                    match change {
                        OwnershipChange::Take { partition, epoch, fence } => {
                            running.lock().unwrap().insert(partition, (epoch, fence));
                        }
                        OwnershipChange::Release { partition } => {
                            running.lock().unwrap().remove(&partition);
                            ownership.released(partition);
                        }
                        OwnershipChange::Lost { partition } => {
                            running.lock().unwrap().remove(&partition);
                        }
                    }
                }
                while !ownership.is_clear() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        Self { membership, running, source, leaving }
    }

    fn owned(&self) -> usize {
        self.running.lock().unwrap().values().filter(|(_, fence)| fence.holds()).count()
    }

    async fn leave(self) {
        self.leaving.notify_one();
        self.source.await.unwrap();
        self.membership.leave().await.unwrap();
    }

    /// Ends its task without a word. Returns the fences of what it ran.
    fn fall_silent(self) -> Vec<Arc<Fence>> {
        self.source.abort();
        self.running.lock().unwrap().values().map(|(_, fence)| Arc::clone(fence)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routers_that_join_and_leave_share_the_partitions() {
    let server = NatsServer::start().await;
    let one = TestRouter::join(&server).await;
    until("the only one owns all", async || one.owned() == 6).await;
    let other = TestRouter::join(&server).await;
    until("two have half each", async || (one.owned(), other.owned()) == (3, 3)).await;
    let third = TestRouter::join(&server).await;
    until("three have a third each", async || (one.owned(), other.owned(), third.owned()) == (2, 2, 2)).await;
    let epochs = |router: &TestRouter| router.running.lock().unwrap().values().map(|(epoch, _)| *epoch).max();
    assert!(epochs(&one) == Some(1), "what it always had has not moved");
    other.leave().await;
    until("its share is taken", async || (one.owned(), third.owned()) == (3, 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_router_is_fenced_before_its_partitions_are_taken() {
    let server = NatsServer::start().await;
    let one = TestRouter::join(&server).await;
    let other = TestRouter::join(&server).await;
    until("two have half each", async || (one.owned(), other.owned()) == (3, 3)).await;
    let fences = other.fall_silent();
    assert!(fences.iter().all(|fence| fence.holds()), "it has just renewed its lease");
    until("its share is taken", async || one.owned() > 3).await;
    assert!(fences.iter().all(|fence| !fence.holds()));
    until("all of it", async || one.owned() == 6).await;
}

//! Sources whose streams have partitions. Routers share them out, and each partition that this one
//! owns has a source and a consumer of its own, on one connection.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config,
    fence::Fence,
    fleet::{FleetMembership, OwnershipChange, PartitionOwnership},
    metrics::{Metrics, SourceMetrics},
    nats::Connection,
    pipeline::{Intake, Pipeline},
    source::{
        Source,
        jetstream::{JetStream, MessageReceipt},
    },
    stop::{Stop, Stopper, stop},
};

/// Pause before a consumer that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest time to tell the others that this router leaves.
const FAREWELL: Duration = Duration::from_secs(1);
/// Interval at which a router that leaves looks whether it owns anything.
const LOOK: Duration = Duration::from_millis(50);

/// The partitions of one source.
pub(super) struct PartitionedSource {
    pub(super) connection: Connection,
    pub(super) source: config::SourceConfig,
    pub(super) settings: config::JetStreamSource,
    pub(super) partitions: config::SourcePartitions,
    pub(super) in_flight: usize,
    pub(super) pipeline: Pipeline,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: Stop,
    pub(super) membership: FleetMembership,
}

/// Partitions at work.
struct OwnedPartitions {
    terms: PartitionedSource,
    ownership: PartitionOwnership,
    running: HashMap<u32, Stopper>,
    /// Partitions that are to be released once their sources have ended.
    releasing: HashSet<u32>,
    /// Partitions that were taken again while their earlier sources are still ending.
    taken_again: HashMap<u32, (u64, Arc<Fence>)>,
    sources: JoinSet<(u32, anyhow::Result<()>)>,
}

impl PartitionedSource {
    /// Runs a source for each partition that this router owns, until the router stops.
    ///
    /// # Errors
    /// Returns an error if one of them fails.
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (membership, mut stop) = (self.membership.clone(), self.stop.clone());
        // The same in all routers, whatever they call the source.
        let name = &format!("{}={}", self.settings.stream, self.settings.durable);
        let ownership = membership.own(name, self.partitions.count);
        let mut owned = OwnedPartitions {
            terms: self,
            ownership,
            running: HashMap::new(),
            releasing: HashSet::new(),
            taken_again: HashMap::new(),
            sources: JoinSet::new(),
        };
        tokio::select! {
            served = owned.serve() => served?,
            () = stop.draining() => {}
        }
        owned.ownership.retire();
        tokio::select! {
            left = owned.leave() => left?,
            () = stop.ended() => return owned.end().await,
        }
        drop(owned);
        if let Ok(Err(error)) = timeout(FAREWELL, membership.leave()).await {
            tracing::warn!(error = format!("{error:#}"), "could not leave the fleet in good order");
        }
        Ok(())
    }
}

impl OwnedPartitions {
    async fn serve(&mut self) -> anyhow::Result<()> {
        loop {
            self.turn(true).await?;
        }
    }

    /// Waits for one change, and carries it out. Cancel safe.
    async fn turn(&mut self, takes: bool) -> anyhow::Result<()> {
        tokio::select! {
            change = self.ownership.next() => self.change(change, takes),
            Some(ended) = self.sources.join_next() => self.ended(ended?)?,
        }
        Ok(())
    }

    /// Releases all partitions, in good order.
    async fn leave(&mut self) -> anyhow::Result<()> {
        while !self.ownership.is_clear() || !self.sources.is_empty() {
            if let Ok(turned) = timeout(LOOK, self.turn(false)).await {
                turned?;
            }
        }
        Ok(())
    }

    /// Gives up what is open: the others take the partitions when the lease expires.
    async fn end(mut self) -> anyhow::Result<()> {
        self.running.values().for_each(|stopper| stopper.end());
        while let Some(ended) = self.sources.join_next().await {
            self.ended(ended?)?;
        }
        Ok(())
    }

    fn change(&mut self, change: OwnershipChange, takes: bool) {
        let source = &self.terms.source.name;
        match change {
            // A router that leaves is asked for its release at once.
            OwnershipChange::Take { .. } if !takes => {}
            OwnershipChange::Take { partition, epoch, fence } => {
                if self.running.contains_key(&partition) {
                    self.taken_again.insert(partition, (epoch, fence));
                } else {
                    self.begin(partition, epoch, fence);
                }
            }
            OwnershipChange::Release { partition } => {
                self.taken_again.remove(&partition);
                match self.running.get(&partition) {
                    Some(stopper) => {
                        tracing::info!(
                            source,
                            partition,
                            "another router is to have the partition: its open events come first"
                        );
                        self.releasing.insert(partition);
                        stopper.drain();
                    }
                    None => self.ownership.released(partition),
                }
            }
            OwnershipChange::Lost { partition } => {
                tracing::warn!(
                    source,
                    partition,
                    "another router has the partition, or may have it: its events are forgotten"
                );
                self.taken_again.remove(&partition);
                self.releasing.remove(&partition);
                if let Some(stopper) = self.running.get(&partition) {
                    stopper.end();
                }
            }
        }
    }

    fn begin(&mut self, partition: u32, epoch: u64, fence: Arc<Fence>) {
        let PartitionedSource { connection, source, settings, partitions, in_flight, pipeline, metrics, .. } =
            &self.terms;
        tracing::info!(source = source.name, partition, epoch, "partition taken");
        let metrics = {
            let own = metrics.source(&format!("{}/{partition}", source.name));
            if metrics.source(&source.name).switch.is_on() {
                own.switch.pause();
            }
            own
        };
        metrics.connected.set(1);
        let (stopper, stop) = stop();
        let intake = pipeline.intake(Arc::clone(&metrics)).one_of(partitions.count);
        self.running.insert(partition, stopper);
        let task = PartitionTask {
            connection: connection.clone(),
            source: source.clone(),
            settings: settings.clone(),
            in_flight: *in_flight,
            partition: (partition, fence),
            metrics,
        };
        self.sources.spawn(async move { (partition, task.run(intake, stop).await) });
    }

    fn ended(&mut self, (partition, ended): (u32, anyhow::Result<()>)) -> anyhow::Result<()> {
        let name = &self.terms.source.name;
        self.running.remove(&partition);
        ended.with_context(|| format!("partition {partition} of source `{name}`"))?;
        if self.releasing.remove(&partition) {
            tracing::info!(source = name, partition, "partition released");
            self.ownership.released(partition);
        }
        if let Some((epoch, fence)) = self.taken_again.remove(&partition) {
            self.begin(partition, epoch, fence);
        }
        Ok(())
    }
}

/// The source of one partition.
struct PartitionTask {
    connection: Connection,
    source: config::SourceConfig,
    settings: config::JetStreamSource,
    in_flight: usize,
    partition: (u32, Arc<Fence>),
    metrics: Arc<SourceMetrics>,
}

impl PartitionTask {
    async fn run(self, intake: Intake<MessageReceipt>, mut stop: Stop) -> anyhow::Result<()> {
        let mut draining = stop.clone();
        let opened = tokio::select! {
            opened = self.open() => opened?,
            () = draining.draining() => return Ok(()),
            () = stop.ended() => return Ok(()),
        };
        let Some(jetstream) = opened else { return Ok(()) };
        let result = jetstream.run(intake, stop).await;
        // A partition that another router reads makes this one none the less ready.
        self.metrics.connected.set(1);
        result
    }

    /// Opens the consumer. `None` if the fence has lapsed before.
    async fn open(&self) -> anyhow::Result<Option<JetStream>> {
        let Self { connection, source, settings, in_flight, partition: (partition, fence), .. } = self;
        loop {
            if !fence.holds() {
                return Ok(None);
            }
            let own = (*partition, Arc::clone(fence));
            match JetStream::open_partition(connection.clone(), source, settings, *in_flight, own).await {
                Ok(opened) => return Ok(Some(opened)),
                Err(error) if error.is_passing() => {
                    let error = format!("{:#}", anyhow::Error::from(error));
                    tracing::warn!(source = source.name, partition, error, "can't open the partition yet");
                    sleep(AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

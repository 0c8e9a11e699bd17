//! Sources of isolated keys. Each has a consumer of its own, so that the server holds the key's
//! waiting messages, and no other key of the source is affected by them.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    app::patience::StartupPatience,
    config,
    metrics::Metrics,
    nats::{self, Connection, ConnectionLife},
    pipeline::{OwnConsumers, Pipeline},
    registry::{Key, Snapshots},
    source::{
        Source,
        jetstream::{JetStream, left_behind, own_durable, own_subjects},
    },
    stop::{Stop, Stopper, stop},
};

/// Pause before a consumer that could not be opened is tried again. Meanwhile the key's events come
/// with all others.
const AGAIN: Duration = Duration::from_secs(10);

/// The isolated keys of one source.
pub(super) struct IsolatedKeys {
    pub(super) nats: config::NatsConfig,
    pub(super) source: config::SourceConfig,
    pub(super) settings: config::JetStreamSource,
    pub(super) in_flight: usize,
    pub(super) pipeline: Pipeline,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshots: Snapshots,
    pub(super) own: OwnConsumers,
    pub(super) stop: Stop,
    pub(super) running: HashMap<Arc<str>, RunningSource>,
    pub(super) sources: JoinSet<(Arc<str>, anyhow::Result<()>)>,
}

/// A running source.
pub(super) struct RunningSource {
    /// The key as it was when the source was opened.
    key: Arc<Key>,
    stopper: Stopper,
}

impl IsolatedKeys {
    /// Opens the sources of all keys in force that are isolated, or were and still have their
    /// consumer.
    ///
    /// # Errors
    /// Returns an error if one can't be opened.
    pub(super) async fn open_all(
        &mut self,
        connection: &Connection,
        patience: &mut StartupPatience,
    ) -> anyhow::Result<()> {
        let left = left_behind(connection, &self.settings).await;
        let left = left.context("could not list the consumers of isolated keys")?;
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        for key in snapshot.keys() {
            let durable = own_durable(&self.settings.durable, &key.name);
            let is_left = !key.is_isolated && left.contains(&durable);
            if is_left {
                tracing::warn!(
                    source = self.source.name,
                    key = %key.name,
                    consumer = durable,
                    "the key is not isolated any more, and its consumer is there: it is read on. Once it is empty, \
                     delete it while no router runs"
                );
            }
            if key.is_isolated || is_left {
                let opened = patience.until_done(|| self.open(key)).await?;
                opened.into_iter().for_each(|opened| self.begin(key, opened));
            }
        }
        Ok(())
    }

    /// Opens the key's source; the number is the sequence from which it delivers. `None` if the key
    /// takes nothing from the source.
    async fn open(&self, key: &Key) -> anyhow::Result<Option<(JetStream, u64)>> {
        let Self { source, settings, .. } = self;
        let subjects = key.subject.as_ref().map(|subject| own_subjects(settings, subject)).unwrap_or_default();
        if subjects.is_empty() {
            return Ok(None);
        }
        let at = || format!("could not open source `{}` for key `{}`, as its `isolation` says", source.name, key.name);
        let connection =
            nats::connect(&self.nats, &self.name(&key.name), ConnectionLife::Reconnecting).await.with_context(at)?;
        let opened = JetStream::open_own(connection, source, settings, self.in_flight, (&key.name, subjects)).await;
        opened.map(Some).with_context(at)
    }

    /// Runs an open source. From here on the key's events come from there.
    fn begin(&mut self, key: &Arc<Key>, (jetstream, first): (JetStream, u64)) {
        let name = Arc::clone(&key.name);
        self.own.begin(Arc::clone(&name), first);
        let metrics = self.metrics.source(&self.name(&name));
        metrics.connected.set(1);
        if self.metrics.source(&self.source.name).switch.is_on() {
            metrics.switch.pause();
        }
        let (stopper, stop) = stop();
        let intake = self.pipeline.intake(metrics).only(Arc::clone(&name), self.own.clone());
        self.running.insert(Arc::clone(&name), RunningSource { key: Arc::clone(key), stopper });
        self.sources.spawn(async move { (name, jetstream.run(intake, stop).await) });
    }

    /// Name of the key's source in metrics and logs.
    fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.source.name)
    }

    /// Runs the sources, and starts and stops them as their keys change.
    ///
    /// # Errors
    /// Returns an error if one of them fails.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        let mut stop = self.stop.clone();
        let mut is_complete = true;
        loop {
            tokio::select! {
                () = changed(&mut self.snapshots) => {}
                Some(ended) = self.sources.join_next() => self.ended(ended?)?,
                () = sleep(AGAIN), if !is_complete => {}
                () = stop.draining() => break,
            }
            // Opening a source waits for the server: a stop must not wait for that.
            tokio::select! {
                all = self.follow() => is_complete = all,
                () = stop.draining() => break,
            }
        }
        self.running.values().for_each(|running| running.stopper.drain());
        loop {
            tokio::select! {
                ended = self.sources.join_next() => match ended {
                    Some(ended) => self.ended(ended?)?,
                    None => return Ok(()),
                },
                () = stop.ended() => {
                    self.running.values().for_each(|running| running.stopper.end());
                    while let Some(ended) = self.sources.join_next().await {
                        self.ended(ended?)?;
                    }
                }
            }
        }
    }

    fn ended(&mut self, (key, ended): (Arc<str>, anyhow::Result<()>)) -> anyhow::Result<()> {
        self.running.remove(&key);
        let name = self.name(&key);
        self.metrics.source(&name).paused.set(0);
        ended.with_context(|| format!("source `{name}`"))
    }

    /// Applies the keys in force. Returns whether all of them have their sources. Cancel safe.
    async fn follow(&mut self) -> bool {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        for (name, running) in &self.running {
            // A source that ends is opened again if its key exists. The server holds messages that
            // arrive meanwhile.
            if snapshot.key(name).is_none_or(|key| key.subject != running.key.subject) {
                running.stopper.drain();
            }
        }
        let mut is_complete = true;
        for key in snapshot.keys() {
            if !self.is_due(key) {
                continue;
            }
            match self.open(key).await {
                Ok(Some(opened)) => self.begin(key, opened),
                // The key takes nothing from the source now: any events come with all others.
                Ok(None) => self.own.end(&key.name),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "will try again");
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    /// Returns whether the key's source is to run and does not. A key that has had a consumer keeps
    /// it until the router is started again.
    fn is_due(&self, key: &Key) -> bool {
        (key.is_isolated || self.own.first(&key.name).is_some()) && !self.running.contains_key(&key.name)
    }
}

async fn changed(snapshots: &mut Snapshots) {
    if snapshots.changed().await.is_err() {
        // No further snapshots: the loader has ended.
        std::future::pending().await
    }
}

//! Sources of isolated keys. Each has a consumer of its own, so that the server holds what waits for the key, and no other
//! key of the source meets it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{task::JoinSet, time::sleep};

use crate::{
    app::patience::Patience,
    config,
    metrics::Metrics,
    nats::{self, Connection, Life},
    pipeline::{OwnConsumers, Pipeline},
    registry::{Key, Snapshots},
    source::{
        Source,
        jetstream::{JetStream, left_behind, own_durable, own_subjects},
    },
    stop::{Stop, Stopper, stop},
};

/// How long after a consumer could not be had it is tried again. Meanwhile the key's events come with all others.
const AGAIN: Duration = Duration::from_secs(10);

/// The isolated keys of one source.
pub(super) struct Isolated {
    pub(super) nats: config::Nats,
    pub(super) source: config::Source,
    pub(super) settings: config::JetStreamSource,
    pub(super) in_flight: usize,
    pub(super) pipeline: Pipeline,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshots: Snapshots,
    pub(super) own: OwnConsumers,
    pub(super) stop: Stop,
    pub(super) running: HashMap<Arc<str>, Running>,
    pub(super) sources: JoinSet<(Arc<str>, anyhow::Result<()>)>,
}

/// A source that runs.
pub(super) struct Running {
    /// As it was when the source was opened.
    key: Arc<Key>,
    stopper: Stopper,
}

impl Isolated {
    /// Opens the sources of all keys in force that are isolated, or were and have their consumer still.
    ///
    /// # Errors
    /// When one can't be opened.
    pub(super) async fn open_all(&mut self, connection: &Connection, patience: &mut Patience) -> anyhow::Result<()> {
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
                    "the key is not isolated any more, and its consumer is there: it is read on. Once it is empty, delete \
                     it while no router runs"
                );
            }
            if key.is_isolated || is_left {
                let opened = patience.until_done(|| self.open(key)).await?;
                opened.into_iter().for_each(|opened| self.begin(key, opened));
            }
        }
        Ok(())
    }

    /// The key's source, and from which sequence on it delivers; `None` where nothing of the source's is for the key.
    async fn open(&self, key: &Key) -> anyhow::Result<Option<(JetStream, u64)>> {
        let Self { source, settings, .. } = self;
        let subjects = key.subject.as_ref().map(|subject| own_subjects(settings, subject)).unwrap_or_default();
        if subjects.is_empty() {
            return Ok(None);
        }
        let at = || format!("could not open source `{}` for key `{}`, as its `isolation` says", source.name, key.name);
        let connection = nats::connect(&self.nats, &self.name(&key.name), Life::Reconnecting).await.with_context(at)?;
        let opened = JetStream::open_own(connection, source, settings, self.in_flight, (&key.name, subjects)).await;
        opened.map(Some).with_context(at)
    }

    /// Runs a source that is open. From here on the key's events come from there.
    fn begin(&mut self, key: &Arc<Key>, (jetstream, first): (JetStream, u64)) {
        let name = Arc::clone(&key.name);
        self.own.begin(Arc::clone(&name), first);
        let metrics = self.metrics.source(&self.name(&name));
        metrics.connected.set(1);
        let (stopper, stop) = stop();
        let intake = self.pipeline.intake(metrics).only(Arc::clone(&name), self.own.clone());
        self.running.insert(Arc::clone(&name), Running { key: Arc::clone(key), stopper });
        self.sources.spawn(async move { (name, jetstream.run(intake, stop).await) });
    }

    /// What the key's source is called in metrics and logs.
    fn name(&self, key: &str) -> String {
        format!("{}/{key}", self.source.name)
    }

    /// Runs the sources, and has them come and go with their keys.
    ///
    /// # Errors
    /// When one of them fails.
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

    /// Goes over to the keys in force. Says whether all of them have their sources. Cancel safe.
    async fn follow(&mut self) -> bool {
        let snapshot = Arc::clone(&self.snapshots.borrow_and_update());
        for (name, running) in &self.running {
            // A source that ends is opened again if its key is there. The server holds what comes meanwhile.
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
                // Its events can't be told apart any more: they come with all others again.
                Ok(None) => self.own.end(&key.name),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "will try again");
                    is_complete = false;
                }
            }
        }
        is_complete
    }

    /// Whether the key's source does not run and should. What has once had a consumer keeps it until the router is started
    /// again.
    fn is_due(&self, key: &Key) -> bool {
        (key.is_isolated || self.own.first(&key.name).is_some()) && !self.running.contains_key(&key.name)
    }
}

async fn changed(snapshots: &mut Snapshots) {
    if snapshots.changed().await.is_err() {
        // Nobody makes them any more.
        std::future::pending().await
    }
}

//! Fetches the schemas that events wait for.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

use super::{RegistryError, SchemaRegistry, SchemaRequests};
use crate::{
    avro::AvroSchema,
    backoff::Backoff,
    config::{SchemaCache, SchemaRegistryConfig},
};

/// Waits while the registry is away.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(15));
/// Wait after schemas that could not be put in force.
const PAUSE: Duration = Duration::from_secs(5);
/// Failures in a row after which the registry counts as away.
const FAILURES: usize = 3;
/// Time for which answers are gathered: each round makes a new generation.
const ROUND: Duration = Duration::from_millis(500);

/// Task that asks the registry for the schemas that events wait for, one at a time.
pub struct SchemaFetcher {
    source: Arc<FetchSource>,
    /// The round under way, if any.
    round: JoinSet<Vec<AvroSchema>>,
    pause: Duration,
}

struct FetchSource {
    registry: SchemaRegistry,
    cache: SchemaCache,
    requests: SchemaRequests,
}

impl SchemaFetcher {
    /// # Errors
    /// Returns an error if the registry's password or token can't be read.
    pub fn new(settings: &SchemaRegistryConfig, requests: SchemaRequests) -> anyhow::Result<Self> {
        let source = FetchSource { registry: SchemaRegistry::new(settings)?, cache: settings.cache.clone(), requests };
        Ok(Self { source: Arc::new(source), round: JoinSet::new(), pause: Duration::ZERO })
    }

    /// Waits until the registry has answered requests. Returns the schemas, which are in the cache
    /// by then; none if it refused all. Call it again only when they are in force. Cancel safe.
    pub async fn answered(&mut self) -> Vec<AvroSchema> {
        loop {
            if self.round.is_empty() {
                let (source, pause) = (Arc::clone(&self.source), std::mem::take(&mut self.pause));
                self.round.spawn(async move {
                    sleep(pause).await;
                    source.round().await
                });
            }
            match self.round.join_next().await {
                Some(Ok(schemas)) => return schemas,
                Some(Err(error)) => tracing::error!(%error, "the task that asks the schema registry broke"),
                None => {}
            }
        }
    }

    /// Makes the next round wait, as the schemas of the last one could not be put in force.
    pub fn put_off(&mut self) {
        self.pause = PAUSE;
    }
}

impl FetchSource {
    /// Asks for every id that is wanted until there are answers.
    async fn round(&self) -> Vec<AvroSchema> {
        let mut backoff = BACKOFF;
        loop {
            let mut wanted = self.requests.wanted().await;
            // So that ids for which the registry fails are not always the first.
            fastrand::shuffle(&mut wanted);
            let (began, mut found, mut is_answered) = (Instant::now(), Vec::new(), false);
            let (mut failures, mut away) = (0, None);
            for id in wanted {
                match self.registry.schema(id).await {
                    Ok(schema) => {
                        tracing::info!(id, schema = schema.full_name(), "the schema registry has the schema");
                        self.store(&schema).await;
                        found.push(schema);
                        (is_answered, failures) = (true, 0);
                    }
                    Err(RegistryError::Absent(why) | RegistryError::Unusable(why)) => {
                        tracing::warn!(id, why, "the schema registry does not give the schema");
                        self.requests.refuse(id, why);
                        (is_answered, failures) = (true, 0);
                    }
                    Err(RegistryError::Away(error)) => (failures, away) = (failures + 1, Some((id, error))),
                }
                if failures == FAILURES || is_answered && began.elapsed() >= ROUND {
                    break;
                }
            }
            if is_answered {
                return found;
            }
            let pause = backoff.next_wait();
            if let Some((id, error)) = away {
                tracing::warn!(id, error, ?pause, "the schema registry can't be asked, events of unknown schemas wait");
            }
            sleep(pause).await;
        }
    }

    /// Puts a schema into the cache. One that can't be stored is of use until the next reload, and
    /// is then asked for again.
    async fn store(&self, schema: &AvroSchema) {
        let (cache, schema) = (self.cache.clone(), schema.clone());
        let folder = cache.folder().display().to_string();
        let stored = spawn_blocking(move || cache.store(&schema)).await;
        if let Err(error) = stored.map_err(std::io::Error::other).flatten() {
            tracing::error!(folder, %error, "the schema can't be stored in the cache");
        }
    }
}

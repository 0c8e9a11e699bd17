//! The streams that a run maintains: made or updated at startup, and made again when one is gone.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use crate::{
    app::{
        outlets,
        patience::{StartupPatience, is_passing},
    },
    config::{Config, RouterRole, SourceKind, StreamConfig},
    filter::StateStore,
    nats::{self, Connection, ConnectionLife},
};

/// Interval between checks that the streams exist, and the pause after a failed check.
const LOOK: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Interval at which the same trouble is logged.
const AGAIN: Duration = Duration::from_secs(60);
/// Replicas of what is made in a cluster, if no stream shows how many are possible.
const REPLICAS: usize = 3;

/// The streams that were set up, and what further setup with the server needs.
pub(super) struct StreamSetup {
    pub(super) connection: Connection,
    /// Replicas for whatever is made for this router alone: as many as its streams have.
    pub(super) replicas: usize,
    pub(super) streams: Vec<StreamConfig>,
}

/// Makes the streams that the configuration wants, or updates them. That of the dead letters may
/// come later: nothing is lost without it, and waiting for it would delay sources and sinks that
/// work.
pub(super) async fn converge(config: &Config, patience: &mut StartupPatience) -> anyhow::Result<Option<StreamSetup>> {
    let Some(settings) = &config.nats else { return Ok(None) };
    let connect = || async { Ok(nats::connect(settings, "setup", ConnectionLife::Reconnecting).await?) };
    let connection = patience.until_done(connect).await?;
    let mut streams = declared(config);
    for stream in &streams {
        let compared = patience.until_done(|| async { Ok(connection.ensure_stream(stream).await?) }).await?;
        tracing::debug!(stream = stream.name, change = ?compared.change, "stream is as configured");
        if !compared.kept_subjects.is_empty() {
            let subjects = compared.kept_subjects.join(" ");
            tracing::info!(
                stream = stream.name,
                subjects,
                "the stream has subjects that are not declared, and keeps them"
            );
        }
    }
    let replicas = replicas(config, &connection).await;
    if let Some(letters) = outlets::dead_letter_stream(config) {
        let letters = replicated(letters, replicas, &connection).await;
        match connection.ensure_stream(&letters).await.map_err(anyhow::Error::from) {
            Err(error) if is_passing(&error) => {
                let error = format!("{error:#}");
                tracing::warn!(stream = letters.name, error, "no dead letters can be stored yet");
            }
            converged => drop(converged?),
        }
        streams.push(letters);
    }
    Ok(Some(StreamSetup { connection, replicas, streams }))
}

impl StreamSetup {
    /// Opens the bucket in which filters keep values, on a connection of its own.
    pub(super) async fn open_state(&self, state: &StateStore, patience: &mut StartupPatience) -> anyhow::Result<()> {
        let open = || async {
            let connection = self.connection.as_role("state").await?;
            state.open(connection, self.replicas).await.context("the bucket of `[state]` can't be opened")
        };
        patience.until_done(open).await
    }
}

/// The streams that a run makes, in that order: those in the configuration, and that of the dead
/// letters.
pub async fn declared_streams(config: &Config, connection: &Connection) -> Vec<StreamConfig> {
    let mut streams = declared(config);
    if let Some(letters) = outlets::dead_letter_stream(config) {
        let replicas = replicas(config, connection).await;
        streams.push(replicated(letters, replicas, connection).await);
    }
    streams
}

fn declared(config: &Config) -> Vec<StreamConfig> {
    config.streams.iter().filter(|_| config.role == RouterRole::Router).cloned().collect()
}

/// Sets the replicas of a stream that is yet to be made. For an existing stream their number is the
/// server operator's choice.
async fn replicated(stream: StreamConfig, replicas: usize, connection: &Connection) -> StreamConfig {
    let is_new = replicas > 1 && matches!(connection.stream_info(&stream.name).await, Ok(None));
    StreamConfig { replicas: is_new.then_some(replicas), ..stream }
}

/// Replicas as many as the streams that the router reads have: what it makes must not be away while
/// they are available.
async fn replicas(config: &Config, connection: &Connection) -> usize {
    let mut most = None;
    for source in &config.sources {
        let SourceKind::JetStream(settings) = &source.kind else { continue };
        // If the stream can't be read, the source reports it.
        let Ok(Some(info)) = connection.stream_info(&settings.stream).await else { continue };
        let replicas = info.config.get("num_replicas").and_then(serde_json::Value::as_u64).unwrap_or(1);
        most = most.max(usize::try_from(replicas).ok());
    }
    let declared = || config.streams.iter().filter_map(|stream| stream.replicas).max();
    most.or_else(declared).unwrap_or_else(|| if connection.servers().len() >= REPLICAS { REPLICAS } else { 1 })
}

/// Makes missing streams again: a stream in memory goes with its server. Never returns.
pub(super) async fn keep(setup: StreamSetup) -> anyhow::Result<()> {
    let StreamSetup { mut connection, streams, .. } = setup;
    let mut said = None::<Instant>;
    loop {
        match make_missing(&connection, &streams).await {
            Ok(()) => {
                tokio::select! {
                    () = connection.noticed() => {}
                    () = sleep(LOOK) => {}
                }
            }
            Err(error) => {
                if said.is_none_or(|said| said.elapsed() >= AGAIN) {
                    tracing::warn!(error = format!("{error:#}"), "can't see to the streams yet");
                    said = Some(Instant::now());
                }
                sleep(LOOK_AGAIN).await;
            }
        }
    }
}

async fn make_missing(connection: &Connection, streams: &[StreamConfig]) -> anyhow::Result<()> {
    // A lost connection is logged elsewhere, and is back before long.
    for stream in streams.iter().filter(|_| connection.is_connected()) {
        if connection.stream_info(&stream.name).await?.is_none() {
            tracing::warn!(stream = stream.name, "the stream is not there, making it");
            connection.ensure_stream(stream).await?;
        }
    }
    Ok(())
}

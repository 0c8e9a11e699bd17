//! Events that come in over HTTP: one in a request, one a line, or a batch of CloudEvents.
//!
//! A request is refused as long as nothing of it was taken: by its head, by its body, by what it holds, and by the room
//! that there is. Then all of its events are taken at once, and every one is worked on until it is settled, for nobody
//! delivers it again unless the answer tells the client to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    auth::Guard,
    desk::Desk,
    door::Door,
    stream::Stream,
    work::{Taken, work},
};
use super::Source;
use crate::{
    config,
    listener::{Limits, Listener, Patience},
    metrics::RequestMetrics,
    nats::Connection,
    pipeline::Intake,
    stop::Stop,
};

mod auth;
mod desk;
mod door;
mod headers;
mod messages;
mod refusal;
mod repeats;
mod stream;
mod tenants;
mod work;

/// How long a connection may take for its first request's head: clients have it ready.
const HEAD: Duration = Duration::from_secs(10);
/// How many times as large as allowed a head is still read, for its client to hear why it is refused.
const LENIENCE: usize = 4;
/// How long the last answers may take to leave once everything is settled.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A listener as a source.
pub struct Http {
    listener: TcpListener,
    desk: Arc<Desk>,
    /// The only one that keeps `arriving` open; without it the door is shut.
    keeper: mpsc::Sender<Vec<Taken>>,
    arriving: mpsc::Receiver<Vec<Taken>>,
}

/// What the source needs beside its settings.
pub struct Surroundings {
    pub pipeline: config::Pipeline,
    /// Bytes of bodies that may be read at once.
    pub bodies: usize,
    pub metrics: Arc<RequestMetrics>,
    /// For a source that stores its messages in a stream.
    pub stream: Option<Connection>,
    /// What the subjects begin with that no client may reach in a stream.
    pub reserved: Option<String>,
    pub stop: Stop,
}

/// Whether what clients are to know is there and can be used.
///
/// # Errors
/// Names the place, never the secret.
pub fn check(settings: &config::HttpSource) -> anyhow::Result<()> {
    Guard::read(settings.auth.as_ref()).map(drop)
}

impl Http {
    /// Binds the listener, so that an address in use is known before anything comes in. Nothing is accepted yet.
    ///
    /// # Errors
    /// When the address can't be bound, or there is no secret to know clients by.
    pub async fn open(
        source: &config::Source,
        settings: &config::HttpSource,
        surroundings: Surroundings,
    ) -> anyhow::Result<Self> {
        let Surroundings { pipeline, bodies, metrics, stream, reserved, stop } = surroundings;
        let guard = Guard::read(settings.auth.as_ref())?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("could not listen on `{}`", settings.listen))?;
        let address = listener.local_addr()?;
        tracing::info!(source = source.name, %address, path = settings.path, "listening for events");
        // Every event has a place before it is sent there, so there always is room.
        let (keeper, arriving) = mpsc::channel(pipeline.in_flight.get());
        let door = Door::new((pipeline, bodies), settings.rate, keeper.downgrade());
        let stream = match (&settings.answer, stream) {
            (config::Answer::Stored(subject), Some(connection)) => {
                Some(Stream::new(connection, subject.clone(), reserved))
            }
            (config::Answer::Stored(_), None) => anyhow::bail!("`[nats]` is missing in `trommel.toml`"),
            _ => None,
        };
        let desk = Desk::new(source, settings.clone(), guard, door, stream, metrics, stop);
        Ok(Self { listener, desk: Arc::new(desk), keeper, arriving })
    }

    /// Where it listens: the port may have been the system's choice.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Source for Http {
    type Receipt = Taken;

    async fn run(self, intake: Intake<Taken>, mut stop: Stop) -> anyhow::Result<()> {
        let Self { listener, desk, keeper, arriving } = self;
        let settings = desk.settings();
        if !matches!(settings.answer, config::Answer::Stored(_)) {
            desk.door().share(intake.shares());
        }
        let app = Router::new()
            .fallback(desk::answer)
            .with_state(Arc::clone(&desk))
            .into_make_service_with_connect_info::<Patience>();
        let limits = Limits {
            connections: settings.connections,
            head: HEAD.min(settings.timeout),
            idle: settings.timeout,
            max_head: settings.max_head.saturating_mul(LENIENCE),
        };
        let listener = Listener::new(listener, limits);
        let (open, is_over) = oneshot::channel::<()>();
        let over = async move {
            // Nothing is ever sent: the other end is dropped.
            let _ = is_over.await;
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(over);
        let mut serving = tokio::spawn(serving.into_future());
        let mut ended = stop.clone();
        let finished = async {
            work(intake, arriving, keeper, &mut stop).await;
            // What is stored in a stream goes another way.
            desk.door().all_left().await;
        };
        tokio::select! {
            biased;
            () = ended.ended() => desk.give_up(),
            () = finished => {}
            served = &mut serving => return served?.context("the listener failed"),
        }
        drop(open);
        if timeout(LAST_WORDS, &mut serving).await.is_err() {
            serving.abort();
        }
        Ok(())
    }
}

//! HTTP source: one event in a request, one a line, or a batch of CloudEvents.
//!
//! A request is refused as long as nothing of it was taken: by its head, by its body, by its
//! content, and for lack of room. Then all of its events are taken at once, and each is worked on
//! until it is settled, for they are not sent again unless the answer tells the client to.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    auth::ClientGuard,
    desk::RequestHandler,
    door::RequestAdmission,
    stream::StoringStream,
    work::{TakenEvent, work},
};
use super::Source;
use crate::{
    config,
    listener::{ClientPatience, HttpListener, ListenerLimits},
    metrics::RequestMetrics,
    nats::Connection,
    pipeline::Intake,
    stop::Stop,
};

mod auth;
mod desk;
mod door;
mod headers;
mod lark;
mod messages;
mod refusal;
mod repeats;
mod stream;
mod tenant_shares;
mod tenants;
mod work;

#[cfg(fuzzing)]
pub use lark::{decrypted, request_facts};

/// Longest time for a connection's first request head: clients have it ready.
const HEAD: Duration = Duration::from_secs(10);
/// Factor over the allowed size up to which a head is still read, so that its client gets the
/// reason of the refusal.
const LENIENCE: usize = 4;
/// Longest time for the last answers to leave once everything is settled.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A listener as a source.
pub struct HttpReceiver {
    listener: TcpListener,
    desk: Arc<RequestHandler>,
    /// The only strong sender of `arriving`; without it the door is shut.
    keeper: mpsc::Sender<Vec<TakenEvent>>,
    arriving: mpsc::Receiver<Vec<TakenEvent>>,
}

/// Dependencies of the source besides its settings.
pub struct HttpContext {
    pub pipeline: config::PipelineConfig,
    /// Bytes of bodies that may be read at once.
    pub bodies: usize,
    pub metrics: Arc<RequestMetrics>,
    /// Connection of a source that stores its messages in a stream.
    pub stream: Option<Connection>,
    /// Prefix of the subjects that no client may reach in a stream.
    pub reserved: Option<String>,
    pub stop: Stop,
}

/// Checks that the secrets of the clients are there and can be used.
///
/// # Errors
/// Returns an error that names the place, never the secret.
pub fn check(settings: &config::HttpSource) -> anyhow::Result<()> {
    ClientGuard::read(settings.auth.as_ref()).map(drop)
}

impl HttpReceiver {
    /// Binds the listener, so that an address in use is known before anything comes in. Nothing is
    /// accepted yet.
    ///
    /// # Errors
    /// Returns an error if the address can't be bound, or a secret can't be used.
    pub async fn open(
        source: &config::SourceConfig,
        settings: &config::HttpSource,
        surroundings: HttpContext,
    ) -> anyhow::Result<Self> {
        let HttpContext { pipeline, bodies, metrics, stream, reserved, stop } = surroundings;
        let guard = ClientGuard::read(settings.auth.as_ref())?;
        let listener = TcpListener::bind(settings.listen).await;
        let listener = listener.with_context(|| format!("could not listen on `{}`", settings.listen))?;
        let address = listener.local_addr()?;
        tracing::info!(source = source.name, %address, path = settings.path, "listening for events");
        // Every event has a place before it is sent there, so there always is room.
        let (keeper, arriving) = mpsc::channel(pipeline.in_flight.get());
        let mut door = RequestAdmission::new((pipeline, bodies), settings.rate, keeper.downgrade());
        if settings.is_shared() {
            door = door.shared_by_tenants(settings.tenant_rate);
        }
        let stream = match (&settings.answer, stream) {
            (config::AnswerPoint::Stored(subject), Some(connection)) => {
                Some(StoringStream::new(connection, subject.clone(), reserved))
            }
            (config::AnswerPoint::Stored(_), None) => anyhow::bail!("`[nats]` is missing in `trommel.toml`"),
            _ => None,
        };
        let desk = RequestHandler::new(source, settings.clone(), guard, door, stream, metrics, stop);
        Ok(Self { listener, desk: Arc::new(desk), keeper, arriving })
    }

    /// Address that it listens on: the port may have been the system's choice.
    ///
    /// # Errors
    /// Returns an error if the system can't report the address.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Source for HttpReceiver {
    type Receipt = TakenEvent;

    async fn run(self, intake: Intake<TakenEvent>, mut stop: Stop) -> anyhow::Result<()> {
        let Self { listener, desk, keeper, arriving } = self;
        let settings = desk.settings();
        if !matches!(settings.answer, config::AnswerPoint::Stored(_)) {
            desk.door().share(intake.shares());
        }
        desk.door().obey(Arc::clone(&intake.metrics().switch));
        let app = Router::new()
            .fallback(desk::answer)
            .with_state(Arc::clone(&desk))
            .into_make_service_with_connect_info::<ClientPatience>();
        let limits = ListenerLimits {
            connections: settings.connections,
            head: HEAD.min(settings.timeout),
            idle: settings.timeout,
            max_head: settings.max_head.saturating_mul(LENIENCE),
        };
        let listener = HttpListener::new(listener, limits, desk.connections());
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
            // Events stored in a stream do not go through `work`, but hold their places.
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

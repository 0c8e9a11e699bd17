//! Connections to NATS: making one from the settings, noticing its state, and sending requests to
//! the JetStream API. Sources and sinks each have a connection of their own: a message that breaks
//! a source's connection, or a flood on it, does not delay a sink.

use trommel_config::config;
use trommel_event::event;
use trommel_sync::backoff;

use std::{
    sync::{Arc, OnceLock, Weak, atomic::Ordering},
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerAddr, Subscriber, connection::State};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::backoff::{Backoff, jitter};

mod account;
mod api;
mod bucket;
pub mod code;
mod consumer;
mod error;
mod expiry;
mod fixed;
mod headers;
mod health;
mod history;
mod identity;
mod live;
mod permissions;
mod raw_message;
mod reply;
mod store;
mod stream;
mod template;
mod values;

pub use account::{AccountInfo, AccountLimits, AccountUsage, ConnectedServer, USER_INFO, UserInfo};
pub use api::{ApiError, FieldDifference, PublishPosition, ShownValue};
pub use api::{WantedFields, converge};
pub use bucket::{Bucket, BucketEntry};
pub use consumer::{ConsumerSettings, DeliveredMessage, DeliveryReceipt, StreamConsumer};
pub use error::{ConnectError, ConnectTrouble};
pub use expiry::{CertificateTimes, certificate_times, credentials_expiry};
pub use headers::{header_map, headers};
use health::ConnectionHealth;
pub use health::NoPermission;
pub use history::{HistoryError, StoredMessage, StreamHistory};
use identity::NatsIdentity;
pub use live::{LiveMessage, LiveSubscription};
pub use permissions::{SubjectAccess, SubjectPermissions, UserPermissions};
pub use raw_message::RawMessage;
pub use reply::{DeliveryPosition, ReplyFields};
pub use stream::{StreamChange, StreamCluster, StreamComparison, StreamError, StreamInfo, StreamReplica, StreamTotals};
pub use template::SubjectTemplate;
pub use values::{BucketSettings, StoredValue, ValueBucket, ValueTerms};

const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Messages that may wait in one subscription; the client drops further ones. Sources never request
/// more.
pub const SUBSCRIPTION_CAPACITY: usize = 65_536;
const CLIENT_CAPACITY: usize = 4096;
/// Longest wait before a connection is made again.
pub const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(2);
/// Waits before a connection that was lost is made again.
const RECONNECT: Backoff = Backoff::new(Duration::from_millis(50), MAX_RECONNECT_DELAY);
/// Waits before a connection is made anew because it was denied a subscription, and the time it has
/// to last for them to start over.
const HEALING: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
const HEALED: Duration = Duration::from_secs(60);

/// Behaviour of a connection that is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionLife {
    /// The connection is made again, with jittered delays, forever.
    Reconnecting,
    /// The connection ends. A client that reconnects loses what it was writing and then sends what
    /// was queued after that, so publishing in order needs a new connection instead.
    Single,
}

/// A connection. Clones share it; it closes when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    client: Arc<Client>,
    health: watch::Receiver<ConnectionHealth>,
    /// Prefix of the subjects of the JetStream API.
    api: Arc<str>,
    made_from: Arc<MadeFrom>,
}

/// Words for a connection in the log.
struct ConnectionLabel {
    role: String,
    /// Addresses of the configured servers, without credentials.
    servers: String,
}

impl ConnectionLabel {
    fn new(role: &str, servers: &[ServerAddr]) -> Self {
        Self { role: role.to_owned(), servers: error::shown(servers) }
    }
}

/// Parameters of a connection, to make another.
#[derive(Debug)]
struct MadeFrom {
    settings: config::NatsConfig,
    role: String,
    life: ConnectionLife,
}

/// Connects. In the server's list of connections, `role` follows the configured name.
///
/// # Errors
/// Returns the first failure, without waiting for a server that is away; [`ConnectError::trouble`]
/// is its cause.
pub async fn connect(
    settings: &config::NatsConfig,
    role: &str,
    life: ConnectionLife,
) -> Result<Connection, ConnectError> {
    let servers: Vec<ServerAddr> =
        settings.urls.iter().map(|url| error::server(url)).collect::<Result<_, ConnectError>>()?;
    let identity = Arc::new(NatsIdentity::new(settings, &servers)?);
    // The event callback must not keep the client alive, so it holds a weak reference.
    let (sender, health) = watch::channel(ConnectionHealth::default());
    let weak: Arc<OnceLock<Weak<Client>>> = Arc::default();
    let mut options = ConnectOptions::with_auth_callback(identity::callback(Arc::clone(&identity), life))
        .name(format!("{}/{role}", settings.name))
        .ping_interval(PING_INTERVAL)
        .connection_timeout(settings.connect_timeout)
        .subscription_capacity(SUBSCRIPTION_CAPACITY)
        .client_capacity(CLIENT_CAPACITY)
        .require_tls(settings.tls_required)
        .event_callback({
            let (weak, label) = (Arc::clone(&weak), Arc::new(ConnectionLabel::new(role, &servers)));
            move |event| on_event(event, life, Arc::clone(&label), sender.clone(), Arc::clone(&weak))
        });
    options = match life {
        ConnectionLife::Reconnecting => options.reconnect_delay_callback(reconnect_delay),
        // As many tries as the first connect needs; after it the callback above refuses every one.
        ConnectionLife::Single => options.max_reconnects(servers.len()).reconnect_delay_callback(|_| Duration::ZERO),
    };
    if let Some(ca) = &settings.tls_ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &settings.tls_client {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    let client = options.connect(&servers[..]).await.map_err(|error| ConnectError::new(&servers, error))?;
    let client = Arc::new(client);
    // Set only here, so it can't fail.
    let _ = weak.set(Arc::downgrade(&client));
    if life == ConnectionLife::Reconnecting {
        tokio::spawn(heal(Arc::downgrade(&client), health.clone()));
    }
    let made_from = Arc::new(MadeFrom { settings: settings.clone(), role: role.to_owned(), life });
    Ok(Connection { client, health, api: settings.api_prefix.as_str().into(), made_from })
}

/// Makes a connection anew, less often each time, while the server denies it a subscription: a
/// server that allows it again does not report that, and has forgotten the request. Returns when
/// the connection has ended.
async fn heal(client: Weak<Client>, mut health: watch::Receiver<ConnectionHealth>) {
    let (mut backoff, mut last) = (HEALING, None::<Instant>);
    while health.wait_for(|health| health.unheard().is_some()).await.is_ok() {
        if last.is_some_and(|last| last.elapsed() > HEALED) {
            backoff.reset();
        }
        sleep(backoff.next_wait()).await;
        let made = health.borrow().made;
        let Some(client) = client.upgrade() else { return };
        let ended = client.force_reconnect().await.is_err();
        drop(client);
        // Waits for the count, not for the state: the new connection may be denied again at once.
        if ended || health.wait_for(|health| health.made > made).await.is_err() {
            return;
        }
        last = Some(Instant::now());
    }
}

/// Delay before a reconnect.
fn reconnect_delay(attempt: usize) -> Duration {
    jitter(RECONNECT.nth(u32::try_from(attempt).unwrap_or(u32::MAX)))
}

async fn on_event(
    event: Event,
    life: ConnectionLife,
    label: Arc<ConnectionLabel>,
    health: watch::Sender<ConnectionHealth>,
    client: Arc<OnceLock<Weak<Client>>>,
) {
    let ConnectionLabel { role, servers } = &*label;
    match event {
        Event::Connected => {
            match health.borrow().outage() {
                Some(lasted) => {
                    tracing::info!(role, servers, after = format!("{} s", lasted.as_secs()), "connected to NATS again");
                }
                None => tracing::info!(role, servers, "connected to NATS"),
            }
            health.send_modify(ConnectionHealth::connected);
        }
        Event::Disconnected => {
            // A connection that is made anew because of a denial was closed by us.
            match health.borrow().unheard() {
                Some(denial) => tracing::debug!(role, %denial, "connecting to NATS anew"),
                None => tracing::warn!(role, servers, "connection to NATS lost"),
            }
            health.send_modify(ConnectionHealth::disconnected);
        }
        Event::LameDuckMode => {
            tracing::info!(role, "NATS server is leaving, going to another");
            if let Some(client) = client.get().and_then(Weak::upgrade)
                && let Err(error) = client.force_reconnect().await
            {
                tracing::warn!(role, %error, "can't leave the server");
            }
        }
        Event::SlowConsumer(subscription) => {
            tracing::error!(role, subscription, "NATS client dropped messages that were not taken in time");
        }
        Event::ServerError(error) => {
            let text = error.to_string();
            match NoPermission::parse(&text) {
                Some(denial) => health.send_modify(|health| health.denied(denial, role)),
                None => tracing::error!(role, error = text, "NATS server complains"),
            }
        }
        // A connection that ends when it is lost makes the client fail on purpose.
        Event::ClientError(_) if life == ConnectionLife::Single => {}
        // Of every try there is one, of every server.
        Event::ClientError(error) => {
            let mut is_due = false;
            health.send_if_modified(|health| {
                is_due = health.is_outage_due();
                false
            });
            if is_due {
                tracing::warn!(role, servers, %error, "can't reconnect to NATS yet");
            }
        }
        Event::Draining | Event::Closed => {}
    }
}

impl Connection {
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Connects anew with the same settings: a client ends for good when it panics over a message.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn again(&self) -> Result<Self, ConnectError> {
        self.as_role(&self.made_from.role).await
    }

    /// Connects with the same settings for another purpose.
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn as_role(&self, role: &str) -> Result<Self, ConnectError> {
        let MadeFrom { settings, life, .. } = &*self.made_from;
        connect(settings, role, *life).await
    }

    /// Returns whether it is connected, and the server serves all of its subscriptions.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected && self.unheard().is_none()
    }

    /// Addresses at which the server announces itself and its cluster.
    pub fn servers(&self) -> Vec<String> {
        self.client.server_info().connect_urls
    }

    /// Addresses of the configured servers, without credentials.
    pub fn place(&self) -> String {
        let servers = self.made_from.settings.urls.iter().filter_map(|url| error::server(url).ok());
        error::shown(&servers.collect::<Vec<_>>())
    }

    /// Number of times this connection was made: a larger number means that it was lost in between.
    pub fn epoch(&self) -> u64 {
        self.client.statistics().connects.load(Ordering::Relaxed)
    }

    /// Resolves after a change: connected, disconnected, a permission denied. It may miss some, so
    /// callers have to check the state themselves. Cancel safe.
    pub async fn noticed(&mut self) {
        if self.health.changed().await.is_err() {
            // The connection has ended for good, which was reported before.
            std::future::pending().await
        }
    }

    /// Number of denials so far, with which [`Self::denied_since`] can skip old ones.
    pub fn denials(&self) -> u64 {
        self.health.borrow().denials
    }

    /// The newest denial after the first `count` for which `concerns` is true.
    pub fn denied_since(&self, count: u64, concerns: impl Fn(&NoPermission) -> bool) -> Option<NoPermission> {
        self.health.borrow().find(count, concerns)
    }

    /// Newest denial of a subscription.
    pub fn unheard(&self) -> Option<NoPermission> {
        self.health.borrow().unheard()
    }

    /// # Errors
    /// If the connection has ended.
    pub async fn subscribe(&self, subject: String) -> Result<Subscriber, ConnectError> {
        self.client.subscribe(subject.clone()).await.map_err(|error| ConnectError {
            trouble: ConnectTrouble::Network,
            at: format!("`{subject}`"),
            source: error.into(),
        })
    }

    /// Waits until everything that was published before is written to the server. Cancel safe.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn flush(&self) -> anyhow::Result<()> {
        Ok(self.client.flush().await?)
    }
}

impl ConnectError {
    fn new(servers: &[ServerAddr], error: async_nats::ConnectError) -> Self {
        let trouble = match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => ConnectTrouble::Auth,
            ConnectErrorKind::Tls => ConnectTrouble::Tls,
            _ if error::is_tls(&error) => ConnectTrouble::Tls,
            _ => ConnectTrouble::Network,
        };
        Self { trouble, at: error::shown(servers), source: error.into() }
    }
}

//! The client: a connection, the prefix of its subjects and the format that it writes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use trommel_config::config::{NatsAuth, NatsConfig, StreamConfig, values::server_subject};
use trommel_nats::{
    ApiError, ConnectError, Connection, ConnectionLife, HistoryError, PublishPosition, StreamComparison, StreamError,
};

use crate::family::{EventFamily, EventFilter, UnencodableEvent, WireFormat, subject};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Error of a client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Unencodable(#[from] UnencodableEvent),
    #[error("`{0}` can't be a subject: {1}")]
    Subject(String, String),
    #[error("no stream takes `{0}`: make one with `ensure_stream`, or send without storing it by `send`")]
    NoStream(String),
    #[error("several streams take `{subjects}`: {}; name one", streams.join(", "))]
    WhichStream { subjects: String, streams: Vec<String> },
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Read(#[from] HistoryError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("the server has not confirmed it")]
    Unconfirmed(#[source] anyhow::Error),
}

/// Publisher and subscriber of events. Clones share the connection, which is made again whenever
/// it is lost.
#[derive(Clone, Debug)]
pub struct EventClient {
    connection: Connection,
    prefix: Option<Arc<str>>,
    format: WireFormat,
}

impl EventClient {
    /// Connects to a server without authentication, such as `nats://127.0.0.1:4222`. For more see
    /// [`Self::open`].
    ///
    /// # Errors
    /// Returns an error if the server can't be reached.
    pub async fn connect(url: &str) -> Result<Self, ClientError> {
        let settings = NatsConfig {
            urls: vec![url.to_owned()],
            name: "trommel-client".to_owned(),
            auth: NatsAuth::None,
            tls_ca: None,
            tls_client: None,
            tls_required: url.starts_with("tls:"),
            connect_timeout: CONNECT_TIMEOUT,
            api_prefix: "$JS.API".to_owned(),
        };
        Self::open(&settings).await
    }

    /// Connects with settings of all kinds: credentials, TLS, a domain.
    ///
    /// # Errors
    /// Returns an error if the server can't be reached, or does not accept the identity.
    pub async fn open(settings: &NatsConfig) -> Result<Self, ClientError> {
        Ok(Self::new(trommel_nats::connect(settings, "client", ConnectionLife::Reconnecting).await?))
    }

    /// Creates a client of an existing connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection, prefix: None, format: WireFormat::default() }
    }

    /// Sets the first tokens of all subjects, instead of those that a family has by itself: empty
    /// for none.
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// Sets the format of what is published.
    pub fn with_format(self, format: WireFormat) -> Self {
        Self { format, ..self }
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Publishes an event, and returns its place once a stream has it. If this returns an error or
    /// is cancelled, the event may have been stored all the same.
    ///
    /// # Errors
    /// Returns an error if the event can't be written, if no stream takes it, or if the server does
    /// not confirm it.
    pub async fn publish<E: EventFamily>(&self, event: &E) -> Result<PublishPosition, ClientError> {
        let (subject, body) = self.encoded(event)?;
        match self.connection.publish(&subject, &[], body.into()).await {
            Err(ApiError::NoResponders(_)) => Err(ClientError::NoStream(subject)),
            stored => Ok(stored?),
        }
    }

    /// Sends an event by core NATS to those who listen now. Nothing confirms it; a stream that
    /// takes its subject stores it too.
    ///
    /// # Errors
    /// Returns an error if the event can't be written, or if the connection has ended.
    pub async fn send<E: EventFamily>(&self, event: &E) -> Result<(), ClientError> {
        let (subject, body) = self.encoded(event)?;
        self.connection.send(&subject, &[], Bytes::from(body)).await.map_err(ClientError::Unconfirmed)
    }

    fn encoded<E: EventFamily>(&self, event: &E) -> Result<(String, Vec<u8>), ClientError> {
        let subject = self.subject::<E>(&event.name());
        server_subject(&subject).map_err(|error| ClientError::Subject(subject.clone(), error))?;
        Ok((subject, event.encode(self.format)?))
    }

    fn subject<E: EventFamily>(&self, name: &str) -> String {
        subject(self.prefix.as_deref().unwrap_or(E::PREFIX), E::DOMAIN, name)
    }

    /// The pattern of the subjects of a family's selected events.
    pub(crate) fn pattern<E: EventFamily>(&self, filter: &EventFilter) -> String {
        self.subject::<E>(&filter.to_string())
    }

    /// The stream that has these subjects.
    pub(crate) async fn stream_of(&self, subjects: &str) -> Result<String, ClientError> {
        let mut streams = self.connection.streams_of(subjects).await?;
        match streams.len() {
            0 => Err(ClientError::NoStream(subjects.to_owned())),
            1 => Ok(streams.remove(0)),
            _ => Err(ClientError::WhichStream { subjects: subjects.to_owned(), streams }),
        }
    }

    /// The declaration of a stream that stores all events of a family; more settings can be added.
    pub fn stream_of_family<E: EventFamily>(&self, name: &str) -> StreamConfig {
        // Prefixes are subjects' first tokens, and so form a pattern; one that does not is refused
        // by the server.
        let subjects = self.pattern::<E>(&EventFilter::all()).parse().into_iter().collect();
        StreamConfig { name: name.to_owned(), subjects, ..StreamConfig::default() }
    }

    /// Makes a stream as declared: created if it is not there, updated where it differs.
    ///
    /// # Errors
    /// Returns an error if the server does not answer, or refuses it.
    pub async fn ensure_stream(&self, stream: &StreamConfig) -> Result<StreamComparison, ClientError> {
        Ok(self.connection.ensure_stream(stream).await?)
    }

    /// Returns the change that [`Self::ensure_stream`] would make. Changes nothing.
    ///
    /// # Errors
    /// Returns an error if the server does not answer.
    pub async fn plan_stream(&self, stream: &StreamConfig) -> Result<StreamComparison, ClientError> {
        Ok(self.connection.plan_stream(stream).await?)
    }
}

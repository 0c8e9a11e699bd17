//! Messages of a stream that are acknowledged one by one: through a durable consumer, which the
//! server keeps, or one that it forgets when nothing reads it.

use std::time::Duration;

use anyhow::anyhow;
use async_nats::jetstream::{
    self,
    consumer::{PullConsumer, pull},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    ApiError, Connection, DeliveryPosition, HistoryError, ReplyFields, backoff::Backoff, code, event::Headers, headers,
    history::bounds,
};

/// Most messages requested at once. Those that wait are redelivered if the program dies.
const BATCH: usize = 100;
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Time for which the server keeps a consumer without a name and without requests.
const INACTIVE: Duration = Duration::from_secs(300);
/// Waits before reading goes on after an error.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Which messages of a stream to read, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    pub stream: String,
    /// Name under which the server remembers what is acknowledged; `None` for a consumer that it
    /// forgets.
    pub durable: Option<String>,
    /// Subject patterns; none means all.
    pub subjects: Vec<String>,
    /// True to begin with messages that are stored from now on, where the consumer is new.
    pub only_new: bool,
    /// Time after which a message that is not acknowledged is delivered again.
    pub ack_wait: Duration,
}

/// Reader of a stream's messages, each to be acknowledged.
pub struct StreamConsumer {
    connection: Connection,
    stream: String,
    name: String,
    batch: usize,
    /// `None` after an error, until reading goes on.
    messages: Option<Box<pull::Stream>>,
    backoff: Backoff,
}

/// A message and the duty to acknowledge it: without, it is delivered again.
#[derive(Debug)]
pub struct DeliveredMessage {
    pub sequence: u64,
    /// 1 on the first delivery.
    pub attempt: u32,
    /// Time at which it was stored.
    pub time: Timestamp,
    pub subject: String,
    pub headers: Headers,
    pub payload: Bytes,
    pub receipt: DeliveryReceipt,
}

impl StreamConsumer {
    /// Opens the consumer, and makes it if there is none.
    ///
    /// # Errors
    /// Returns an error if there is no such stream, if the server does not answer or refuses, or if
    /// there is a durable consumer that reads other subjects.
    pub async fn open(connection: Connection, settings: &ConsumerSettings) -> Result<Self, HistoryError> {
        let batch = bounds(&connection, &settings.stream).await?.batch.min(BATCH);
        let name = match &settings.durable {
            Some(name) => name.clone(),
            None => format!("trommel-{:016x}", fastrand::u64(..)),
        };
        make(&connection, settings, &name).await?;
        let stream = settings.stream.clone();
        let mut consumer = Self { connection, stream, name, batch, messages: None, backoff: RETRY };
        consumer.read().await?;
        Ok(consumer)
    }

    /// The next message. Waits for ever while there is none, and through outages. Cancel safe.
    ///
    /// # Errors
    /// Returns an error if the stream or the consumer is gone: open another then.
    pub async fn next(&mut self) -> Result<DeliveredMessage, HistoryError> {
        loop {
            let Some(messages) = &mut self.messages else {
                sleep(self.backoff.next_wait()).await;
                match self.read().await {
                    Err(HistoryError::Api(_, error)) if error.is_passing() && !is_gone(&error) => {
                        tracing::debug!(stream = self.stream, %error, "can't read on yet");
                    }
                    Err(HistoryError::Failed(_, error)) => {
                        tracing::debug!(stream = self.stream, %error, "can't read on yet");
                    }
                    read => read?,
                }
                continue;
            };
            match messages.next().await {
                Some(Ok(message)) => {
                    self.backoff.reset();
                    if let Some(message) = delivered(&self.connection, message.message) {
                        return Ok(message);
                    }
                }
                // What was on its way is delivered again.
                Some(Err(_)) | None => self.messages = None,
            }
        }
    }

    /// Requests messages, on a connection that may have been made anew.
    async fn read(&mut self) -> Result<(), HistoryError> {
        let failed = |error: anyhow::Error| HistoryError::Failed(self.stream.clone(), error);
        consumer_info(&self.connection, &self.stream, &self.name).await?;
        let context = jetstream::with_prefix(self.connection.client().clone(), self.connection.api_prefix());
        let stream = context.get_stream_no_info(&self.stream).await.map_err(|error| failed(error.into()))?;
        let consumer: PullConsumer = stream.get_consumer(&self.name).await.map_err(|error| failed(anyhow!(error)))?;
        let messages = consumer.stream().max_messages_per_batch(self.batch).heartbeat(HEARTBEAT).messages();
        self.messages = Some(Box::new(messages.await.map_err(|error| failed(error.into()))?));
        Ok(())
    }
}

/// Returns whether the stream or the consumer does not exist.
fn is_gone(error: &ApiError) -> bool {
    matches!(error.code(), Some(code::STREAM_NOT_FOUND | code::CONSUMER_NOT_FOUND))
}

async fn consumer_info(connection: &Connection, stream: &str, name: &str) -> Result<Value, HistoryError> {
    let info = connection.api(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await;
    info.map_err(|error| HistoryError::Api(stream.to_owned(), error))
}

/// Makes the consumer if it is not there.
async fn make(connection: &Connection, settings: &ConsumerSettings, name: &str) -> Result<(), HistoryError> {
    let ConsumerSettings { stream, durable, subjects, only_new, ack_wait } = settings;
    if durable.is_some() {
        match consumer_info(connection, stream, name).await {
            Ok(info) => return check_subjects(&info, settings, name),
            Err(HistoryError::Api(_, error)) if error.code() == Some(code::CONSUMER_NOT_FOUND) => {}
            Err(error) => return Err(error),
        }
    }
    let mut config = json!({
        "name": name,
        "ack_policy": "explicit",
        "deliver_policy": if *only_new { "new" } else { "all" },
        "ack_wait": nanoseconds(*ack_wait),
    });
    match durable {
        Some(durable) => config["durable_name"] = durable.as_str().into(),
        None => config["inactive_threshold"] = nanoseconds(INACTIVE).into(),
    }
    match &subjects[..] {
        [] => {}
        [one] => config["filter_subject"] = one.as_str().into(),
        several => config["filter_subjects"] = several.into(),
    }
    let request = json!({ "stream_name": stream, "config": config, "action": "create" });
    let made = connection.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &request).await;
    made.map(|_| ()).map_err(|error| HistoryError::Api(stream.clone(), error))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Refuses a consumer that reads other subjects: two programs that use one name would take each
/// other's messages.
fn check_subjects(info: &Value, settings: &ConsumerSettings, name: &str) -> Result<(), HistoryError> {
    let config = &info["config"];
    let several = config["filter_subjects"].as_array().into_iter().flatten();
    let mut found: Vec<_> = several.chain(Some(&config["filter_subject"])).filter_map(Value::as_str).collect();
    found.retain(|subject| !subject.is_empty());
    found.sort_unstable();
    let mut wanted: Vec<_> = settings.subjects.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    if found == wanted {
        return Ok(());
    }
    let detail =
        anyhow!("its consumer `{name}` reads {found:?}, and not {wanted:?}: take another name, or delete the consumer");
    Err(HistoryError::Failed(settings.stream.clone(), detail))
}

/// `None` for what is no delivery.
fn delivered(connection: &Connection, message: async_nats::Message) -> Option<DeliveredMessage> {
    let reply = message.reply?.into_string();
    let ReplyFields { position: DeliveryPosition { sequence, attempt, .. }, stored_at, .. } = ReplyFields::of(&reply)?;
    Some(DeliveredMessage {
        sequence,
        attempt,
        time: Timestamp::from_nanosecond(stored_at.into()).unwrap_or_default(),
        subject: message.subject.into_string(),
        headers: message.headers.as_ref().map(headers).unwrap_or_default(),
        payload: message.payload,
        receipt: DeliveryReceipt { connection: connection.clone(), reply },
    })
}

/// What it takes to settle a delivery.
#[derive(Clone, Debug)]
pub struct DeliveryReceipt {
    connection: Connection,
    reply: String,
}

impl DeliveryReceipt {
    /// Acknowledges the message; returns once the server has noted it.
    ///
    /// # Errors
    /// Returns an error if the server does not confirm it: the message may be delivered again.
    pub async fn ack(&self) -> anyhow::Result<()> {
        self.settle("+ACK".to_owned()).await
    }

    /// Gives the message back, to be delivered again after this time.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn retry(&self, after: Duration) -> anyhow::Result<()> {
        self.settle(format!("-NAK {}", json!({ "delay": nanoseconds(after) }))).await
    }

    /// Ends the message without success: it is not delivered again.
    ///
    /// # Errors
    /// As [`Self::ack`].
    pub async fn reject(&self) -> anyhow::Result<()> {
        self.settle("+TERM".to_owned()).await
    }

    async fn settle(&self, word: String) -> anyhow::Result<()> {
        self.connection.client().request(self.reply.clone(), word.into()).await?;
        Ok(())
    }
}

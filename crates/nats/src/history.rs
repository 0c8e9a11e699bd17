//! Stored messages of a stream, read in order over a range through a consumer that the server
//! forgets. Nothing else is changed, in particular no durable consumer.

use std::{
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use anyhow::anyhow;
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    ApiError, Connection, DeliveryPosition, RawMessage, ReplyFields, code,
    config::{RangeBegin, StreamRange},
    event::{Headers, Pattern},
    headers,
};

/// Silence after which the stream is checked for more messages.
const SILENCE: Duration = Duration::from_secs(2);
/// Messages requested at once, and their bytes together by the stream's average: they wait in
/// memory for a slow reader.
const BATCH: usize = 4000;
const BATCH_BYTES: u64 = 32 << 20;
/// Interval of the server's heartbeats while there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Time for which the server keeps the consumer without requests, as after a crash.
const INACTIVE: Duration = Duration::from_secs(60);
/// Pause before another try after an error, and the time for which tries go on.
const PAUSE: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(60);
/// Most messages that are read one by one to get past one that the client can't read.
const MOST_ALONE: u64 = 4096;
/// Time for which the server keeps a consumer that was only made to count.
const FORGET: Duration = Duration::from_secs(10);

/// Error while reading a stream's messages.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("there is no stream `{0}`")]
    NoStream(String),
    #[error("can't read stream `{0}`")]
    Api(String, #[source] ApiError),
    #[error("can't read stream `{0}`")]
    Failed(String, #[source] anyhow::Error),
}

/// A message as it was stored.
#[derive(Debug)]
pub struct StoredMessage {
    pub sequence: u64,
    pub time: Timestamp,
    pub subject: String,
    /// The headers, as far as they can be read.
    pub headers: Headers,
    pub payload: Bytes,
    /// Reason code if the client can't read its headers.
    pub unreadable: Option<&'static str>,
}

/// Reads a range up to its end, which is fixed when the history is opened.
pub struct StreamHistory {
    connection: Connection,
    range: StreamRange,
    reading: ReadingMode,
    /// Name of the consumer on the server, until it is deleted.
    consumer: Option<String>,
    /// Messages requested at once.
    batch: usize,
    /// Number of messages to read one by one after the client has ended: doubled each time, until
    /// the message that ended it is found.
    alone: u64,
    /// Deliveries of the consumer so far: a gap shows that one was lost on the way.
    deliveries: u64,
    /// The stream's last sequence when reading began.
    last: u64,
    /// Sequence of the message that was read last.
    position: u64,
    total: u64,
    /// Read so far.
    read: u64,
}

/// The way in which messages are read.
enum ReadingMode {
    /// No messages are left.
    Over,
    Consumer(Box<pull::Stream>),
    /// This many one by one, because the client may be unable to read the next one: some headers
    /// end it for good.
    Alone(u64),
}

impl StreamHistory {
    /// # Errors
    /// Returns an error if there is no such stream, or the server does not answer.
    pub async fn open(connection: Connection, mut range: StreamRange) -> Result<Self, HistoryError> {
        let HistoryBounds { first, last, batch } = bounds(&connection, &range.stream).await?;
        let last = range.to.map_or(last, |to| to.min(last));
        // Messages after the end of the range are included in every count of the server.
        let after = match (range.until, range.to) {
            (Some(until), _) => pending(&connection, &range, RangeBegin::Time(until)).await?,
            (None, Some(_)) => pending(&connection, &range, RangeBegin::Sequence(last + 1)).await?,
            (None, None) => 0,
        };
        let begin = match range.begin {
            RangeBegin::Newest(count, since) => {
                newest(&connection, &range, count.saturating_add(after), since, first..=last).await?
            }
            begin => begin,
        };
        let total = if first > last { 0 } else { pending(&connection, &range, begin).await?.saturating_sub(after) };
        range.begin = begin;
        let total = range.limit.map_or(total, |limit| limit.min(total));
        // Not more than the range holds.
        let batch = usize::try_from(total).unwrap_or(batch).clamp(1, batch);
        let mut history = Self::new(connection, range, batch, last, total);
        if total > 0 {
            history.consume().await?;
        }
        Ok(history)
    }

    /// Reads messages that are stored from now on, without an end.
    ///
    /// # Errors
    /// Returns an error if there is no such stream, or the server does not answer.
    pub async fn follow(connection: Connection, stream: &str, subjects: Vec<String>) -> Result<Self, HistoryError> {
        let HistoryBounds { last, batch, .. } = bounds(&connection, stream).await?;
        let begin = RangeBegin::Sequence(last + 1);
        let range = StreamRange { stream: stream.to_owned(), subjects, begin, until: None, to: None, limit: None };
        let mut history = Self::new(connection, range, batch, u64::MAX, 0);
        history.consume().await?;
        Ok(history)
    }

    fn new(connection: Connection, range: StreamRange, batch: usize, last: u64, total: u64) -> Self {
        let reading = ReadingMode::Over;
        let (consumer, alone, deliveries, position, read) = (None, 0, 0, 0, 0);
        Self { connection, range, reading, consumer, batch, alone, deliveries, last, position, total, read }
    }

    /// Number of messages in the range when it was opened.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The next message; `None` at the end of the range. Not cancel safe.
    ///
    /// # Errors
    /// Returns an error if the stream is gone, or the server has not answered for a minute.
    pub async fn next(&mut self) -> Result<Option<StoredMessage>, HistoryError> {
        loop {
            match &mut self.reading {
                ReadingMode::Over => {
                    self.forget().await;
                    return Ok(None);
                }
                ReadingMode::Alone(0) => self.consume_patiently().await?,
                ReadingMode::Alone(_) => {
                    if let Some(stored) = self.next_alone().await? {
                        return Ok(Some(stored));
                    }
                }
                ReadingMode::Consumer(_) => {
                    if let Some(stored) = self.next_delivered().await? {
                        return Ok(Some(stored));
                    }
                }
            }
        }
    }

    /// Deletes the consumer. An error is ignored: the server forgets an unused one.
    async fn forget(&mut self) {
        if let Some(name) = self.consumer.take() {
            let request = format!("CONSUMER.DELETE.{}.{name}", self.range.stream);
            let _ = self.connection.api(&request, &json!({})).await;
        }
    }

    /// The next message that the consumer delivers; `None` if the state has changed and has to be
    /// looked at again.
    async fn next_delivered(&mut self) -> Result<Option<StoredMessage>, HistoryError> {
        let ReadingMode::Consumer(messages) = &mut self.reading else { return Ok(None) };
        // Most messages have arrived already, and need no timer.
        let next = match messages.next().now_or_never() {
            Some(next) => Ok(next),
            None => timeout(SILENCE, messages.next()).await,
        };
        let message = match next {
            Ok(Some(Ok(message))) => message,
            // Silence is normal while nothing is published.
            Err(_) if self.last == u64::MAX => return Ok(None),
            // The remaining messages may have been deleted.
            Err(_)
                if has_more(&self.connection, &self.range, self.position, self.last).await.is_ok_and(|more| !more) =>
            {
                self.reading = ReadingMode::Over;
                return Ok(None);
            }
            // The consumer, a message on its way, or the client is lost.
            Ok(Some(Err(_)) | None) | Err(_) => {
                self.begin_again().await?;
                return Ok(None);
            }
        };
        let Some(delivered) = message.reply.as_ref().and_then(|reply| ReplyFields::of(reply)) else { return Ok(None) };
        let ReplyFields { position: DeliveryPosition { sequence, delivery, .. }, stored_at, pending } = delivered;
        self.deliveries += 1;
        if delivery != self.deliveries {
            self.begin_again().await?;
            return Ok(None);
        }
        self.alone = 0;
        let time = Timestamp::from_nanosecond(stored_at.into()).unwrap_or_default();
        let is_within = self.passes(sequence, time);
        if pending == 0 && self.last != u64::MAX {
            self.reading = ReadingMode::Over;
        }
        let message = message.message;
        let headers = message.headers.as_ref().map(headers).unwrap_or_default();
        let subject = message.subject.into_string();
        Ok(is_within.then_some(StoredMessage {
            sequence,
            time,
            subject,
            headers,
            payload: message.payload,
            unreadable: None,
        }))
    }

    /// The next message, whether the client can read it or not; `None` if the state has changed and
    /// has to be looked at again.
    async fn next_alone(&mut self) -> Result<Option<StoredMessage>, HistoryError> {
        let ReadingMode::Alone(left) = self.reading else { return Ok(None) };
        let subjects: Vec<Pattern> = self.range.subjects.iter().filter_map(|subject| subject.parse().ok()).collect();
        let found = RawMessage::next(&self.connection, &self.range.stream, &subjects, self.position + 1).await;
        let found = found.map_err(|error| HistoryError::Api(self.range.stream.clone(), error))?;
        let Some(message) = found else {
            self.reading = if self.last == u64::MAX { ReadingMode::Alone(0) } else { ReadingMode::Over };
            return Ok(None);
        };
        let (headers, unreadable) = message.headers();
        self.reading = ReadingMode::Alone(if unreadable.is_some() {
            // More unreadable ones may follow: the first one that can be read ends the search.
            self.alone = 0;
            1
        } else {
            left - 1
        });
        let time = Timestamp::from_nanosecond(message.stored_at.into()).unwrap_or_default();
        let is_within = self.passes(message.sequence, time);
        let RawMessage { sequence, subject, payload, .. } = message;
        Ok(is_within.then_some(StoredMessage { sequence, time, subject, headers, payload, unreadable }))
    }

    /// Advances past a message, and returns whether it belongs to the range.
    fn passes(&mut self, sequence: u64, time: Timestamp) -> bool {
        self.position = sequence;
        self.read += 1;
        let is_within = sequence <= self.last && self.range.until.is_none_or(|until| time < until);
        if !is_within || sequence >= self.last || self.range.limit.is_some_and(|limit| self.read >= limit) {
            self.reading = ReadingMode::Over;
        }
        is_within
    }

    /// Continues after the last message that was read, on another connection: the client may have
    /// ended.
    async fn begin_again(&mut self) -> Result<(), HistoryError> {
        self.alone = (self.alone * 2).clamp(1, MOST_ALONE);
        self.reading = ReadingMode::Alone(self.alone);
        let began = Instant::now();
        loop {
            sleep(PAUSE).await;
            match self.connection.again().await {
                Ok(connection) => {
                    self.connection = connection;
                    return Ok(());
                }
                Err(error) if began.elapsed() > PATIENCE => {
                    return Err(HistoryError::Failed(self.range.stream.clone(), error.into()));
                }
                Err(error) => tracing::debug!(%error, "can't connect to NATS yet"),
            }
        }
    }

    async fn consume_patiently(&mut self) -> Result<(), HistoryError> {
        let began = Instant::now();
        loop {
            match self.consume().await {
                Err(error) if began.elapsed() > PATIENCE => return Err(error),
                Err(error) => tracing::debug!(%error, "can't read on yet"),
                Ok(()) => return Ok(()),
            }
            sleep(PAUSE).await;
        }
    }

    /// Reads through a new consumer, from after the last message that was read.
    async fn consume(&mut self) -> Result<(), HistoryError> {
        if self.position > 0 {
            self.range.begin = RangeBegin::Sequence(self.position + 1);
        }
        self.forget().await;
        let StreamReading { messages, before, consumer } = consume(&self.connection, &self.range, self.batch).await?;
        self.consumer = Some(consumer);
        self.reading = ReadingMode::Consumer(Box::new(messages));
        self.deliveries = 0;
        self.position = self.position.max(before);
        Ok(())
    }
}

/// Returns whether messages are left up to `last`.
async fn has_more(
    connection: &Connection,
    range: &StreamRange,
    position: u64,
    last: u64,
) -> Result<bool, HistoryError> {
    Ok(position < last && pending(connection, range, RangeBegin::Sequence(position + 1)).await? > 0)
}

/// Messages that a consumer delivers, the sequence after which they begin, and its name.
struct StreamReading {
    messages: pull::Stream,
    before: u64,
    consumer: String,
}

/// Creates a consumer without acknowledgements. Its
/// batches are larger than those of the client's own ordered consumer, with which the server mostly
/// waits for the next request.
async fn consume(connection: &Connection, range: &StreamRange, batch: usize) -> Result<StreamReading, HistoryError> {
    let failed = |error: anyhow::Error| HistoryError::Failed(range.stream.clone(), error);
    let deliver_policy = match range.begin {
        RangeBegin::First | RangeBegin::Newest(..) => DeliverPolicy::All,
        RangeBegin::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        RangeBegin::Time(time) => DeliverPolicy::ByStartTime { start_time: SystemTime::from(time).into() },
    };
    let (filter_subject, filter_subjects) = match &range.subjects[..] {
        [one] => (one.clone(), Vec::new()),
        several => (String::new(), several.to_vec()),
    };
    let config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        filter_subject,
        filter_subjects,
        inactive_threshold: INACTIVE,
        memory_storage: true,
        num_replicas: 1,
        ..Default::default()
    };
    let context = jetstream::with_prefix(connection.client().clone(), &connection.api);
    let stream = context.get_stream_no_info(&range.stream).await.map_err(|error| failed(error.into()))?;
    let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.into()))?;
    let info = consumer.cached_info();
    let (before, name) = (info.delivered.stream_sequence, info.name.clone());
    let messages = consumer.stream().max_messages_per_batch(batch).heartbeat(HEARTBEAT).messages();
    let messages = messages.await.map_err(|error| failed(error.into()))?;
    Ok(StreamReading { messages, before, consumer: name })
}

pub(super) struct HistoryBounds {
    /// First and last sequence.
    first: u64,
    last: u64,
    /// Messages of the stream that may be requested at once.
    pub(super) batch: usize,
}

pub(super) async fn bounds(connection: &Connection, stream: &str) -> Result<HistoryBounds, HistoryError> {
    let info = match connection.api(&format!("STREAM.INFO.{stream}"), &json!({})).await {
        Ok(info) => info,
        Err(error) if error.code() == Some(code::STREAM_NOT_FOUND) => {
            return Err(HistoryError::NoStream(stream.to_owned()));
        }
        Err(error) => return Err(HistoryError::Api(stream.to_owned(), error)),
    };
    let state = |name: &str| info["state"][name].as_u64().unwrap_or_default();
    let (messages, last) = (state("messages"), state("last_seq"));
    // The first sequence of an empty stream is after its last.
    let first = if messages == 0 { last + 1 } else { state("first_seq") };
    let average = (state("bytes") / messages.max(1)).max(1);
    let batch = usize::try_from(BATCH_BYTES / average).unwrap_or(BATCH).clamp(1, BATCH);
    Ok(HistoryBounds { first, last, batch })
}

/// Finds where to begin to get `count` messages, by bisection: a stream can be long, and the wanted
/// part short.
async fn newest(
    connection: &Connection,
    range: &StreamRange,
    count: u64,
    since: Option<Timestamp>,
    sequences: RangeInclusive<u64>,
) -> Result<RangeBegin, HistoryError> {
    let since = since.map_or(RangeBegin::First, RangeBegin::Time);
    if pending(connection, range, since).await? <= count {
        return Ok(since);
    }
    let (mut low, mut high) = (*sequences.start(), sequences.end() + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        if pending(connection, range, RangeBegin::Sequence(middle)).await? <= count {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(RangeBegin::Sequence(low))
}

/// Number of messages from a position on, as the server counts them.
async fn pending(connection: &Connection, range: &StreamRange, from: RangeBegin) -> Result<u64, HistoryError> {
    let failed = |error| HistoryError::Api(range.stream.clone(), error);
    let name = format!("trommel-count-{:016x}", fastrand::u64(..));
    let mut config = json!({
        "name": name,
        "ack_policy": "none",
        "max_deliver": 1,
        "mem_storage": true,
        "num_replicas": 1,
        "inactive_threshold": FORGET.as_nanos() as u64,
    });
    match &range.subjects[..] {
        [] => {}
        [one] => config["filter_subject"] = one.as_str().into(),
        several => config["filter_subjects"] = several.into(),
    }
    let (policy, at) = match from {
        RangeBegin::First | RangeBegin::Newest(..) => ("all", Value::Null),
        RangeBegin::Sequence(sequence) => ("by_start_sequence", json!({ "opt_start_seq": sequence })),
        RangeBegin::Time(time) => ("by_start_time", json!({ "opt_start_time": time.to_string() })),
    };
    if let (Value::Object(config), Value::Object(at)) = (&mut config, at) {
        config.extend(at);
    }
    config["deliver_policy"] = policy.into();
    let stream = &range.stream;
    let request = json!({ "stream_name": stream, "config": config, "action": "create" });
    let made = connection.api(&format!("CONSUMER.CREATE.{stream}.{name}"), &request).await.map_err(failed)?;
    if range.subjects.len() > 1 && made["config"]["filter_subjects"] == Value::Null {
        let too_old =
            anyhow!("its server is older than 2.10 and can't pick by several subjects: give one with `--subject`");
        return Err(HistoryError::Failed(range.stream.clone(), too_old));
    }
    // An error is ignored: the server forgets the consumer anyway.
    let _ = connection.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &json!({})).await;
    Ok(made["num_pending"].as_u64().unwrap_or_default())
}
